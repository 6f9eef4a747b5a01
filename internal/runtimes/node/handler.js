'use strict';
// Finds the function's handler.

const path = require('path');
const fs = require('fs');
const { createRequire } = require('module');

// Modules are looked for, and missing ones reported, as from AWS's runtime.
const requireAsAWS = createRequire('/var/runtime/index.mjs');

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

const noGlobal = ['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA);

const HttpResponseStream = class {
  // Has the stream begin with the head of an HTTP response.
  static from(stream, prelude) {
    stream.setContentType('application/vnd.awslambda.http-integration-response');
    const head = JSON.stringify(prelude);
    stream._onBeforeFirstWrite = (write) => {
      write(head);
      write(new Uint8Array(8));
    };
    return stream;
  }
};

function streamifyResponse(handler, options) {
  handler[STREAMING] = 'response';
  if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = parseInt(options.highWaterMark, 10);
  return handler;
}

function setGlobals() {
  if (!noGlobal) globalThis.awslambda = { ...globalThis.awslambda, streamifyResponse, HttpResponseStream };
}

// Returns {streaming, highWaterMark} of a handler.
function metadata(handler, errors) {
  const mode = handler[STREAMING];
  if (mode && mode !== 'response') throw new errors.MalformedStreamingHandler('Only response streaming is supported.');
  const mark = parseInt(handler[HIGH_WATER_MARK], 10);
  return { streaming: Boolean(mode), highWaterMark: mark || undefined };
}

function split(name, errors) {
  if (name.includes('..')) {
    throw new errors.MalformedHandlerName(`'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const last = path.basename(name);
  const match = /^([^.]*)\.(.*)$/.exec(last);
  if (!match) throw new errors.MalformedHandlerName('Bad handler');
  return [name.substring(0, name.indexOf(last)), match[1], match[2]];
}

const importIf = async (file) => (fs.existsSync(file) ? import(file) : undefined);
const requireIf = (file) => (fs.existsSync(file) ? requireAsAWS(file) : undefined);

function asLoadError(e, errors) {
  if (e instanceof SyntaxError) return new errors.UserCodeSyntaxError(e);
  if (e?.code === 'MODULE_NOT_FOUND') return new errors.ImportModuleError(e);
  return e;
}

function checked(handler, name, errors) {
  if (!handler) throw new errors.HandlerNotFound(`${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw new errors.HandlerNotFound(`${name} is not a function`);
  return handler;
}

// Whether the next package.json above file.js says that it is an ES module.
function isModuleType(file) {
  if (!fs.existsSync(file + '.js')) return false;
  for (let folder = path.dirname(file); !folder.endsWith('/node_modules'); folder = path.dirname(folder)) {
    const name = path.join(folder, 'package.json');
    if (fs.existsSync(name)) {
      try {
        return JSON.parse(fs.readFileSync(name))?.type === 'module';
      } catch (e) {
        console.warn(`${name} cannot be read, it will be ignored for ES module detection purposes.`, e);
        return false;
      }
    }
    if (folder === path.dirname(folder)) break;
  }
  return false;
}

// Up to nodejs22.x: CommonJS is required, ES modules are imported.
async function loadLegacy(root, name, errors) {
  const [folder, module, member] = split(name, errors);
  setGlobals();
  let app;
  try {
    const file = path.resolve(root, folder, module);
    app = requireIf(file);
    const esm = !app && isModuleType(file);
    if (!app && !esm) app = requireIf(file + '.js');
    app ||= (esm && await importIf(file + '.js')) || await importIf(file + '.mjs') || requireIf(file + '.cjs')
      || requireAsAWS(requireAsAWS.resolve(module, { paths: [root, folder] }));
  } catch (e) {
    throw asLoadError(e, errors);
  }
  return checked(member.split('.').reduce((o, key) => o && o[key], app), name, errors);
}

// From nodejs24.x on: everything is imported.
async function load(root, name, errors) {
  let [folder, module, member] = split(name, errors);
  folder = folder.replace(/\/$/, '');
  let app;
  try {
    const file = path.resolve(root, folder, module);
    for (const extension of ['', '.js', '.mjs', '.cjs']) {
      app = await importIf(file + extension);
      if (app) break;
    }
    app ||= requireAsAWS(requireAsAWS.resolve(module, { paths: [root, path.join(root, folder)] }));
  } catch (e) {
    throw asLoadError(e, errors);
  }
  const find = (o) => member.split('.').reduce((v, key) => (v && typeof v === 'object' ? v[key] : undefined), o);
  let handler = find(app);
  if (!handler && typeof app === 'object' && app !== null && 'default' in app) handler = find(app.default);
  return checked(handler, name, errors);
}

module.exports = { load, loadLegacy, metadata, setGlobals, noGlobal };
