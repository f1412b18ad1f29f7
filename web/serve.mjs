// Serves dist/ on 127.0.0.1: `node serve.mjs [--port 4173] [--idle MINUTES] [--detach]`. Another port is taken, and said,
// where that one is taken, unless it was asked for. `--idle` ends after so long without a request; `--detach` leaves a
// server behind, says which process it is, and returns.

import { fork } from 'node:child_process';
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: given } = parseArgs({ options: { port: { type: 'string' }, idle: { type: 'string' }, detach: { type: 'boolean' } } });

/** To whoever started this, who may be another process. */
const say = (line) => (process.send === undefined ? console.log(line) : process.send(line));

if (given.detach) detach();
else serve();

function detach() {
  const more = Object.entries(given).flatMap(([name, value]) => (name === 'detach' ? [] : [`--${name}`, value]));
  const child = fork(fileURLToPath(import.meta.url), more, { detached: true, stdio: 'ignore' });
  child.on('message', (line) => {
    console.log(line);
    if (!line.startsWith('the page')) return;
    console.log(`served by process ${child.pid}, which ends by itself after ${given.idle ?? 'no'} idle minutes: kill ${child.pid}`);
    child.disconnect();
    child.unref();
  });
  child.on('exit', (code) => {
    console.error('the page is not served');
    process.exitCode = code || 1;
  });
}

function serve() {
  const root = fileURLToPath(new URL('dist/', import.meta.url));
  const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };
  const wanted = Number(given.port ?? 4173);
  const idle = given.idle === undefined ? undefined : setTimeout(() => process.exit(), Number(given.idle) * 60_000);

  const server = createServer((request, response) => {
    idle?.refresh();
    let file = '';
    try {
      const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname));
      file = join(root, path.endsWith('/') ? `${path}index.html` : path);
    } catch {
      // An address that cannot be decoded leads nowhere.
    }
    const found = file.startsWith(root) && statSync(file, { throwIfNoEntry: false })?.isFile() === true;
    if (!found) return response.writeHead(404).end('not here');
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' });
    return createReadStream(file).pipe(response);
  });

  let port = wanted;
  server.on('error', (error) => {
    if (error.code !== 'EADDRINUSE' || given.port !== undefined || port > wanted + 50) throw error;
    say(`port ${port} is taken`);
    server.listen(++port, '127.0.0.1');
  });
  server.on('listening', () => say(`the page: http://127.0.0.1:${port}/`));
  server.listen(port, '127.0.0.1');
}
