import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

/** Bytes on the wire of the built page's files of these kinds. */
function wire(...endings: readonly string[]): number {
  const files = readdirSync('dist/assets').filter((name) => endings.some((ending) => name.endsWith(ending)));
  assert.notEqual(files.length, 0);
  return files.reduce((sum, name) => sum + gzipSync(readFileSync(`dist/assets/${name}`), { level: 9 }).length, 0);
}

test('the page is small', () => {
  const [wasm, rest] = [wire('.wasm'), wire('.js', '.css')];
  console.log(`gzip: wasm ${(wasm / 1000).toFixed(1)} kB of 150, script and style ${(rest / 1000).toFixed(1)} kB of 60`);
  assert.ok(wasm < 150_000 && rest < 60_000);
});
