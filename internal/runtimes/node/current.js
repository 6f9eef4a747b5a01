'use strict';
// The runtime from nodejs24.x on: handlers that return or are async.

const { env } = process;
const errors = require('./errors.js').current;
const { patch, logError } = require('./console.js');
const handlers = require('./handler.js');

const several = 'AWS_LAMBDA_MAX_CONCURRENCY' in env; // events at once

const KEYS = {
  REQUEST_ID: Symbol.for('_AWS_LAMBDA_REQUEST_ID'),
  X_RAY_TRACE_ID: Symbol.for('_AWS_LAMBDA_X_RAY_TRACE_ID'),
  TENANT_ID: Symbol.for('_AWS_LAMBDA_TENANT_ID'),
};

// What belongs to the current event. Functions and libraries reach it as
// awslambda.InvokeStore.
class InvokeStore {
  static PROTECTED_KEYS = KEYS;

  constructor() {
    if (several) {
      const storage = new (require('async_hooks').AsyncLocalStorage)();
      this.getContext = () => storage.getStore();
      this.run = (context, f) => storage.run(context, f);
    }
  }

  getContext() {
    return this.currentContext;
  }

  run(context, f) {
    this.currentContext = context;
    return f();
  }

  hasContext() {
    return this.getContext() !== undefined;
  }

  get(key) {
    return this.getContext()?.[key];
  }

  set(key, value) {
    if (this.isProtectedKey(key)) throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    let context = this.getContext();
    if (!context) {
      if (several) throw new Error('No context available');
      context = this.currentContext = {};
    }
    context[key] = value;
  }

  isProtectedKey(key) {
    return Object.values(KEYS).includes(key);
  }

  getRequestId() {
    return this.get(KEYS.REQUEST_ID) ?? '-';
  }

  getXRayTraceId() {
    return this.get(KEYS.X_RAY_TRACE_ID);
  }

  getTenantId() {
    return this.get(KEYS.TENANT_ID);
  }
}

function parseJSON(text, name) {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new errors.PlatformError(`Failed to parse ${name} as JSON: ${e.message}`);
  }
}

function serialize(value) {
  try {
    return JSON.stringify(value === undefined ? null : value);
  } catch {
    throw new errors.JSONStringifyError('Unable to stringify response body');
  }
}

let traceID; // as in the environment

function describe(head) {
  const [id, deadline, arn, trace, client, identity, tenant] = head;
  const context = {
    clientContext: parseJSON(client, 'lambda-runtime-client-context'),
    identity: parseJSON(identity, 'lambda-runtime-cognito-identity'),
    invokedFunctionArn: arn,
    awsRequestId: id,
    tenantId: tenant || undefined,
    xRayTraceId: trace,
    getRemainingTimeInMillis: function () {
      return deadline - Date.now();
    },
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
  if (!several && trace !== traceID) {
    traceID = trace;
    if (trace) env._X_AMZN_TRACE_ID = trace;
    else delete env._X_AMZN_TRACE_ID;
  }
  return context;
}

// Timers and input that are due come before the answer.
const turn = () => new Promise((resolve) => setImmediate(resolve));

// Their names are in the stack traces that functions print.
class InvokeProcessor {
  constructor(connection, handler, about, store) {
    this.connection = connection;
    this.handler = handler;
    this.options = { highWaterMark: about.highWaterMark, errors };
    this.store = store;
  }

  // Not awaited: what it throws ends the process, as there.
  async next() {
    const { head, text } = await this.connection.next();
    if (several) this.next();
    const context = describe(head);
    const event = JSON.parse(text);
    await this.store.run(
      { [KEYS.REQUEST_ID]: context.awsRequestId, [KEYS.X_RAY_TRACE_ID]: context.xRayTraceId },
      () => this.processInvoke(context, event),
    );
  }

  after() {
    return several ? undefined : () => this.next();
  }
}

class BufferedInvokeProcessor extends InvokeProcessor {
  async processInvoke(context, event) {
    let json;
    try {
      const result = await this.handler(event, context);
      await turn();
      json = serialize(result);
    } catch (error) {
      await turn();
      logError('Invoke Error', error, errors);
      this.connection.fail(context.awsRequestId, errors.payload(error), this.after());
      return;
    }
    this.connection.respond(context.awsRequestId, json, this.after());
  }
}

class StreamingInvokeProcessor extends InvokeProcessor {
  async processInvoke(context, event) {
    const { stream, done, finish, fail } = this.connection.stream(context.awsRequestId, this.options);
    try {
      const result = this.handler(event, stream, context);
      if (typeof result !== 'object' || result === null || typeof result.then !== 'function') {
        throw new Error('Streaming does not support non-async handlers.');
      }
      if (typeof await result !== 'undefined') console.warn('Streaming handlers ignore return values.');
      await done;
      if (!stream.writableFinished) throw new Error('Response stream is not finished.');
      finish(this.after());
    } catch (error) {
      await turn();
      logError('Invoke Error', error, errors);
      fail(errors.payload(error), this.after());
    }
  }
}

const CALLBACKS = {
  22: 'ERROR: AWS Lambda does not support callback-based function handlers when using Node.js 22 with Managed Instances. To use Managed Instances, modify this function to use a supported handler signature.',
  24: 'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later.',
};

// Several events' records must not mix: each worker has an outlet of its own.
async function outlet() {
  const path = env._LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET;
  let fd = 1;
  if (path) {
    fd = await new Promise((resolve, reject) => {
      const socket = require('net').createConnection(path);
      socket.once('error', (e) => reject(new errors.PlatformError(`Failed to connect to telemetry socket: ${e.message}`)));
      socket.once('connect', () => {
        socket.unref();
        resolve(socket._handle.fd);
      });
    });
  }
  return (line) => require('fs').writeSync(fd, line);
}

async function run(connection) {
  handlers.setGlobals();
  const store = new InvokeStore();
  if (!handlers.noGlobal) globalThis.awslambda.InvokeStore ??= store;
  patch({ requestId: () => store.getRequestId(), tenantId: () => store.getTenantId() }, { write: several ? await outlet() : null });
  let handler, about;
  try {
    handler = await handlers.load(env.LAMBDA_TASK_ROOT ?? '/var/task', env._HANDLER, errors);
    about = handlers.metadata(handler, errors);
    if (handler.length >= 3 && !about.streaming) {
      const words = CALLBACKS[env.AWS_EXECUTION_ENV === 'AWS_Lambda_nodejs22.x' ? 22 : 24];
      throw new errors.CallbackHandlerDeprecated(`${words} For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.`);
    }
  } catch (error) {
    logError('Init Error', error, errors);
    await new Promise((resolve) => { connection.failInit(errors.payload(error), resolve); });
    throw error;
  }
  const Processor = about.streaming ? StreamingInvokeProcessor : BufferedInvokeProcessor;
  new Processor(connection, handler, about, store).next();
}

module.exports = { run };
