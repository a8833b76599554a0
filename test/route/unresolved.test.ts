// How many packets may wait for a neighbor that has not answered.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Unresolved } from '../../src/route/unresolved.ts';

const [DEVICE, OTHER_DEVICE] = [3, 4];
const address = (last: number) => Int32Array.of(0, 0, 0xffff, 0x0a020000 | last);

/** Of `count` packets to a neighbor, how many may wait. */
function admitted(unresolved: Unresolved, words: Int32Array, nowMs: number, count = 1_000): number {
  let sum = 0;
  for (let n = 0; n < count; n++) if (unresolved.admits(DEVICE, words, 0, nowMs)) sum++;
  return sum;
}

test('a neighbor that is asked for the first time has room for 64 packets, and for no more while it is asked', () => {
  const unresolved = new Unresolved();
  assert.equal(admitted(unresolved, address(1), 1_000), 64);
  assert.equal(admitted(unresolved, address(1), 4_999), 0);
  assert.equal(admitted(unresolved, address(1), 5_000), 64);
});

test('one that did not answer has room for three packets each time that the kernel gave it up', () => {
  const unresolved = new Unresolved();
  admitted(unresolved, address(1), 1_000);
  for (const nowMs of [4_000, 7_100, 10_200]) {
    unresolved.fail(DEVICE, address(1), nowMs);
    assert.equal(admitted(unresolved, address(1), nowMs), 3);
    assert.equal(admitted(unresolved, address(1), nowMs + 3_000), 0);
  }
});

test('one that answered is asked for the first time when it is asked again', () => {
  const unresolved = new Unresolved();
  unresolved.fail(DEVICE, address(1), 1_000);
  admitted(unresolved, address(1), 1_000);
  unresolved.forget(OTHER_DEVICE, address(1), 1_100);
  assert.equal(admitted(unresolved, address(1), 1_100), 0, 'on another interface it is another one');
  unresolved.forget(DEVICE, address(1), 1_100);
  assert.equal(admitted(unresolved, address(1), 1_100), 64);
});

test('two hundred neighbors have room of their own each, whatever the clock says', () => {
  for (const nowMs of [0, 0x7fff_ff00, -0x8000_0000, -100]) {
    const unresolved = new Unresolved();
    for (let round = 0; round < 3; round++) {
      const rooms = Array.from({ length: 200 }, (_, n) =>
        admitted(unresolved, address(n), (nowMs + round) | 0, 100),
      );
      assert.deepEqual(new Set(rooms), new Set([round === 0 ? 64 : 0]));
    }
    assert.equal(admitted(unresolved, address(1), (nowMs + 4_000) | 0), 64);
    assert.equal(admitted(unresolved, address(2), (nowMs + 0x7fff_ffff) | 0), 64);
    assert.equal(admitted(unresolved, address(3), (nowMs - 0x7fff_ffff) | 0), 64);
  }
});
