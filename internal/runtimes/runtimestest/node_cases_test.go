package runtimestest

// ownFrames matches the frames of stack traces that are in the client or in
// Node.js, and where Node.js prints an error's source.
const ownFrames = `,?"    at [^"]*` + ownFile + `[^"]*"|\n    at [^\n]*` + ownFile + `[^\n]*|- [^\\"\s]*` + ownFile + `[^\\"\s]*`

const ownFile = `(?:/aws-lambda-ric/|/nodejs-[0-9a-f]{16}/|node:internal|index\.mjs)`

// js is a case of one file, app.js.
func js(name, code string, payloads ...string) Case {
	c := Case{Name: name, Files: map[string]string{"app.js": code}, Handler: "app.handler", Drop: ownFrames}
	for _, p := range payloads {
		c.Events = append(c.Events, Event{Payload: p})
	}
	return c
}

func mjs(name, code string, payloads ...string) Case {
	c := js(name, "", payloads...)
	c.Files = map[string]string{"app.mjs": code}
	return c
}

const jsEcho = "exports.handler = async (event) => event;\n"

const jsLogging = `
console.log("at import");
exports.handler = async (event, context) => {
  console.log("hello %s", "world", { a: 1, b: [2] });
  console.info("two\nlines ünï 😀");
  console.debug("debug");
  console.trace("trace", 1);
  console.warn({ k: "v", n: { deep: { deeper: { deepest: 1 } } } });
  console.error("error", 5n, undefined, null, Symbol("s"));
  console.fatal("fatal");
  console.log();
  console.log(undefined);
  console.log({ a: 1n });
  console.log("%d%%", 50);
  console.table([{ a: 1 }]);
  console.dir({ a: 1 });
  const e = new TypeError("bad");
  e.stack = "TypeError: bad\n    at somewhere";
  e.code = "E_BAD";
  console.error(e);
  console.error("with", e);
  process.stdout.write("raw\n");
  process.stderr.write("raw error\n");
  return context.awsRequestId;
};
`

