import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { load } from './model.ts';
import { SCENARIOS } from './scenarios.ts';
import { USUAL_KNOBS } from './store.ts';
import { advance, LESSONS } from './tour.ts';
import { PLACES } from './views/places.ts';
import { grouped } from './words.ts';

// The tests are run from web/, whichever folder they were compiled into.
const library = await load(readFileSync('src/generated/smmuv3_wasm_bg.wasm'));

test('every scenario runs, and every fix leaves nothing stale', () => {
  for (const { id, knobs, setup, script, fix, compose } of SCENARIOS) {
    for (const text of [script, ...(fix === null ? [] : [fix])]) {
      const model = library.create('');
      model.load(knobs, setup, text);
      model.run(0xffff_ffff);
      model.compose(compose);
      const { trouble, stale, access } = model.panels();
      assert.equal(trouble, null, id);
      if (text === fix) assert.deepEqual([stale, access?.stale], [0, false], `${id}, fixed`);
    }
  }
});

const unasked = () => {
  throw new Error('nobody asked for the storm yet');
};

test('every step of the tour can be set up, and no part of it is done yet', () => {
  for (const { scenario: { knobs, setup, script, compose }, parts, above, panels, beside, text, title } of LESSONS) {
    const model = library.create('');
    model.load(knobs, setup, script);
    const preview = model.compose(compose);
    const walk = model.walk(8, 0x40_0000_0000n);
    assert.equal(advance(parts, 0, { panels: model.panels(), preview, why: null, walk, storm: unasked }), 0, title);
    for (const [, id] of [...text, ...parts.map((part) => part.text)].join().matchAll(/\{(\w+)\|/g)) {
      assert.ok(['time', 'run'].includes(id ?? '') || [above, ...panels, ...beside].some((panel) => panel === id), `${title} speaks of ${id} and does not show it`);
    }
  }
});

test('every panel that a scenario speaks of exists', () => {
  for (const { about, id } of SCENARIOS) {
    for (const [, panel] of about.matchAll(/\{(\w+)\|/g)) assert.ok(PLACES.some(([, place]) => place === panel), `${id}: ${panel}`);
  }
});

test('every mistake of the library is there once, and can be shown done right', () => {
  const rows = SCENARIOS.flatMap(({ title, fix }) => /\((D\d+)\)/.exec(title)?.slice(1).map((row) => [row, fix !== null] as const) ?? []);
  assert.deepEqual([...new Set(rows.map(([row]) => row))].sort(), ['D1', 'D10', 'D11', 'D12', 'D13', 'D2', 'D3', 'D4', 'D5', 'D6', 'D7', 'D8', 'D9']);
  assert.ok(rows.every(([, fixed]) => fixed));
});

test('the preview is what is dropped', () => {
  for (const { id, knobs, setup, compose } of SCENARIOS) {
    const model = library.create('');
    model.load(knobs, setup, '');
    const { needed, excess, legal, tlbi } = model.compose(compose);
    if (!legal || !tlbi) continue;
    const before = model.counts().live;
    model.act(compose);
    model.runAction();
    assert.equal(before - model.counts().live, needed + excess, id);
  }
});

test('columns and panels agree', () => {
  const model = library.create('');
  const [scenario] = SCENARIOS;
  model.load('', scenario?.setup ?? '', '');
  model.fill();
  const { flags } = model.columns();
  assert.equal(flags.filter((flag) => (flag & 1) !== 0).length, model.panels().live);
});

test('why says which predicate decides', () => {
  const model = library.create('');
  const scenario = SCENARIOS.find(({ id }) => id === 'ttl');
  model.load(scenario?.knobs ?? '', scenario?.setup ?? '', scenario?.script ?? '');
  model.run(0xffff_ffff);
  model.compose(scenario?.compose ?? '');
  const { flags } = model.columns();
  const why = model.why(flags.findIndex((flag) => (flag & 1) !== 0), false);
  assert.deepEqual(why?.rows.filter(({ decides }) => decides).map(({ name }) => name), ['TTL']);
  assert.equal(why?.rows.length, 9);
  assert.equal(why?.stale, true);
});

test('a refusal is an exception with a reason', () => {
  const model = library.create('');
  assert.throws(() => model.act('dance'), /no action or command `dance`/);
  assert.throws(() => model.importTranscript('{}'), /line 1/);
  assert.throws(() => library.create('sets=3'), /\w/);
});

/** The step of the tour with this scenario, on a machine of its own. */
function lesson(id: string) {
  const found = LESSONS.find(({ scenario }) => scenario.id === `tour-${id}`);
  if (found === undefined) throw new Error(id);
  const { scenario: { knobs, setup, script, compose }, then } = found;
  const model = library.create('');
  model.load(`${USUAL_KNOBS} ${knobs}`, setup, script);
  const storm = () => {
    const other = lesson('storm');
    other.model.run(0xffff_ffff);
    return other.model.panels().counters;
  };
  const said = () => (typeof then === 'string' ? then : then({ panels: model.panels(), preview: null, why: null, walk: null, storm }));
  return { model, compose, said };
}

test('the storm of the tour is counted by the model, CMD_SYNC apart', () => {
  const { model, said } = lesson('storm');
  model.run(0xffff_ffff);
  const { commands, syncs, scanned, dropped } = model.panels().counters;
  assert.deepEqual([commands, syncs, dropped], [262_145, 1, 47]);
  assert.match(said(), new RegExp(`^262,144 commands \\(and 1 CMD_SYNC\\) took ${grouped(scanned)} looks into the IOTLB, and 47 entries`));
});

test('what is said of the range is what was sent', () => {
  // NUM and SCALE, what they make by hand, and what is said beside 1 GiB.
  for (const [num, scale, formula, more] of [
    [0, 18, '(NUM 0 + 1) · 2^18 · 4 KiB = 1 GiB', null],
    [16, 14, '(NUM 16 + 1) · 2^14 · 4 KiB = 1.06 GiB', 'names 64 MiB more than was unmapped'],
    [16, 18, '(NUM 16 + 1) · 2^18 · 4 KiB = 17 GiB', 'names 16 GiB more than was unmapped'],
    [30, 13, '(NUM 30 + 1) · 2^13 · 4 KiB = 992 MiB', '32 MiB of what was unmapped is not named'],
  ] as const) {
    const { model, compose, said } = lesson('range');
    model.act(compose.replace(/num=\d+ scale=\d+/, `num=${num} scale=${scale}`));
    model.runAction();
    const text = said();
    assert.ok(text.includes(formula), text);
    if (more === null) assert.doesNotMatch(text, /But/);
    else assert.ok(text.includes(more), text);
    assert.ok(text.includes(`took ${model.panels().last?.scanned} looks into the IOTLB`), text);
  }
});

test('an entry of another address space that is still mapped is not called stale', () => {
  const { model, compose } = lesson('why');
  model.compose(compose);
  const { asid, flags } = model.columns();
  const slots = [...flags].flatMap((flag, at) => ((flag & 1) !== 0 && asid[at] === 7 ? [at] : []));
  assert.equal(slots.length, 4);
  for (const at of slots) {
    const why = model.why(at, false);
    assert.deepEqual([why?.stale, why?.goes, why?.sentence], [false, false, 'It stays: it belongs to another ASID.']);
  }
});

test('a stale entry of another address space needs its own command', () => {
  const { model, compose } = lesson('why');
  model.act('unmap 9 0x4000000000 bytes=64K');
  model.runAction();
  model.compose(compose);
  const { asid, flags } = model.columns();
  const at = flags.findIndex((flag, slot) => (flag & 1) !== 0 && asid[slot] === 7);
  assert.match(model.why(at, false)?.sentence ?? '', /needs a command of its own/);
});

test('what is not asked says why', () => {
  const { model, compose } = lesson('why');
  model.compose(compose);
  const why = model.why(model.columns().flags.findIndex((flag) => (flag & 1) !== 0), false);
  for (const { answer, note } of why?.rows ?? []) assert.equal(note.startsWith('not asked: '), answer === 'unasked');
  assert.match(why?.rows.find(({ name }) => name === 'Leaf')?.note ?? '', /a leaf/);
});

test('Leaf = 0 drops the tables too, whatever TTL says, and tells how many', () => {
  const { model, compose } = lesson('leaf');
  model.act(compose);
  model.runAction();
  assert.deepEqual([model.panels().last?.dropped, model.panels().last?.tables, model.panels().tables.length], [8, 0, 3]);
  model.act(compose.replace(' leaf=1', ''));
  model.runAction();
  assert.deepEqual([model.panels().last?.dropped, model.panels().last?.tables, model.panels().tables.length], [0, 3, 0]);
});

test('an access says whether it was a hit, and what the next one would do', () => {
  const { model } = lesson('holds');
  const read = () => {
    model.act('dma 8 0x4000000000');
    model.runAction();
    const { access } = model.panels();
    return [access?.text, access?.hit, access?.reads];
  };
  assert.match(model.walk(8, 0x40_0000_0000n).cached, /^a miss: no table is remembered, descriptor reads: 4/);
  assert.deepEqual(read(), ['IOVA 0x40_0000_0000 → PA 0x20_0000_0000; a miss, 4 descriptors read', false, 4]);
  assert.match(model.walk(8, 0x40_0000_0000n).cached, /^a hit/);
  assert.deepEqual(read(), ['IOVA 0x40_0000_0000 → PA 0x20_0000_0000; a hit in the IOTLB, no descriptor read', true, 0]);
  model.act('unmap 8 0x4000001000 bytes=4K');
  model.runAction();
  model.act('dma 8 0x4000001000');
  model.runAction();
  assert.match(model.panels().access?.text ?? '', /^IOVA 0x40_0000_1000: no mapping: fault \(F_TRANSLATION\); a miss, 1 descriptor read$/);
});
