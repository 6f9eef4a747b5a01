'use strict';
// The Runtime API over HTTP, for when something stands between the function and the agent.

const http = require('http');

const BASE = '/2018-06-01/runtime/';
const ERROR_TYPE = 'Lambda-Runtime-Function-Error-Type';
const ERROR_BODY = 'Lambda-Runtime-Function-Error-Body';
const HEAD = ['aws-request-id', 'deadline-ms', 'invoked-function-arn', 'trace-id', 'client-context', 'cognito-identity', 'aws-tenant-id'];

function connect(address) {
  const at = address.lastIndexOf(':');
  const host = at < 0 ? address : address.slice(0, at);
  const port = at < 0 ? 80 : Number(address.slice(at + 1));
  const agent = new http.Agent({ keepAlive: true });
  let invocationID;

  function call(method, path, body, headers, then) {
    const request = http.request({ host, port, method, path: BASE + path, agent, headers }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', (e) => { throw e; });
      response.on('end', () => {
        if (response.statusCode >= 300) throw new Error(`${method} ${BASE + path}: ${response.statusCode} ${Buffer.concat(parts)}`);
        then?.(response.headers, Buffer.concat(parts));
      });
    });
    request.on('error', (e) => {
      // A kept connection may have been closed while it was idle.
      if (request.reusedSocket && e.code === 'ECONNRESET') call(method, path, body, headers, then);
      else throw e;
    });
    request.end(body);
  }

  function post(path, json, headers, then) {
    call('POST', path, json, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(json), ...headers }, then);
  }

  const echo = () => (invocationID === undefined ? {} : { 'Lambda-Runtime-Invocation-Id': invocationID });

  const fail = (id, error, then) => post(`invocation/${encodeURIComponent(id)}/error`, JSON.stringify(error), echo(), () => then?.());

  return {
    answerAsks: false,
    next() {
      return new Promise((resolve) => {
        call('GET', 'invocation/next', undefined, {}, (headers, body) => {
          invocationID = headers['lambda-runtime-invocation-id'];
          // Header values are UTF-8 where they are not ASCII.
          const head = HEAD.map((name) => Buffer.from(headers[`lambda-runtime-${name}`] ?? '', 'latin1').toString());
          resolve({ head, text: body.toString() });
        });
      });
    },
    respond(id, json, then) {
      post(`invocation/${encodeURIComponent(id)}/response`, json, echo(), () => then?.());
    },
    fail,
    failLast: fail,
    failInit(error, then) {
      post('init/error', JSON.stringify(error), { [ERROR_TYPE]: error.errorType }, () => then?.());
    },
    stream(id, { highWaterMark, errors, legacy }) {
      let next;
      const inner = http.request({
        host, port, method: 'POST', path: `${BASE}invocation/${encodeURIComponent(id)}/response`, agent, highWaterMark,
        headers: {
          'Lambda-Runtime-Function-Response-Mode': 'streaming',
          Trailer: [ERROR_TYPE, ERROR_BODY],
          'Content-Type': 'application/octet-stream',
          'Transfer-Encoding': 'chunked',
          ...echo(),
        },
      });
      inner.onContentType = (type) => inner.setHeader('Content-Type', type);
      const done = new Promise((resolve, reject) => {
        inner.on('response', (response) => {
          response.on('end', resolve);
          response.on('error', reject);
          response.resume();
        });
        inner.on('error', reject);
      });
      done.catch(() => {}); // Whoever waits for it sees the error.
      return {
        stream: require('./stream.js').face(inner, errors, legacy),
        done,
        finish(then) {
          then?.();
        },
        fail(error, then) {
          next = then;
          if (!inner.writableEnded) {
            inner.addTrailers({ [ERROR_TYPE]: error.errorType, [ERROR_BODY]: Buffer.from(JSON.stringify(error)).toString('base64') });
            inner.end();
          }
          done.then(() => next?.(), () => next?.());
        },
      };
    },
  };
}

module.exports = { connect };