var nodeCases = []Case{
	js("echo", jsEcho, `{"a":1,"b":[true,false,null,"x"]}`, `[]`, `"text"`, `1`, `null`, `{}`),
	js("unicode", jsEcho, `{"ключ":"значение 😀 \u2028\u2029 \u00e9 \ud83d\ude00 \u007f"}`, `"日本語"`, `"\u0000\u001f\"\\\/\b\f\n\r\t"`, `"\ud800"`),
	js("numbers", jsEcho, `[0,-0,-0.0,1e400,1.0,1e21,1e-7,123456789012345678901234567890,0.1,5e-324]`),
	js("undefined", "exports.handler = async () => {};\n"),
	js("nan", "exports.handler = async () => [NaN, Infinity, undefined, () => 1, Symbol('x')];\n"),
	js("toJSON", "exports.handler = async () => ({ d: new Date(0), o: { toJSON() { return 'own'; } }, m: new Map([[1, 2]]), b: Buffer.from('x'), e: new Error('x') });\n"),
	js("bigint", "exports.handler = async () => ({ n: 1n });\n"),
	js("circular", "exports.handler = async () => { const a = {}; a.a = a; return a; };\n"),
	js("large", "exports.handler = async (e) => ({ n: e.x.length, back: e.x + e.x });\n", `{"x":"`+repeat("ab é", 300_000)+`"}`),
	js("exception", "function inner(x) { throw new RangeError('bad ünï ' + x); }\nexports.handler = async () => inner('value');\n", `{}`, `{}`),
	js("exception with cause", "exports.handler = async () => { try { null.x; } catch (e) { throw new Error('outer\\nsecond line', { cause: e }); } };\n").dropping(`\[cause\]|` + ownFrames),
	js("own error class", "class MyError extends Error { constructor(m) { super(m); this.name = 'MyError'; this.code = 42; this.extra = { a: [1] }; } }\nexports.handler = async () => { throw new MyError('mine'); };\n"),
	js("throws text", "exports.handler = async () => { throw 'just text'; };\n"),
	js("throws an object", "exports.handler = async () => { throw { name: 'N', message: 'M', stack: 'S\\nT' }; };\n"),
	js("throws a number", "exports.handler = async () => { throw 5; };\n"),
	js("rejects with an error without a stack", "exports.handler = async () => { const e = new Error('x'); e.stack = undefined; throw e; };\n"),
	js("DEL in an error", "exports.handler = async () => { const e = new Error('a\\x7Fb'); e.name = 'N\\x7F'; throw e; };\n"),
	js("aggregate error", "exports.handler = async () => { await Promise.any([Promise.reject(new Error('a')), Promise.reject('b')]); };\n"),
	js("exit", "exports.handler = async () => { console.log('before'); process.exit(3); };\n"),
	js("exit with 0", "exports.handler = async () => { process.exit(0); };\n"),
	js("killed", "exports.handler = async () => { process.kill(process.pid, 'SIGKILL'); };\n"),
	js("exit at import", "process.exit(5);\n"),
	js("exception at import", "throw new Error('at import');\n"),
	js("missing dependency", "require('nowhere-to-be-found');\n"),
	mjs("missing dependency of a module", "import 'nowhere-to-be-found';\nexport const handler = 1;\n"),
	js("missing module", jsEcho).named("missing module", "other.handler"),
	js("missing handler", jsEcho).named("missing handler", "app.nothing"),
	js("malformed handler", jsEcho).named("malformed handler", "app"),
	js("handler outside", jsEcho).named("handler outside", "../app.handler"),
	js("not a function", "exports.handler = 5;\n"),
	js("syntax error", "exports.handler = async ( => {};\n"),
	mjs("syntax error in a module", "export const handler = async ( => {};\n"),
	js("handler in a folder", "").file("src/lib/mod.js", jsEcho).named("handler in a folder", "src/lib/mod.handler"),
	js("nested handler", "exports.a = { b: { handler: async () => 'nested' } };\n").named("nested handler", "app.a.b.handler"),
	js("folder as a module", "").file("pkg/index.js", jsEcho).named("folder as a module", "pkg/index.handler"),
	mjs("module", "export const handler = async (event) => ({ got: event, url: typeof import.meta.url });\n", `{"x":1}`),
	mjs("default export", "export default { handler: async () => 'of default' };\n"),
	mjs("top-level await", "const v = await Promise.resolve(7);\nexport const handler = async () => v;\n"),
	mjs("exception at import of a module", "await Promise.reject(new Error('top level'));\nexport const handler = 1;\n"),
	js("type module", "export const handler = async () => typeof require;\n").file("package.json", `{"type":"module"}`),
	js("type commonjs", "exports.handler = async () => typeof require;\n").file("package.json", `{"type":"commonjs"}`),
	{Name: "cjs", Files: map[string]string{"app.cjs": jsEcho}, Handler: "app.handler", Drop: ownFrames},
	js("node_modules", "const m = require('dep');\nexports.handler = async () => m;\n").file("node_modules/dep/index.js", "module.exports = 'dep';\n"),
	js("module state", "let n = 0;\nexports.handler = async () => ++n;\n", `{}`, `{}`, `{}`),
	js("environment", "exports.handler = async () => [Object.keys(process.env).filter((k) => !k.startsWith('AWS_LAMBDA_RUNTIME_API')).sort(), process.cwd() === process.env.LAMBDA_TASK_ROOT, typeof gc, typeof awslambda.streamifyResponse];\n"),
	{
		Name: "context", Handler: "app.handler", Drop: ownFrames, Files: map[string]string{"app.js": `
exports.handler = async (event, context) => {
  const left = context.getRemainingTimeInMillis();
  console.log(context);
  return { keys: Object.keys(context), left: left > 0 && left <= 60000, context, trace: process.env._X_AMZN_TRACE_ID ?? null };
};
`}, Events: []Event{
			{},
			{ClientContext: `{"custom":{"a":1},"env":{"b":"2"}}`, CognitoIdentity: `{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}`,
				TraceID: "Root=1-2-3;Parent=4;Sampled=1", TenantID: "blue"},
			{TraceID: "Root=5"},
			{},
		},
	},
	js("logging", jsLogging, `{}`, `{}`),
	js("logging with a level", jsLogging).with("AWS_LAMBDA_LOG_LEVEL", "warn"),
	js("logging with FATAL", jsLogging).with("AWS_LAMBDA_LOG_LEVEL", "FATAL"),
	js("logging as JSON", jsLogging, `{}`, `{}`).with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	js("logging as JSON with a level", jsLogging).with("AWS_LAMBDA_LOG_FORMAT", "json", "AWS_LAMBDA_LOG_LEVEL", "ERROR"),
	js("exception as JSON", "exports.handler = async () => { throw new RangeError('bad'); };\n").with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	js("missing dependency as JSON", "require('nowhere-to-be-found');\n").with("AWS_LAMBDA_LOG_FORMAT", "JSON"),
	{Name: "logging with a tenant", Handler: "app.handler", Drop: ownFrames, Env: map[string]string{"AWS_LAMBDA_LOG_FORMAT": "JSON"},
		Files: map[string]string{"app.js": "exports.handler = async () => { console.error('x'); };\n"}, Events: []Event{{TenantID: "blue"}, {}}},
	js("unhandled rejection", "exports.handler = async () => { Promise.reject(new Error('nobody catches')); await new Promise((r) => setTimeout(r, 100)); return 1; };\n"),
	js("unhandled rejection with text", "exports.handler = async () => { Promise.reject('text'); await new Promise((r) => setTimeout(r, 100)); return 1; };\n"),
	js("uncaught exception", "exports.handler = async () => { setTimeout(() => { throw new Error('later'); }, 5); await new Promise((r) => setTimeout(r, 100)); return 1; };\n"),
	js("timers", "exports.handler = async () => { await new Promise((r) => setTimeout(r, 5)); setImmediate(() => console.log('immediate')); return 'after'; };\n", `{}`, `{}`),
	js("never answers", "exports.handler = () => new Promise(() => {});\n"),
	js("child process", "exports.handler = async () => require('child_process').execSync('echo child').toString();\n"),

	js("stream", "exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {\n  stream.setContentType('text/plain');\n  stream.write('one ');\n  stream.write(Buffer.from('two '));\n  stream.write({ json: true });\n  stream.end('three');\n});\n", `{}`, `{}`),
	js("stream without a type", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.write('x');\n  stream.end();\n});\n"),
	js("stream of nothing", "exports.handler = awslambda.streamifyResponse(async (event, stream) => stream.end());\n"),
	js("stream with a prelude", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 'b' }, cookies: ['c=d'] });\n  stream.write('body');\n  stream.end();\n});\n"),
	js("stream with a prelude and only an end", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 204 });\n  stream.end('x');\n});\n"),
	js("stream through a pipeline", "const { pipeline } = require('stream/promises');\nconst { Readable } = require('stream');\nexports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  await pipeline(Readable.from(['a', 'b', 'c'.repeat(200000)]), stream);\n});\n"),
	js("stream with late work", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.write('x');\n  stream.end();\n  await new Promise((r) => setTimeout(r, 20));\n  console.log('late');\n});\n", `{}`, `{}`),
	js("stream that breaks", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.write('some');\n  await new Promise((r) => setTimeout(r, 20));\n  throw new RangeError('broken');\n});\n", `{}`, `{}`),
	js("stream that breaks before it begins", "exports.handler = awslambda.streamifyResponse(async () => { throw new RangeError('broken'); });\n"),
	js("stream with a return value", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.end('x');\n  return 5;\n});\n"),
	js("stream without a promise", "exports.handler = awslambda.streamifyResponse((event, stream) => { stream.end('x'); });\n"),
	js("content type too late", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.write('x');\n  try { stream.setContentType('text/plain'); } catch (e) { stream.write(e.name + e.message); }\n  stream.end();\n});\n"),
	js("stream's high-water mark", "exports.handler = awslambda.streamifyResponse(async (event, stream) => {\n  stream.write('x');\n  stream.end();\n}, { highWaterMark: 1024 });\n"),
}

