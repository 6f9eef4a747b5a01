'use strict';
// The console as AWS's runtimes have it: each call is one log record with time,
// request ID and level, in text or JSON.

const { format } = require('util');
const fs = require('fs');
const { env } = process;

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const isJSON = env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';

function replaceErrors(_key, value) {
  if (value instanceof Error) {
    return Object.assign({
      errorType: value?.constructor?.name ?? 'UnknownError',
      errorMessage: value.message,
      stackTrace: typeof value.stack === 'string' ? value.stack.split('\n') : value.stack,
    }, value);
  }
  return value;
}

function jsonRecord(time, id, tenant, level, params) {
  const record = { timestamp: time, level, requestId: id };
  if (tenant != null && tenant !== '') record.tenantId = tenant;
  if (params.length === 1) {
    record.message = params[0];
    try {
      return JSON.stringify(record, replaceErrors);
    } catch {
      record.message = format(record.message);
      return JSON.stringify(record);
    }
  }
  record.message = format(...params);
  for (const param of params) {
    if (param instanceof Error) {
      record.errorType = param?.constructor?.name ?? 'UnknownError';
      record.errorMessage = param.message;
      record.stackTrace = typeof param.stack === 'string' ? param.stack.split('\n') : [];
      break;
    }
  }
  return JSON.stringify(record);
}

// Patches console. state gives requestId() and tenantId() of the current
// event; write, if given, takes each line instead of the usual outlet.
// always says that console.fatal has no lowest level, as it was up to nodejs22.x.
function patch(state, { always = false, write = null } = {}) {
  let fd = NaN;
  if ('_LAMBDA_TELEMETRY_LOG_FD' in env && write === null) {
    fd = parseInt(env._LAMBDA_TELEMETRY_LOG_FD, 10);
    delete env._LAMBDA_TELEMETRY_LOG_FD;
  }
  // The type of a telemetry frame says format and level.
  const type = isJSON || write ? 0xa55a0002 : 0xa55a0003;

  function toPipe(mask, date, text) {
    const length = Buffer.byteLength(text);
    const data = Buffer.allocUnsafe(16 + length);
    data.writeUInt32BE((type | mask) >>> 0, 0);
    data.writeUInt32BE(length, 4);
    data.writeBigInt64BE(BigInt(date.valueOf()) * 1000n, 8);
    data.utf8Write(text, 16);
    for (let at = 0; at < data.length;) {
      try {
        at += fs.writeSync(fd, data, at);
      } catch (e) {
        if (e.code !== 'EAGAIN') throw e;
      }
    }
  }

  function log(level, mask, params) {
    const date = new Date();
    const time = date.toISOString();
    let text;
    if (isJSON || write) {
      text = jsonRecord(time, state.requestId(), state.tenantId(), level, params);
    } else {
      text = `${time}\t${state.requestId()}\t${level}\t${format(...params)}`;
      if (fd >= 0) text += '\n';
    }
    if (fd >= 0) {
      toPipe(mask, date, text);
    } else {
      // One record, although of several lines: standard output is cut at newlines.
      text = text.replace(/\n/g, '\r') + '\n';
      if (write) write(text);
      else process.stdout.write(text);
    }
  }

  const lowest = LEVELS.indexOf(env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase());
  LEVELS.forEach((level, i) => {
    // A call without arguments logs "undefined", as there.
    console[level.toLowerCase()] = i >= lowest || (always && level === 'FATAL')
      ? (message, ...params) => log(level, (i + 1) << 2, [message, ...params])
      : (_message, ..._params) => {};
  });
  console.log = console.info;
}

// Logs an error of the runtime; format is errors.js's for its generation.
function logError(message, error, { intoError, toFormatted }) {
  if (isJSON) console.error(intoError(error));
  else console.error(message, toFormatted(intoError(error)));
}

module.exports = { patch, logError };
