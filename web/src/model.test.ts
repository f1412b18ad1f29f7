import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { load } from './model.ts';
import { SCENARIOS } from './scenarios.ts';
import { LESSONS } from './tour.ts';

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

test('every lesson can be set up and is not done yet', () => {
  for (const { scenario: { knobs, setup, script, compose }, done, title } of LESSONS) {
    const model = library.create('');
    model.load(knobs, setup, script);
    const preview = model.compose(compose);
    assert.equal(done({ panels: model.panels(), preview, slot: -1 }), false, title);
  }
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
