'use strict';
// Streamed responses: what a streaming handler writes to.

const { Writable } = require('stream');

const METHODS = ['cork', 'destroy', 'end', 'uncork', 'write', 'addListener', 'on', 'once', 'prependListener', 'prependOnceListener', 'off',
  'removeListener', 'removeAllListeners', 'setMaxListeners', 'getMaxListeners', 'listeners', 'rawListeners', 'listenerCount', 'eventNames',
  'emit', 'setContentType'];
const PROPERTIES = ['destroyed', 'writable', '_onBeforeFirstWrite', 'writableFinished', 'writableObjectMode', 'writableEnded',
  'writableNeedDrain', 'writableHighWaterMark', 'writableCorked', 'writableLength'];

// Gives a writable stream the face that AWS's has, and its ways of writing.
function face(inner, errors, legacy) {
  let begun = false;
  inner.setContentType = (type) => {
    if (begun) throw new errors.InvalidStreamingOperation('Cannot set content-type, too late.');
    inner.contentType = type;
    inner.onContentType?.(type);
  };
  const write = inner.write.bind(inner);
  inner.write = (chunk, encoding, callback) => {
    let data = chunk;
    if (typeof chunk !== 'string' && !(chunk instanceof Uint8Array)) data = JSON.stringify(chunk);
    if (!begun && typeof inner._onBeforeFirstWrite === 'function') inner._onBeforeFirstWrite((ch) => write(ch));
    const result = write(data, encoding, callback);
    begun = true;
    return result;
  };
  if (legacy) {
    const end = inner.end.bind(inner);
    inner.end = (last) => { end(last); };
  }
  const stream = {};
  for (const name of METHODS) stream[name] = inner[name].bind(inner);
  for (const name of PROPERTIES) {
    Object.defineProperty(stream, name, { get: () => inner[name], set: (value) => { inner[name] = value; } });
  }
  return stream;
}

// A response over the framed socket. Its end is sent when the handler is done,
// since it asks for the next event.
function framed(put, write, failure, { highWaterMark, errors, legacy }) {
  const S = 83, C = 67, Z = 90, X = 88;
  let started = false;
  const start = () => {
    if (!started) put(S, inner.contentType);
    started = true;
  };
  const inner = new Writable({
    highWaterMark: highWaterMark ?? 16384,
    write(chunk, _encoding, callback) {
      start();
      const head = Buffer.allocUnsafe(5);
      for (let at = 0; at < chunk.length; at += 1 << 20) {
        const part = chunk.subarray(at, at + (1 << 20));
        head.writeUInt32BE(part.length + 1, 0);
        head[4] = C;
        write(head, 5);
        write(part, part.length);
      }
      callback();
    },
  });
  inner.contentType = 'application/octet-stream';
  const done = new Promise((resolve, reject) => {
    inner.on('finish', resolve);
    inner.on('error', reject);
  });
  done.catch(() => {}); // Whoever waits for it sees the error.
  return {
    stream: face(inner, errors, legacy),
    done,
    finish(then) {
      start();
      put(Z, '');
      then?.();
    },
    fail(error, then) {
      start();
      // A response that has ended can't fail any more.
      if (inner.writableEnded && inner.writableLength === 0) put(Z, '');
      else put(X, failure(error));
      then?.();
    },
  };
}

module.exports = { face, framed };
