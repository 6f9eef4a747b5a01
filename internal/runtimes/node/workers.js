'use strict';
// Several events at once: worker threads, each with its own next events.

const fs = require('fs');
const os = require('os');
const { Worker } = require('worker_threads');

function cpus() {
  try {
    const [quota, period] = fs.readFileSync('/sys/fs/cgroup/cpu.max', 'utf8').trim().split(/\s+/);
    if (quota === 'max') return Math.max(1, os.cpus().length);
    return Math.ceil(parseInt(quota, 10) / parseInt(period, 10)) || 1;
  } catch {
    return 1;
  }
}

// Starts the workers, which run file, and waits for them.
function run(file) {
  const count = parseInt(process.env.AWS_LAMBDA_NODEJS_WORKER_COUNT, 10) || 8 * cpus();
  const unfit = ['--expose-gc', '--max-semi-space-size', '--max-old-space-size', '--max-http-header-size'];
  const execArgv = process.execArgv.filter((arg) => !unfit.some((flag) => arg.startsWith(flag)) && !/^\d+$/.test(arg));
  for (let i = 0; i < count; i++) {
    const worker = new Worker(file, { env: process.env, execArgv });
    worker.on('error', (error) => console.error(`Worker ${i} error:`, error));
    worker.on('exit', (status) => {
      if (status !== 0) console.error(`Worker ${i} exited with code ${status}`);
    });
  }
}

module.exports = { run };
