'use strict';
// How failures are put in words, for the answer and for the log.

const types = require('util').types;

function looksLikeError(o) {
  return o && typeof o.name === 'string' && o.name && typeof o.message === 'string' && o.message && typeof o.stack === 'string' && o.stack;
}

const UNREADABLE = {
  errorType: 'handled',
  errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
};

const plain = (s) => s?.replaceAll('\x7F', '%7F');

// The payload of a failed event up to nodejs22.x …
function legacyPayload(error) {
  try {
    if (types.isNativeError(error) || looksLikeError(error)) {
      return { errorType: plain(error.name), errorMessage: plain(error.message), trace: error.stack.replaceAll('\x7F', '%7F').split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return { ...UNREADABLE };
  }
}

// … and from nodejs24.x on.
function payload(error) {
  try {
    if (error instanceof Error) {
      return { errorType: plain(error.name), errorMessage: plain(error.message), trace: plain(error.stack)?.split('\n') || [] };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    return { ...UNREADABLE, trace: [] };
  }
}

const formatter = (toPayload) => (error) => {
  try {
    return '\t' + JSON.stringify(error, (_key, value) => {
      if (!(value instanceof Error)) return value;
      const all = Object.assign({ errorType: value.name, errorMessage: value.message, code: value.code }, value);
      if (typeof value.stack === 'string') all.stack = value.stack.split('\n');
      return all;
    });
  } catch {
    return '\t' + JSON.stringify(toPayload(error));
  }
};

// The runtime's own errors up to nodejs22.x: their name is in their stacks.
const legacy = {
  ImportModuleError: class ImportModuleError extends Error {},
  HandlerNotFound: class HandlerNotFound extends Error {},
  MalformedHandlerName: class MalformedHandlerName extends Error {},
  UserCodeSyntaxError: class UserCodeSyntaxError extends Error {},
  MalformedStreamingHandler: class MalformedStreamingHandler extends Error {},
  InvalidStreamingOperation: class InvalidStreamingOperation extends Error {},
  UnhandledPromiseRejection: class UnhandledPromiseRejection extends Error {
    constructor(reason, promise) {
      super(reason);
      this.reason = reason;
      this.promise = promise;
    }
  },
};
for (const [name, type] of Object.entries(legacy)) type.prototype.name = `Runtime.${name}`;

// Those from nodejs24.x on: their names came after their stacks.
const named = (type, name) => class extends Error {
  static name = type;

  constructor(message) {
    super(message);
    this.name = `Runtime.${name}`;
  }
};
const current = {
  HandlerNotFound: named('HandlerNotFoundError', 'HandlerNotFound'),
  MalformedHandlerName: named('MalformedHandlerNameError', 'MalformedHandlerName'),
  InvalidStreamingOperation: named('InvalidStreamingOperation', 'InvalidStreamingOperation'),
  MalformedStreamingHandler: named('MalformedStreamingHandler', 'MalformedStreamingHandler'),
  JSONStringifyError: named('JSONStringifyError', 'JSONStringifyError'),
  PlatformError: named('PlatformError', 'PlatformError'),
  CallbackHandlerDeprecated: named('CallbackHandlerDeprecatedError', 'CallbackHandlerDeprecated'),
  ImportModuleError: class ImportModuleError extends Error {
    constructor(cause) {
      super(String(cause));
      this.name = 'Runtime.ImportModuleError';
    }
  },
  UserCodeSyntaxError: class UserCodeSyntaxError extends Error {
    constructor(cause) {
      super(String(cause));
      this.name = 'Runtime.UserCodeSyntaxError';
      this.stack = cause.stack;
    }
  },
};

module.exports = {
  legacy: {
    ...legacy,
    payload: legacyPayload,
    toFormatted: formatter(legacyPayload),
    intoError: (error) => (error instanceof Error ? error : new Error(error)),
  },
  current: {
    ...current,
    payload,
    toFormatted: formatter(payload),
    intoError: (error) => (error instanceof Error ? error : new Error(String(error))),
  },
};
