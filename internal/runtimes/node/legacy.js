'use strict';
// The runtime up to nodejs22.x: handlers that return, that are async, or that
// take a callback.

const { env } = process;
const errors = require('./errors.js').legacy;
const { patch, logError } = require('./console.js');
const handlers = require('./handler.js');

const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');
const TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');
const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');

const nothing = () => {};
const onExit = (f) => { global[BEFORE_EXIT] = f; };

function serialize(value) {
  try {
    return JSON.stringify(value === undefined ? null : value);
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

function parseJSON(text, name) {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new Error(`Cannot parse ${name} as json: ${e.toString()}`);
  }
}

let traceID; // as in the environment

// Adds to a context what every handler's has.
function describe(context, head) {
  const [id, deadline, arn, trace, client, identity, tenant] = head;
  if (trace !== traceID) {
    traceID = trace;
    if (trace) env._X_AMZN_TRACE_ID = trace;
    else delete env._X_AMZN_TRACE_ID;
  }
  context.functionVersion = env.AWS_LAMBDA_FUNCTION_VERSION;
  context.functionName = env.AWS_LAMBDA_FUNCTION_NAME;
  context.memoryLimitInMB = env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE;
  context.logGroupName = env.AWS_LAMBDA_LOG_GROUP_NAME;
  context.logStreamName = env.AWS_LAMBDA_LOG_STREAM_NAME;
  context.clientContext = parseJSON(client || undefined, 'ClientContext');
  context.identity = parseJSON(identity || undefined, 'CognitoIdentity');
  context.invokedFunctionArn = arn;
  context.awsRequestId = id;
  context.tenantId = tenant || undefined;
  context.getRemainingTimeInMillis = function getRemainingTimeInMillis() {
    return deadline - Date.now();
  };
  return context;
}

class Runtime {
  constructor(connection, handler, streaming, highWaterMark) {
    this.connection = connection;
    this.handler = handler;
    this.options = { highWaterMark };
    // What the function has due at once (setImmediate) comes before the next event.
    const once = streaming ? () => this.handleStreaming() : () => this.handle();
    this.next = connection.answerAsks ? once : () => setImmediate(once);
    this.later = connection.answerAsks ? (answer) => setImmediate(answer) : (answer) => answer();
    this.failed = null; // answers that the process fails outside of the handler, then ends it
  }

  begin(head) {
    const id = head[0];
    global[REQUEST_ID] = id;
    global[TENANT_ID] = head[6] || undefined;
    this.failed = (error, status) => this.connection.failLast(id, errors.payload(error), () => process.exit(status));
  }

  async handle() {
    const { head, text } = await this.connection.next();
    const id = head[0];
    const { connection, next, later } = this;
    this.begin(head);
    let completed = false;
    let waits = true;
    const complete = (result) => {
      if (completed) {
        console.error('Invocation has already been reported as done. Cannot call complete more than once per invocation.');
        return;
      }
      completed = true;
      const json = serialize(result);
      later(() => connection.respond(id, json, next));
    };
    const fail = (error) => {
      logError('Invoke Error', error, errors);
      const payload = errors.payload(error);
      later(() => connection.fail(id, payload, next));
    };
    const done = (error, result) => {
      onExit(nothing);
      if (error !== undefined && error !== null) fail(error);
      else complete(result);
    };
    let finished = false;
    const first = (f) => function () {
      if (!finished) {
        f.apply(null, arguments);
        finished = true;
      }
    };
    const context = {
      get callbackWaitsForEmptyEventLoop() { return waits; },
      set callbackWaitsForEmptyEventLoop(value) { waits = value; },
      succeed: 0,
      fail: 0,
      done: 0,
    };
    // Assigned here, so that they have no names of their own.
    context['succeed'] = first((result) => done(null, result));
    context['fail'] = first((error) => (error === undefined || error === null ? done('handled') : done(error, null)));
    context['done'] = first(done);
    const callback = first((error, result) => {
      onExit(nothing);
      if (error !== undefined && error !== null) fail(error);
      else if (!waits) complete(result);
      else onExit(() => setImmediate(() => complete(result)));
    });
    // A handler that answers nothing, ever, answers null when nothing is left to run.
    onExit(() => {
      completed = true;
      connection.respond(id, 'null', next);
    });
    try {
      const result = this.handler(JSON.parse(text), describe(context, head), callback);
      if (result && typeof result.then === 'function') result.then(context.succeed, context.fail).catch(context.fail);
    } catch (error) {
      callback(error);
    }
  }

  async handleStreaming() {
    const { head, text } = await this.connection.next();
    this.begin(head);
    const { stream, done, finish, fail } = this.connection.stream(head[0], { ...this.options, errors, legacy: true });
    let waits = true;
    const context = {
      get callbackWaitsForEmptyEventLoop() { return waits; },
      set callbackWaitsForEmptyEventLoop(value) { waits = value; },
    };
    const failed = (error) => {
      logError('Invoke Error', error, errors);
      fail(errors.payload(error), this.next);
    };
    onExit(this.next);
    try {
      const result = this.handler(JSON.parse(text), stream, describe(context, head));
      if (!result || typeof result.then !== 'function') {
        failed('Streaming does not support non-async handlers.');
        return;
      }
      if (typeof await result !== 'undefined') console.warn('Streaming handlers ignore return values.');
      await done;
      if (!stream.writableFinished) {
        failed('Response stream is not finished.');
        return;
      }
      onExit(nothing);
      finish(this.next);
    } catch (error) {
      failed(error);
    }
  }
}

async function run(connection) {
  patch({ requestId: () => global[REQUEST_ID], tenantId: () => global[TENANT_ID] }, { always: true });
  let runtime = null;
  const failed = (error, status) => {
    if (runtime?.failed) runtime.failed(error, status);
    else connection.failInit(errors.payload(error), () => process.exit(status));
  };
  process.on('uncaughtException', (error) => {
    logError('Uncaught Exception', error, errors);
    failed(error, 129);
  });
  process.on('unhandledRejection', (reason, promise) => {
    const error = new errors.UnhandledPromiseRejection(reason, promise);
    logError('Unhandled Promise Rejection', error, errors);
    failed(error, 128);
  });
  onExit(nothing);
  process.on('beforeExit', () => global[BEFORE_EXIT]());
  let handler, about;
  try {
    handler = await handlers.loadLegacy(env.LAMBDA_TASK_ROOT ?? '/var/task', env._HANDLER, errors);
    about = handlers.metadata(handler, errors);
  } catch (error) {
    logError('Uncaught Exception', error, errors);
    failed(error, 129);
    return;
  }
  runtime = new Runtime(connection, handler, about.streaming, about.highWaterMark);
  runtime.next();
}

module.exports = { run };