// nodeLegacyCases are for the runtimes that have callbacks.
var nodeLegacyCases = []Case{
	{Name: "broken client context", Handler: "app.handler", Drop: ownFrames, Files: map[string]string{"app.js": jsEcho}, Events: []Event{{ClientContext: `{"broken`}}},
	js("malformed streaming", "exports.handler = async () => 1;\nexports.handler[Symbol.for('aws.lambda.runtime.handler.streaming')] = 'request';\n").differing("AWS's client has a mistake there: it reports that MalformedStreamingHandler is not defined"),
	js("callback", "exports.handler = (event, context, callback) => callback(null, { got: event });\n", `{"x":1}`, `{"x":2}`),
	js("callback later", "exports.handler = (event, context, callback) => { setTimeout(() => callback(null, 'later'), 5); };\n", `{}`, `{}`),
	js("callback with an error", "exports.handler = (event, context, callback) => callback(new TypeError('no'));\n", `{}`, `{}`),
	js("callback with text as error", "exports.handler = (event, context, callback) => callback('no');\n"),
	js("callback without result", "exports.handler = (event, context, callback) => callback();\n"),
	js("callback twice", "exports.handler = (event, context, callback) => { callback(null, 1); callback(null, 2); };\n", `{}`, `{}`),
	js("callback waits for the event loop", "exports.handler = (event, context, callback) => { setTimeout(() => console.log('before the answer'), 20); callback(null, 1); };\n", `{}`),
	js("callback does not wait", "exports.handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 20000); callback(null, context.callbackWaitsForEmptyEventLoop); };\n", `{}`, `{}`),
	js("callback after an exception", "exports.handler = (event, context, callback) => { throw new Error('sync'); };\n", `{}`, `{}`),
	js("no answer", "exports.handler = (event, context) => { context.x = 1; };\n", `{}`, `{}`),
	js("return without promise", "exports.handler = () => 'ignored';\n", `{}`, `{}`),
	js("context.done", "exports.handler = (event, context) => { context.done(null, 'done'); };\n", `{}`, `{}`),
	js("context.succeed", "exports.handler = (event, context) => { context.succeed({ a: 1 }); };\n"),
	js("context.fail", "exports.handler = (event, context) => { context.fail(new Error('failed')); };\n"),
	js("context.fail with nothing", "exports.handler = (event, context) => { context.fail(); };\n"),
	js("thenable", "exports.handler = () => ({ then(resolve) { resolve('thenable'); return Promise.resolve(); } });\n"),
	js("callback and a promise", "exports.handler = async (event, context, callback) => { callback(null, 'callback'); return 'promise'; };\n", `{}`, `{}`),
	js("circular callback", "exports.handler = (event, context, callback) => { const a = {}; a.a = a; context.callbackWaitsForEmptyEventLoop = false; callback(null, a); };\n"),
}

