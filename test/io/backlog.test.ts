// The queue of packets that wait: order, bounds and the memory that it hands out.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Backlog } from '../../src/io/backlog.ts';
import { HEADROOM } from '../../src/wire/frame.ts';

function packet(byteLength: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: byteLength }, (_, index) => index * 7 + seed);
}

function first(backlog: Backlog): Uint8Array {
  return Uint8Array.from(backlog.frame.bytes.subarray(backlog.firstOff, backlog.firstEnd));
}

test('a packet comes out as it went in, with headroom before it and at a multiple of 4', () => {
  const backlog = new Backlog(4, 4096);
  const bytes = packet(101, 3);
  assert.ok(backlog.push(bytes, 1, 100));
  assert.equal(backlog.count, 1);
  assert.deepEqual(first(backlog), bytes.slice(1, 100));
  assert.ok(backlog.firstOff >= HEADROOM);
  assert.equal(backlog.firstOff % 4, 0);
});

test('no more packets than allowed go in, and none of those inside is harmed by one refused', () => {
  const backlog = new Backlog(2, 4096);
  assert.ok(backlog.push(packet(10, 1), 0, 10));
  assert.ok(backlog.push(packet(20, 2), 0, 20));
  assert.equal(backlog.push(packet(30, 3), 0, 30), false);
  assert.equal(backlog.count, 2);
  assert.deepEqual(first(backlog), packet(10, 1));
  backlog.shift();
  assert.deepEqual(first(backlog), packet(20, 2));
  assert.ok(backlog.push(packet(30, 3), 0, 30));
});

test('a packet larger than the memory is refused, also by an empty backlog', () => {
  const backlog = new Backlog(8, 1024);
  assert.equal(backlog.push(packet(1024, 0), 0, 1024), false);
  assert.ok(backlog.push(packet(960, 0), 0, 960));
  assert.equal(backlog.push(packet(0, 0), 0, 0), false);
});

test('the memory is used again from its start when packets leave', () => {
  const backlog = new Backlog(100, 3 * 264);
  for (let seed = 0; seed < 3; seed++) assert.ok(backlog.push(packet(200, seed), 0, 200));
  assert.equal(backlog.push(packet(200, 9), 0, 200), false);
  backlog.shift();
  assert.ok(backlog.push(packet(200, 3), 0, 200));
  assert.equal(backlog.push(packet(0, 9), 0, 0), false);
  for (let seed = 1; seed <= 3; seed++) {
    assert.deepEqual(first(backlog), packet(200, seed));
    backlog.shift();
  }
  assert.equal(backlog.count, 0);
});

test('whatever the sizes and the order of coming and going, packets stay whole and in order', () => {
  const backlog = new Backlog(16, 8192);
  const expected: Uint8Array[] = [];
  let random = 12345;
  const next = (below: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % below;
  };
  let pushed = 0;
  for (let step = 0; step < 20_000; step++) {
    if (next(2) === 0) {
      const bytes = packet(next(4) === 0 ? next(3000) : next(200), step);
      if (backlog.push(bytes, 0, bytes.length)) {
        expected.push(bytes);
        pushed++;
      }
    } else if (expected.length > 0) {
      const bytes = expected.shift()!;
      assert.deepEqual(first(backlog), bytes);
      // Its user may write to it.
      backlog.frame.bytes.fill(0xa5, backlog.firstOff - HEADROOM, backlog.firstEnd);
      backlog.shift();
    }
    assert.equal(backlog.count, expected.length);
  }
  assert.ok(pushed > 5_000);
});
