import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import {
  CreateFunctionCommand, DeleteFunctionCommand, InvokeCommand, InvokeWithResponseStreamCommand, LambdaClient, ResourceNotFoundException,
  UpdateFunctionCodeCommand, UpdateFunctionConfigurationCommand, waitUntilFunctionActiveV2, waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";

const client = new LambdaClient({});
const ZipFile = readFileSync(process.argv[2]);
const FunctionName = "js";
const wait = { client, maxWaitTime: 30, minDelay: 0.05, maxDelay: 1 };
const text = (bytes) => new TextDecoder().decode(bytes);

const created = await client.send(new CreateFunctionCommand({
  FunctionName, Runtime: "python3.13", Handler: "app.handler", Role: "arn:aws:iam::000000000000:role/r", Code: { ZipFile },
}));
assert.equal(created.State, "Pending");
await waitUntilFunctionActiveV2(wait, { FunctionName });
let answer = await client.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify({ name: "JS" }), LogType: "Tail" }));
assert.deepEqual(JSON.parse(text(answer.Payload)), { hello: "JS", v: 1 });
assert.match(Buffer.from(answer.LogResult, "base64").toString(), /REPORT RequestId/);
await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 10, Environment: { Variables: { COLOUR: "blue" } } }));
await waitUntilFunctionUpdatedV2(wait, { FunctionName });
await client.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile }));
await waitUntilFunctionUpdatedV2(wait, { FunctionName });
let streamed = "";
const stream = await client.send(new InvokeWithResponseStreamCommand({ FunctionName, Payload: "{}" }));
for await (const event of stream.EventStream) {
  if (event.PayloadChunk) streamed += text(event.PayloadChunk.Payload);
  if (event.InvokeComplete) assert.equal(event.InvokeComplete.ErrorCode, undefined);
}
assert.equal(streamed, '{"hello": null, "v": 1}');
await client.send(new DeleteFunctionCommand({ FunctionName }));
await assert.rejects(client.send(new InvokeCommand({ FunctionName })), ResourceNotFoundException);
console.log("ok");
