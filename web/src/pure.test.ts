import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cellAt, laneOf, layout, slotAt } from './draw.ts';
import { decode, encode, type Shared } from './link.ts';
import { terms } from './glossary.ts';
import { around, clamp, pan, SMALLEST, snapped, SPACE, ticks, zoom } from './view.ts';
import { bits, bytes, count, grouped, hex, number } from './words.ts';

test('addresses are grouped from the right', () => {
  assert.equal(hex(0n), '0x0');
  assert.equal(hex(0xffff), '0xffff');
  assert.equal(hex(0x1_2345_6789n), '0x1_2345_6789');
  assert.equal(grouped(262144), '262,144');
  assert.equal(count(1, 'entry', 'entries'), '1 entry');
});

test('sizes have binary units', () => {
  assert.equal(bytes(4096), '4 KiB');
  assert.equal(bytes(1.5 * 2 ** 30), '1.5 GiB');
  assert.equal(bits({ high: 28, low: 27 }), '[28:27]');
  assert.equal(bits({ high: 4, low: 4 }), '[4]');
});

test('what is typed is a number or nothing', () => {
  assert.equal(number(' 0x4000_0000 '), 0x4000_0000n);
  assert.equal(number('0xffff_ffff_ffff_ffff'), (1n << 64n) - 1n);
  for (const typed of ['', '0x', '12ab', '-1', '0x1_0000_0000_0000_0000']) assert.equal(number(typed), undefined);
});

test('a zoom keeps the address that it is about', () => {
  const before = { from: 0x4000_0000, to: 0x8000_0000 };
  const after = zoom(before, 0x5000_0000, 0.5);
  assert.equal((0x5000_0000 - after.from) / (after.to - after.from), 0.25);
});

test('a window never leaves the space and never vanishes', () => {
  assert.deepEqual(clamp({ from: -5, to: SPACE + 5 }), { from: 0, to: SPACE });
  assert.equal(zoom({ from: 0, to: SMALLEST }, 0, 0.1).to, SMALLEST);
  assert.equal(pan({ from: SPACE - SMALLEST, to: SPACE }, 3).to, SPACE);
  assert.ok(around([]).to > 0);
});

test('ticks are multiples of a power of two', () => {
  const marks = ticks({ from: 1, to: 2 ** 30 }, 8);
  assert.ok(marks.length > 2 && marks.length <= 9);
  const step = (marks[1] ?? 0) - (marks[0] ?? 0);
  assert.ok(Number.isInteger(Math.log2(step)) && marks.every((mark) => mark % step === 0));
});

test('every slot is found where it is drawn', () => {
  for (const [width, sets, ways] of [[800, 16, 8], [300, 1, 1], [320, 1024, 4], [1200, 512, 8]] as const) {
    const place = layout(width, sets, ways);
    for (let slot = 0; slot < sets * ways; slot += 7) {
      const { x, y } = cellAt(place, slot);
      assert.equal(slotAt(place, x + 1, y + 1), slot, `${width} ${sets} ${ways}`);
    }
    assert.equal(slotAt(place, -1, 0), -1);
  }
});

test('a lane follows from size and stage', () => {
  assert.deepEqual([laneOf(30, 1), laneOf(21, 1), laneOf(12, 1), laneOf(12, 5)], [0, 1, 2, 3]);
});

const STATE: Shared = {
  mode: 'lab', scenario: 'ttl', fixed: true, knobs: 'sets=16', deeds: [[3, 'sync']], now: 4, compose: 'sync', step: 0, ticks: 0,
  window: [0, 4096], stream: 8, slot: -1, walk: '4096',
};

test('a link holds the state, and a damaged one is refused', async () => {
  const hash = await encode(STATE);
  assert.deepEqual(await decode(hash), STATE);
  await assert.rejects(decode('v9.abc'), /another version/);
  await assert.rejects(decode(`${hash.slice(0, 20)}!`), /damaged/);
  await assert.rejects(decode(await encode({ ...STATE, deeds: undefined } as unknown as Shared)), /lacks/);
});

test('a length near a power of two becomes one', () => {
  assert.equal(snapped(1.06 * 2 ** 30, 0.1 * 2 ** 30), 2 ** 30);
  assert.equal(snapped(0.95 * 2 ** 30, 0.1 * 2 ** 30), 2 ** 30);
  assert.equal(snapped(1.06 * 2 ** 30, 0.01 * 2 ** 30), 1.06 * 2 ** 30);
});

test('words of the glossary are found, each once, and only whole', () => {
  assert.deepEqual(terms('an ASID and the ASID, one PA'), ['an ', 'ASID', ' and the ASID, one ', 'PA', '']);
  assert.deepEqual(terms('CMD_TLBI_NH_VA goes to the walk cache'), ['', 'CMD_TLBI_NH_VA', ' goes to the ', 'walk cache', '']);
  assert.deepEqual(terms('SPAN, PAs, ASID_3'), ['SPAN, PAs, ASID_3']);
});
