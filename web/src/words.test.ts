import assert from 'node:assert/strict';
import { test } from 'node:test';
import { address, binary, bits, byRegister, hex, sentence } from './words.ts';

test('addresses are grouped from the right', () => {
  assert.equal(hex(0n), '0x0');
  assert.equal(hex(0xffffn), '0xffff');
  assert.equal(hex(0x1_2345_6789n), '0x1_2345_6789');
});

test('what is typed is an address or nothing', () => {
  assert.equal(address(' 0x4000_0000 '), 0x4000_0000n);
  assert.equal(address('4096'), 4096n);
  assert.equal(address('0xffff_ffff_ffff_ffff'), (1n << 64n) - 1n);
  for (const typed of ['', '0x', '12ab', '-1', '0x1_0000_0000_0000_0000']) assert.equal(address(typed), undefined);
});

test('a field shows its bits and is as wide as they are', () => {
  const field = { register: 'IDR0', offset: 0, name: 'ST_LEVEL', high: 28, low: 27, value: 1 };
  assert.equal(bits(field), '[28:27]');
  assert.equal(binary(field), '0b01');
  assert.equal(bits({ high: 4, low: 4 }), '[4]');
});

test('fields are grouped without changing their order', () => {
  const field = (register: string, name: string) => ({ register, name, offset: 0, high: 0, low: 0, value: 0 });
  const registers = byRegister([field('IDR0', 'S2P'), field('IDR0', 'S1P'), field('IDR1', 'SIDSIZE')]);
  assert.deepEqual([...registers.keys()], ['IDR0', 'IDR1']);
  assert.deepEqual(registers.get('IDR0')?.map(({ name }) => name), ['S2P', 'S1P']);
});

test('an outcome is one sentence', () => {
  assert.equal(sentence({ kind: 'translated', pa: 0x8000_0000n, span: 4096n }),
    'reached 0x8000_0000; the same translation covers 4096 bytes from there');
  assert.equal(sentence({ kind: 'terminated', response: 'abort', event: undefined }), 'terminated (abort), no event');
});
