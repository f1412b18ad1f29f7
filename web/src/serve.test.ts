import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { test } from 'node:test';

/** What the server says until it has said where the page is. */
async function start(...given: readonly string[]): Promise<{ readonly child: ChildProcess; readonly said: string }> {
  const child = spawn(process.execPath, ['serve.mjs', ...given], { stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  for await (const piece of child.stdout) {
    said += String(piece);
    if (said.includes('http://')) break;
  }
  return { child, said };
}

test('the page is served on the usual port, or the next one that is free', async () => {
  const other = createServer();
  // Somebody may have it already, which is as good.
  await new Promise<void>((done) => other.once('error', () => done()).listen(4173, '127.0.0.1', () => done()));
  const { child, said } = await start();
  try {
    assert.match(said, /^port 4173 is taken\n/);
    const at = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(said)?.[0] ?? '';
    assert.match(await (await fetch(at)).text(), /<title>SMMUv3\.2/);
    for (const path of ['nothing.html', '..%2fpackage.json', '%']) assert.equal((await fetch(at + path)).status, 404, path);
  } finally {
    child.kill();
    other.close();
  }
});

test('a port that was asked for is that one or none', async () => {
  const other = createServer();
  const port = await new Promise<number>((done) => other.listen(0, '127.0.0.1', () => {
    const address = other.address();
    done(typeof address === 'object' && address !== null ? address.port : 0);
  }));
  const { said } = await start('--port', String(port));
  assert.equal(said, '');
  other.close();
});
