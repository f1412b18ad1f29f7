import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { load } from './model.ts';
import { SCENARIOS } from './scenarios.ts';
import { advance, LESSONS } from './tour.ts';
import { PLACES } from './views/places.ts';

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

test('every step of the tour can be set up, and no part of it is done yet', () => {
  for (const { scenario: { knobs, setup, script, compose }, parts, above, panels, beside, text, title } of LESSONS) {
    const model = library.create('');
    model.load(knobs, setup, script);
    const preview = model.compose(compose);
    const walk = model.walk(8, 0x40_0000_0000n);
    assert.equal(advance(parts, 0, { panels: model.panels(), preview, why: null, walk }), 0, title);
    for (const [, id] of [...text, ...parts.map((part) => part.text)].join().matchAll(/\{(\w+)\|/g)) {
      assert.ok(id === 'time' || [above, ...panels, ...beside].some((panel) => panel === id), `${title} speaks of ${id} and does not show it`);
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
