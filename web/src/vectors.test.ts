import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { load } from './model.ts';

// The tests are run from web/, whichever folder they were compiled into.
const library = await load(readFileSync('src/generated/smmuv3_wasm_bg.wasm'));
const vectors = '../tests/golden/vectors/';
/** Where `.ci/run web` finds what the page exports, and replays it. */
const exported = '.test/exported/';

test('every recorded transcript is imported, answered as recorded, and exported', () => {
  mkdirSync(exported, { recursive: true });
  const wrong: string[] = [];
  const names = readdirSync(vectors);
  assert.ok(names.length > 300);
  for (const file of names) {
    const data = readFileSync(vectors + file);
    const text = (file.endsWith('.gz') ? gunzipSync(data) : data).toString();
    const model = library.create('');
    try {
      model.importTranscript(text);
      model.run(0xffff_ffff);
      const { counters, trouble } = model.panels();
      if (trouble !== null) wrong.push(`${file}: ${trouble}`);
      if (counters.unexpected !== 0) wrong.push(`${file}: ${counters.unexpected} answers are wrong`);
      const name = file.replace(/\.gz$/, '');
      writeFileSync(exported + name, model.exportTranscript(name));
    } catch (error) {
      wrong.push(`${file}: ${String(error)}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('an answer that is not the recorded one is told', () => {
  const config = { op: 'config', version: 1.1, name: 'wrong', category: 'page', stage: '1', idr: { IDR0: '0x84c129b', IDR1: '0xe730510', IDR2: 0, IDR3: '0x1514', IDR4: 0, IDR5: '0x100075', IIDR: 0, AIDR: 2 }, ram: [{ base: 0, size: 4096 }], sids: [1], source: 'by hand' };
  // Out of reset GBPA lets everything through as it is.
  const good = { op: 'dma', sid: 1, ssid: null, iova: '0x1234', access: 'r', len: 4, expect: { pa: '0x1234' } };
  const unexpected = (...lines: readonly object[]) => {
    const model = library.create('');
    model.importTranscript([config, ...lines].map((line) => JSON.stringify(line)).join('\n'));
    model.run(0xffff_ffff);
    return model.panels().counters.unexpected;
  };
  assert.equal(unexpected(good), 0);
  assert.equal(unexpected({ ...good, expect: { pa: '0x1235' } }), 1);
  assert.equal(unexpected({ ...good, expect: { fault: true, event: 'F_TRANSLATION' }, alt: [{ pa: '0x1234' }] }), 0);
  assert.equal(unexpected({ op: 'mmio_r', off: 0, size: 4, val: '0x84c129b' }), 0);
  assert.equal(unexpected({ op: 'mmio_r', off: 0, size: 4, val: '0x84c129a' }), 1);
  assert.equal(unexpected({ op: 'mmio_r', off: 0, size: 4, val: '0x84c129a', mask: '0xfffffff0' }), 0);
  assert.equal(unexpected({ op: 'mem', pa: 8, hex: '0001' }), 1);
});
