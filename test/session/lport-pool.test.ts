// The lport pool: first in, first out, and no lport is ever handed out twice at once.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LportPool } from '../../src/session/lport-pool.ts';

function take(pool: LportPool, count: number): number[] {
  return Array.from({ length: count }, () => pool.take());
}

describe('lport pool', () => {
  test('fresh lports come in ascending order from the first to the last, then none', () => {
    const pool = new LportPool(5000, 5003);
    assert.equal(pool.capacity, 4);
    assert.deepEqual(take(pool, 6), [5000, 5001, 5002, 5003, -1, -1]);
    assert.equal(pool.inUse, 4);
  });

  test('returned lports come after all fresh ones, in the order of their return', () => {
    const pool = new LportPool(5000, 5004);
    take(pool, 4);
    for (const lport of [5002, 5000, 5001]) pool.give(lport);
    assert.deepEqual(take(pool, 5), [5004, 5002, 5000, 5001, -1]);
  });

  test('an exhausted pool serves again what is given back', () => {
    const pool = new LportPool(1, 2);
    take(pool, 3);
    pool.give(2);
    assert.equal(pool.inUse, 1);
    assert.deepEqual(take(pool, 2), [2, -1]);
    assert.equal(pool.inUse, 2);
  });

  test('a pool of one lport serves it again and again', () => {
    const pool = new LportPool(65535, 65535);
    for (let round = 0; round < 5; round++) {
      assert.deepEqual(take(pool, 2), [65535, -1]);
      pool.give(65535);
    }
    assert.equal(pool.inUse, 0);
  });

  test('the whole range of ports can be handed out', () => {
    const pool = new LportPool(0, 65535);
    const taken = take(pool, 65536);
    assert.equal(new Set(taken).size, 65536);
    assert.deepEqual([taken.at(0), taken.at(-1), pool.take()], [0, 65535, -1]);
  });

  test('the longest returned lport goes first over many turns', () => {
    const pool = new LportPool(100, 109);
    const expected = Array.from({ length: 10 }, (_, index) => 100 + index);
    for (let turn = 0; turn < 1_000; turn++) {
      const lport = pool.take();
      assert.equal(lport, expected[0], `turn ${turn}`);
      pool.give(lport);
      expected.push(expected.shift() ?? -1);
    }
  });

  test('no lport is in use twice in 200,000 random takes and gives', () => {
    const pool = new LportPool(1024, 1324);
    const inUse: number[] = [];
    const returned: number[] = [];
    let fresh = 1024;
    let random = 12345;
    for (let step = 0; step < 200_000; step++) {
      random = (Math.imul(random, 1103515245) + 12345) & 0x7fffffff;
      if ((random >> 16) & 1 && inUse.length > 0) {
        const lport = inUse.splice((random >> 17) % inUse.length, 1)[0] ?? -1;
        pool.give(lport);
        returned.push(lport);
      } else {
        const expected = fresh <= 1324 ? fresh++ : (returned.shift() ?? -1);
        const lport = pool.take();
        assert.equal(lport, expected, `step ${step}`);
        if (lport !== -1) inUse.push(lport);
      }
      assert.equal(pool.inUse, inUse.length, `step ${step}`);
    }
  });

  for (const [first, last, workers] of [
    [1024, 65_535, 2],
    [5000, 5010, 3],
    [5001, 5002, 4],
    [0, 65_535, 64],
    [65_535, 65_535, 2],
  ] as const) {
    test(`the pools of ${workers} workers share ${first} to ${last} out: each port to one, lport modulo workers`, () => {
      const owners = new Map<number, number>();
      for (let worker = 0; worker < workers; worker++) {
        const pool = new LportPool(first, last, { worker, workers });
        const taken = take(pool, pool.capacity);
        assert.equal(pool.take(), -1);
        for (const lport of taken) {
          assert.ok(pool.capacity > 0 && !owners.has(lport));
          assert.equal(lport % workers, worker);
          owners.set(lport, worker);
        }
      }
      assert.equal(owners.size, last - first + 1);
    });
  }

  for (const [start, expected] of [
    [0, [5000, 5002, 5004, 5006, 5008]],
    [3, [5006, 5008, 5000, 5002, 5004]],
    [4, [5008, 5000, 5002, 5004, 5006]],
  ] as const) {
    test(`a pool that begins with its port number ${start} goes round its range, then by the order of return`, () => {
      const counts: number[] = [];
      const pool = new LportPool(5000, 5009, { worker: 0, workers: 2 }, (count) => {
        counts.push(count);
        return start;
      });
      assert.deepEqual([...take(pool, 5), pool.take()], [...expected, -1]);
      assert.deepEqual(counts, [5]);
      for (const lport of expected.toReversed()) pool.give(lport);
      assert.deepEqual(take(pool, 6), [...expected.toReversed(), -1]);
    });
  }

  test('a pool begins where it is told, says where it stands, and so does the next one', () => {
    const pool = (from: number) => {
      const made = new LportPool(5000, 5009, { worker: 0, workers: 2 });
      made.beginAt(from);
      return made;
    };
    assert.deepEqual(take(pool(5004), 5), [5004, 5006, 5008, 5000, 5002]);
    assert.deepEqual(take(pool(5003), 2), [5004, 5006], 'another worker stood at 5003');
    assert.deepEqual(take(pool(5009), 2), [5000, 5002]);
    const used = pool(5004);
    assert.deepEqual(used.arc, { first: 5004, next: 5004 });
    take(used, 2);
    assert.deepEqual(used.arc, { first: 5004, next: 5008 });
    used.give(5004);
    assert.deepEqual(used.arc, { first: 5004, next: 5008 });
    take(used, 3);
    assert.deepEqual(used.arc, { first: 5004, next: 5004 }, 'the one that rests longest');
    take(used, 1);
    assert.equal(used.arc, undefined, 'all are in use');
  });

  test('a pool that goes on for another stands before the first port that nobody has', () => {
    const pool = new LportPool(5000, 5009);
    pool.beginAt(5004);
    pool.takeOver([5004, 5005, 5007]);
    assert.deepEqual(pool.arc, { first: 5004, next: 5006 });
    assert.deepEqual(take(pool, 2), [5006, 5008]);
  });

  test('a pool that is told a port of another range, or none, draws its start, and nobody knows where it stands before', () => {
    for (const from of [4999, 5010, -1]) {
      const pool = new LportPool(5000, 5009, undefined, () => 3);
      pool.beginAt(from);
      assert.equal(pool.arc, undefined);
      assert.deepEqual(take(pool, 2), [5003, 5004]);
      assert.deepEqual(pool.arc, { first: 5003, next: 5005 });
    }
  });

  test('a worker without a port of the range draws no start', () => {
    const draw = () => assert.fail('drawn');
    assert.equal(new LportPool(5001, 5001, { worker: 0, workers: 2 }, draw).take(), -1);
  });

  test('a pool has its ports, in use or not, and no others', () => {
    const pool = new LportPool(5001, 5010, { worker: 1, workers: 3 });
    const has = () => Array.from({ length: 14 }, (_, n) => 5000 + n).filter((lport) => pool.has(lport));
    const before = has();
    assert.deepEqual(before, take(pool, pool.capacity));
    assert.deepEqual(has(), before);
  });

  test('a pool that takes over hands out what was not taken, in order, and later what comes back', () => {
    for (const start of [0, 1, 4]) {
      const pool = new LportPool(5000, 5009, { worker: 0, workers: 2 }, () => start);
      pool.takeOver([5008, 5002]);
      assert.equal(pool.inUse, 2);
      pool.give(5008);
      const fresh = [5000, 5002, 5004, 5006, 5008, 5000, 5002, 5004, 5006]
        .slice(start, start + 5)
        .filter((lport) => lport !== 5002 && lport !== 5008);
      assert.deepEqual(take(pool, 5), [...fresh, 5008, -1]);
      assert.equal(pool.inUse, 5);
    }
  });

  test('what rested in earlier pools comes after what is fresh, and not where it is not in the range', () => {
    const earlier = new LportPool(5000, 5005);
    take(earlier, 6);
    for (const lport of [5003, 5000, 5005]) earlier.give(lport);
    earlier.take(); // 5003
    earlier.give(5001);
    const pool = new LportPool(5001, 5009, undefined, () => 6); // begins with 5007
    pool.takeOver([5002, 5003, 5004], [earlier]);
    assert.equal(pool.inUse, 3);
    assert.deepEqual(take(pool, 7), [5007, 5008, 5009, 5006, 5005, 5001, -1]);
  });

  test('a pool of which thousands of ports are taken or rest hands out each of the others once', () => {
    const earlier = new LportPool(0, 40_000);
    const taken = take(earlier, 30_000);
    const rest = taken.filter((lport) => lport % 3 === 0);
    for (const lport of rest) earlier.give(lport);
    const pool = new LportPool(0, 65_535, undefined, () => 12_345);
    const inUse = taken.filter((lport) => lport % 3 !== 0);
    pool.takeOver(inUse, [earlier]);
    const handedOut = take(pool, 65_536 - inUse.length);
    assert.equal(pool.take(), -1);
    assert.deepEqual(handedOut.slice(-rest.length), rest);
    const all = [...inUse, ...handedOut].sort((a, b) => a - b);
    assert.deepEqual(
      all,
      Array.from({ length: 65_536 }, (_, lport) => lport),
    );
  });
});
