import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { load } from './model.ts';

// The tests are run from web/, whichever folder they were compiled into.
const wasm = readFileSync('src/generated/smmuv3_wasm_bg.wasm');

test('the page is given frozen data and no handles', async () => {
  const model = await load({ sets: 64, ways: 4 }, wasm);
  assert.ok(Object.isFrozen(model.idFields));
  assert.deepEqual(model.idFields.find(({ name }) => name === 'RIL'),
    { register: 'IDR3', offset: 0x0c, name: 'RIL', high: 10, low: 10, value: 1 });
});

test('a DMA at reset goes straight through', async () => {
  const model = await load({ sets: 64, ways: 4 }, wasm);
  const outcome = model.dma(7, 0x8000_0123n, 'read');
  assert.equal(outcome.kind, 'translated');
  assert.equal(outcome.kind === 'translated' && outcome.pa, 0x8000_0123n);
});

test('an impossible geometry is an exception with a reason', async () => {
  await assert.rejects(load({ sets: 3, ways: 4 }, wasm), /\w/);
});
