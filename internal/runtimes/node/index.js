'use strict';
// Hearth's Node.js runtime: it loads the function's handler and serves events.
//
// What a function sees is what AWS's runtimes show it: those up to nodejs22.x
// (legacy.js) with callbacks, and those from nodejs24.x on (current.js) without.
// Whatever a plain function does not need (HTTP, response streams, worker
// threads) is in modules that are loaded when first used.

const { env } = process;
const fs = require('fs');

// How the agent is reached. Both ways have these methods:
//
//   next()                       promises the next event: its head and its payload
//   respond(id, json, then)      answers the event
//   fail(id, error, then)        answers that the event failed; error is {errorType, …}
//   failLast(id, error, then)    the same, before the process ends
//   failInit(error, then)        reports that INIT failed
//   stream(id, options)          begins a streamed response (stream.js, http.js)
//   answerAsks                   whether an answer asks for the next event at once
//
// While an event is with the function, the connection does not keep the event
// loop alive.
function connect() {
  const fd = Number(env._HEARTH_FD ?? NaN);
  const own = env._HEARTH_RUNTIME_API === env.AWS_LAMBDA_RUNTIME_API;
  delete env._HEARTH_FD;
  delete env._HEARTH_RUNTIME_API;
  delete env._HEARTH_OPT;
  if (own && Number.isInteger(fd) && !('AWS_LAMBDA_MAX_CONCURRENCY' in env)) {
    try {
      if (fs.fstatSync(fd).isSocket()) return framed(fd);
    } catch {
      // A wrapper has closed it.
    }
  }
  return require('./http.js').connect(env.AWS_LAMBDA_RUNTIME_API);
}

// Reads from a socket: calls received(n, buffer) for each chunk, which keeps
// nothing of the buffer, and ended at its end. Returns what has ref and unref.
function open(fd, received, ended) {
  const buffer = Buffer.allocUnsafeSlow(65536);
  try {
    // What module net is made of: to load that takes a fifth of a start.
    const { Pipe, constants } = process.binding('pipe_wrap');
    const { streamBaseState, kReadBytesOrError } = process.binding('stream_wrap');
    const pipe = new Pipe(constants.SOCKET);
    pipe.useUserBuffer(buffer);
    pipe.onread = () => {
      const n = streamBaseState[kReadBytesOrError];
      if (n > 0) received(n, buffer);
      else if (n < 0) ended();
    };
    if (!Number.isInteger(kReadBytesOrError) || !(streamBaseState[kReadBytesOrError] >= 0)) throw new Error('unknown');
    if (pipe.open(fd) || pipe.readStart()) throw new Error('not opened');
    return pipe;
  } catch {
    const socket = new (require('net').Socket)({ fd, readable: true, writable: true,
      onread: { buffer, callback: (n, chunk) => { received(n, chunk); return true; } } });
    socket.on('end', ended);
    socket.on('error', ended);
    return socket;
  }
}

// The agent's framed socket.
function framed(fd) {
  const N = 78, I = 73, R = 82, F = 70, D = 68;
  let out = Buffer.allocUnsafeSlow(65536);
  let waiting = null; // resolves the promise of the next event
  let early = null; // an event that came before it was asked for
  let started = false;
  let frame = null; // a frame that is not whole yet
  let have = 0;

  const handle = open(fd, received, () => process.exit(0)); // At its end the environment is going.

  function received(n, chunk) {
    if (frame === null) {
      if (n >= 4) {
        const end = chunk.readUInt32BE(0) + 4;
        if (end === n) {
          dispatch(chunk, n);
          return;
        }
        frame = Buffer.allocUnsafe(end);
      } else {
        frame = Buffer.allocUnsafe(4);
      }
      have = 0;
    }
    let from = 0;
    while (from < n) {
      const took = chunk.copy(frame, have, from, n);
      have += took;
      from += took;
      if (have === 4 && frame.length === 4) {
        const whole = Buffer.allocUnsafe(frame.readUInt32BE(0) + 4);
        frame.copy(whole);
        frame = whole;
      }
    }
    if (have === frame.length) {
      const whole = frame;
      frame = null;
      dispatch(whole, have);
    }
  }

  function dispatch(data, end) {
    const body = 9 + data.readUInt32BE(5);
    const event = { head: data.utf8Slice(9, body).split('\0'), text: data.utf8Slice(body, end) };
    if (waiting === null) {
      early = event;
      return;
    }
    const take = waiting;
    waiting = null;
    handle.unref();
    take(event);
  }

  function write(data, length) {
    let at = 0;
    while (at < length) {
      try {
        at += fs.writeSync(fd, data, at, length - at);
      } catch (e) {
        if (e.code !== 'EAGAIN') process.exit(0);
        // The socket is full. The agent reads at once, so this is short.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0.1);
      }
    }
  }

  function put(type, text) {
    if (text.length * 3 + 5 > out.length) {
      const length = Buffer.byteLength(text);
      if (length + 5 > out.length) {
        const data = Buffer.allocUnsafe(length + 5);
        data.writeUInt32BE(length + 1, 0);
        data[4] = type;
        data.utf8Write(text, 5);
        write(data, data.length);
        return;
      }
    }
    const length = out.utf8Write(text, 5);
    out.writeUInt32BE(length + 1, 0);
    out[4] = type;
    write(out, length + 5);
  }

  const failure = (error) => `${String(error.errorType).replaceAll('\0', '')}\0${JSON.stringify(error)}`;

  return {
    answerAsks: true,
    next() {
      if (!started) {
        started = true;
        put(N, '');
      }
      return new Promise((resolve) => {
        if (early !== null) {
          const event = early;
          early = null;
          resolve(event);
          return;
        }
        waiting = resolve;
        handle.ref();
      });
    },
    respond(id, json, then) {
      put(R, json);
      then?.();
    },
    fail(id, error, then) {
      put(F, failure(error));
      then?.();
    },
    failLast(id, error, then) {
      put(D, failure(error));
      then?.();
    },
    failInit(error, then) {
      put(I, failure(error));
      then?.();
    },
    stream(id, options) {
      handle.ref();
      return require('./stream.js').framed(put, write, failure, options);
    },
  };
}

const version = Number(/nodejs(\d+)/.exec(env.AWS_EXECUTION_ENV ?? '')?.[1] ?? process.versions.node.split('.')[0]);
const several = 'AWS_LAMBDA_MAX_CONCURRENCY' in env;

if (several && require('worker_threads').isMainThread) {
  require('./workers.js').run(__filename);
} else if (several || version >= 24) {
  require('./current.js').run(connect());
} else {
  require('./legacy.js').run(connect());
}
