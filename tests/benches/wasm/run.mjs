// `node run.mjs GLUE_FOLDER NATIVE.jsonl`: the benchmark in Node and in Chromium, beside the native one's ratios.
//
// Times of different programs do not compare on a busy machine; the ratio of the model to the straight IOTLB, both in one run,
// does. Exit status 1 if an operation has lost more than a factor of three of its native ratio.

import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { measure } from './measure.mjs';

const FACTOR = 3;
const ROUNDS = 15;
const [folder, native] = process.argv.slice(2);
if (folder === undefined || native === undefined) {
  console.error('usage: node run.mjs GLUE_FOLDER NATIVE.jsonl');
  process.exit(2);
}
const here = fileURLToPath(new URL('.', import.meta.url));

async function inNode() {
  const glue = await import(pathToFileURL(join(folder, 'bench_wasm.js')).href);
  glue.initSync({ module: readFileSync(join(folder, 'bench_wasm_bg.wasm')) });
  return measure(glue, ROUNDS);
}

/** Isolated from other origins, since only such a page has a clock of 5 µs. */
function serve() {
  const types = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };
  const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
  const server = createServer((request, response) => {
    const name = new URL(request.url ?? '/', 'http://localhost').pathname.slice(1);
    const found = [join(folder, name), join(here, name)].find((file) => /^\w+\.\w+$/.test(name) && existsSync(file));
    if (found === undefined) {
      response.writeHead(name === '' ? 200 : 404, { ...headers, 'content-type': 'text/html' }).end('<!doctype html>');
    } else {
      response.writeHead(200, { ...headers, 'content-type': types[extname(found)] ?? 'application/octet-stream' });
      createReadStream(found).pipe(response);
    }
  });
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server)); });
}

async function inChromium() {
  const { chromium } = createRequire(new URL('../../../web/package.json', import.meta.url))('@playwright/test');
  const server = await serve();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return await page.evaluate(async (rounds) => {
      const glue = await import('/bench_wasm.js');
      await glue.default();
      const { measure } = await import('/measure.mjs');
      return measure(glue, rounds);
    }, ROUNDS);
  } finally {
    await browser.close();
    server.close();
  }
}

const rows = readFileSync(native, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const ratios = new Map(rows.map((row) => [row.name, row.ratio]));
const [node, browser] = [await inNode(), await inChromium()];
let lost = 0;
const ratio = (results, name) => results[name][1] / results[name][0];
console.log('reference : ours'.padEnd(30), ['native', 'Node', 'Chromium'].map((head) => head.padStart(10)).join(''));
for (const name of Object.keys(node)) {
  const [here, there, alone] = [ratio(node, name), ratio(browser, name), ratios.get(name)];
  const bad = Math.min(here, there) * FACTOR < alone;
  lost += bad ? 1 : 0;
  const cells = [alone, here, there].map((value) => value.toFixed(1).padStart(10)).join('');
  console.log(name.padEnd(30), cells, bad ? '  more than a factor of three' : '');
}
process.exit(lost === 0 ? 0 : 1);
