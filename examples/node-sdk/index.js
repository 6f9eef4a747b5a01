// Takes messages from SQS and hands each to another function, through the AWS
// SDK. Inside Hearth, AWS_ENDPOINT_URL_LAMBDA leads back to Hearth.
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";

const lambda = new LambdaClient({ maxAttempts: 1 });

export const handler = async (event) => {
  const failures = [];
  for (const record of event.Records ?? []) {
    try {
      const { function: name, payload } = JSON.parse(record.body);
      if (!name) {
        console.log(`message ${record.messageId} names no function`, payload);
        continue;
      }
      const answer = await lambda.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify(payload) }));
      console.log(`message ${record.messageId}: ${new TextDecoder().decode(answer.Payload)}`);
    } catch (error) {
      console.error(`message ${record.messageId}:`, error);
      failures.push({ itemIdentifier: record.messageId });
    }
  }
  return { batchItemFailures: failures };
};
