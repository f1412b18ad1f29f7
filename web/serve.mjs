// Serves dist/ on 127.0.0.1: `node serve.mjs [--port 4173]`. Another port is taken, and said, where that one is taken.

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('dist/', import.meta.url));
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm' };
const given = process.argv.indexOf('--port');
const wanted = given < 0 ? 4173 : Number(process.argv[given + 1]);

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname));
  const file = join(root, path.endsWith('/') ? `${path}index.html` : path);
  const found = file.startsWith(root) && statSync(file, { throwIfNoEntry: false })?.isFile() === true;
  if (!found) return response.writeHead(404).end('not here');
  response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' });
  return createReadStream(file).pipe(response);
});

let port = wanted;
server.on('error', (error) => {
  if (error.code !== 'EADDRINUSE' || given >= 0 || port > wanted + 50) throw error;
  console.log(`port ${port} is taken`);
  server.listen(++port, '127.0.0.1');
});
server.on('listening', () => console.log(`the page: http://127.0.0.1:${port}/`));
server.listen(port, '127.0.0.1');