// nodeCurrentCases are for those that have not.
var nodeCurrentCases = []Case{
	{Name: "broken client context", Handler: "app.handler", Drop: ownFrames, Files: map[string]string{"app.js": jsEcho}, Events: []Event{{ClientContext: `{"broken`}}, Differs: "the process ends, and Node.js prints the line of the client's source"},
	js("malformed streaming", "exports.handler = async () => 1;\nexports.handler[Symbol.for('aws.lambda.runtime.handler.streaming')] = 'request';\n"),
	js("callback refused", "exports.handler = (event, context, callback) => callback(null, 1);\n"),
	js("three parameters refused", "exports.handler = async (event, context, callback) => 1;\n"),
	js("return without promise", "exports.handler = () => 'value';\n", `{}`, `{}`),
	js("exception without promise", "exports.handler = () => { throw new Error('sync'); };\n", `{}`, `{}`),
	js("several events at once", "exports.handler = async (event, context) => {\n  console.log('a', { b: 1 });\n  console.error(awslambda.InvokeStore.getRequestId() === context.awsRequestId);\n  return event;\n};\n", `{"a":1}`).
		with("AWS_LAMBDA_MAX_CONCURRENCY", "2", "AWS_LAMBDA_NODEJS_WORKER_COUNT", "2"),
	js("exception with several events at once", "exports.handler = async () => null.x;\n").with("AWS_LAMBDA_MAX_CONCURRENCY", "2", "AWS_LAMBDA_NODEJS_WORKER_COUNT", "2"),
	js("invoke store", `
exports.handler = async (event, context) => {
  const s = await globalThis.awslambda.InvokeStore;
  s.set("k", 1);
  let refused;
  try { s.set(Symbol.for("_AWS_LAMBDA_REQUEST_ID"), "x"); } catch (e) { refused = e.message; }
  return [s.getRequestId() === context.awsRequestId, s.getXRayTraceId() ?? null, s.getTenantId() ?? null, s.get("k"), s.hasContext(), refused];
};
`),
}
