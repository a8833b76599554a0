// Persistence: who was noted is found until the time is over or others needed the place; torn entries are
// absent.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { Persistence } from '../../src/service/persistence.ts';
import { createSharedMemory } from '../../src/sys/shared-memory.ts';
import { TYPESCRIPT } from '../suite/programs.ts';
import { client, client6 } from './servers.ts';

const SEED = [0x1234567, -99] as const;
const TTL = 60_000;
/** Entries of a set: as many clients as meet in one place and all stay. */
const SET = 4;
const ENTRY_WORDS = 8;

/** An address of a /64, of those that `client6` numbers. */
function ofLink(link: number, host: number): Int32Array {
  const address = client6(link);
  address[3] = host;
  return address;
}

function table(entries: number): { words: Int32Array; persistence: Persistence } {
  const words = new Int32Array(Persistence.words(entries));
  return { words, persistence: new Persistence(words, SEED) };
}

describe('persistence', () => {
  test('a client that was never noted has no real server', () => {
    const { persistence } = table(100);
    for (let i = 0; i < 1000; i++) assert.equal(persistence.find(client(i), 0, 0, TTL, 0), -1);
    assert.equal(persistence.find(new Int32Array(4), 0, 0, TTL, 0), -1);
  });

  test('a client finds the real server that was noted last, for its service only', () => {
    const { persistence } = table(100);
    for (const one of [client(1), client6(1)]) {
      persistence.note(one, 0, 3, 0, 1000);
      persistence.note(one, 0, 4, 4095, 1000);
      assert.equal(persistence.find(one, 0, 3, TTL, 1000), 0);
      assert.equal(persistence.find(one, 0, 4, TTL, 1000), 4095);
      assert.equal(persistence.find(one, 0, 5, TTL, 1000), -1);
      persistence.note(one, 0, 3, 17, 1000);
      assert.equal(persistence.find(one, 0, 3, TTL, 1000), 17);
    }
  });

  test('the address is read where it stands', () => {
    const { persistence } = table(100);
    const words = Int32Array.of(9, 9, ...client(1), ...client(2));
    persistence.note(words, 2, 0, 5, 0);
    persistence.note(words, 6, 0, 6, 0);
    assert.equal(persistence.find(client(1), 0, 0, TTL, 0), 5);
    assert.equal(persistence.find(client(2), 0, 0, TTL, 0), 6);
    assert.equal(persistence.find(words, 2, 0, TTL, 0), 5);
  });

  test('addresses that differ in any word are different clients', () => {
    const { persistence } = table(1000);
    const base = client6(1);
    persistence.note(base, 0, 0, 1, 0);
    for (let word = 0; word < 4; word++)
      for (let bit = 0; bit < 32; bit++) {
        const other = base.slice();
        other[word] = (other[word] ?? 0) ^ (1 << bit);
        assert.equal(persistence.find(other, 0, 0, TTL, 0), -1);
      }
  });

  for (const start of [0, 2 ** 31 - 30_000, -30_000, -(2 ** 31)])
    test(`the time ends after ttlMs and begins anew when noted again, from ${start} ms on`, () => {
      const { persistence } = table(100);
      const at = (ms: number) => (start + ms) | 0;
      persistence.note(client(1), 0, 0, 7, at(0));
      assert.equal(persistence.find(client(1), 0, 0, TTL, at(TTL)), 7);
      assert.equal(persistence.find(client(1), 0, 0, TTL, at(TTL + 1)), -1);
      assert.equal(persistence.find(client(1), 0, 0, 2 * TTL, at(TTL + 1)), 7, 'the ttl is that of who asks');
      persistence.note(client(1), 0, 0, 7, at(TTL));
      assert.equal(persistence.find(client(1), 0, 0, TTL, at(2 * TTL)), 7);
      assert.equal(persistence.find(client(1), 0, 0, TTL, at(2 * TTL + 1)), -1);
      const day = 86_400_000;
      for (const days of [1, 24, 25, 30, 49])
        assert.equal(persistence.find(client(1), 0, 0, day - 1, at(TTL + days * day)), -1, `${days} days`);
    });

  test('finding does not refresh', () => {
    const { persistence } = table(100);
    persistence.note(client(1), 0, 0, 7, 0);
    assert.equal(persistence.find(client(1), 0, 0, TTL, TTL), 7);
    assert.equal(persistence.find(client(1), 0, 0, TTL, TTL + 1), -1);
  });

  test('what a process noted whose clock is a little ahead counts as noted now', () => {
    const { persistence } = table(100);
    persistence.note(client(1), 0, 0, 7, 20);
    assert.equal(persistence.find(client(1), 0, 0, 0, 10), 7);
  });

  test('in a full set the oldest gives way, also when the time wraps', () => {
    for (const start of [0, 2 ** 31 - 2, -3]) {
      const { persistence } = table(SET);
      // An entry says when it was noted to the second.
      const at = (n: number) => (start + 2000 * n) | 0;
      for (let i = 0; i < SET; i++) persistence.note(client(i), 0, 0, i, at(i));
      persistence.note(client(0), 0, 0, 0, at(4));
      persistence.note(client(9), 0, 0, 9, at(5));
      const found = [0, 1, 2, 3, 9].map((i) => persistence.find(client(i), 0, 0, 60_000, at(5)));
      assert.deepEqual(found, [0, -1, 2, 3, 9]);
    }
  });

  test('a table for so many clients keeps most of half as many, and 4,096 clients of a table for 8 keep 8', () => {
    const large = table(20_000);
    for (let i = 0; i < 10_000; i++) large.persistence.note(client(i), 0, 0, i, i);
    let kept = 0;
    for (let i = 0; i < 10_000; i++) {
      const found = large.persistence.find(client(i), 0, 0, TTL, 10_000);
      if (found < 0) continue;
      kept++;
      assert.equal(found, i);
    }
    assert.ok(kept >= 9500, `${kept} of 10,000`);
    const small = table(8);
    for (let i = 0; i < 4096; i++) small.persistence.note(client(i), 0, 0, i, i);
    let last = 0;
    for (let i = 0; i < 4096; i++) if (small.persistence.find(client(i), 0, 0, TTL, 4096) >= 0) last++;
    assert.equal(last, 8);
  });

  test('the table is as large as asked for, rounded up to a set', () => {
    assert.deepEqual([0, 1, 4, 5, 1 << 18].map(Persistence.words), [32, 32, 32, 64, 8 << 18]);
    assert.throws(() => new Persistence(new Int32Array(33), SEED), /33 words: must be a multiple of 32/);
    assert.throws(() => new Persistence(new Int32Array(0), SEED), /0 words/);
  });

  test('clients that meet in a set meet no longer with another seed', () => {
    const of = (seed: readonly [number, number]) => {
      const words = new Int32Array(Persistence.words(256));
      return { words, persistence: new Persistence(words, seed) };
    };
    const place = ({ words, persistence }: ReturnType<typeof of>, number: number): number => {
      words.fill(0);
      persistence.note(client(number), 0, 0, 1, 0);
      return Math.floor(words.findIndex((word) => word !== 0) / (SET * ENTRY_WORDS));
    };
    const [here, there] = [of([1, 2]), of([3, 2])];
    const meet = Array.from({ length: 5000 }, (_, i) => i)
      .filter((i) => place(here, i) === 0)
      .slice(0, 20);
    assert.equal(meet.length, 20);
    assert.ok(new Set(meet.map((i) => place(there, i))).size > 10);
  });
});

describe('who was answered', () => {
  const found = (persistence: Persistence, count: number, nowMs: number) =>
    Array.from({ length: count }, (_, i) => persistence.find(client(i), 0, 0, TTL, nowMs));

  test('is found after a flood of those who were not, who are found as long as there is room', () => {
    const { persistence } = table(1024);
    persistence.longestMs = TTL;
    for (let i = 0; i < 100; i++) persistence.note(client(i), 0, 0, i, 0);
    for (let i = 0; i < 100; i++) persistence.noteAnswered(client(i), 0, 0, i, 10);
    for (let i = 100; i < 120_100; i++) persistence.note(client(i), 0, 0, 7, 10 + (i >> 6));
    assert.deepEqual(
      found(persistence, 100, 2_000),
      Array.from({ length: 100 }, (_, i) => i),
    );
    const last = Array.from({ length: 100 }, (_, i) =>
      persistence.find(client(120_099 - i), 0, 0, TTL, 2_000),
    );
    assert.ok(last.filter((server) => server === 7).length > 80, 'newcomers are noted, too');
  });

  test('makes room for the next one who is answered, the oldest first', () => {
    const { persistence } = table(SET);
    persistence.longestMs = TTL;
    for (let i = 0; i < SET; i++) persistence.noteAnswered(client(i), 0, 0, i, 2000 * i);
    persistence.note(client(9), 0, 0, 9, 10_000);
    assert.deepEqual(found(persistence, SET, 10_000), [0, 1, 2, 3]);
    assert.equal(persistence.find(client(9), 0, 0, TTL, 10_000), -1);
    persistence.noteAnswered(client(9), 0, 0, 9, 10_000);
    assert.deepEqual(found(persistence, SET, 10_000), [-1, 1, 2, 3]);
    assert.equal(persistence.find(client(9), 0, 0, TTL, 10_000), 9);
  });

  test('is not forgotten for any number of answered addresses of one /64', () => {
    const { persistence } = table(4000);
    persistence.longestMs = TTL;
    for (let i = 0; i < 100; i++) {
      persistence.noteAnswered(client(i), 0, 0, i, 0);
      persistence.noteAnswered(client6(i), 0, 0, 100 + i, 0);
    }
    for (let i = 0; i < 20_000; i++) persistence.noteAnswered(ofLink(7_000, i), 0, i % 3, 9, 1_000);
    assert.deepEqual(
      found(persistence, 100, 2_000),
      Array.from({ length: 100 }, (_, i) => i),
    );
    for (let i = 0; i < 100; i++)
      assert.equal(persistence.find(client6(i), 0, 0, TTL, 2_000), 100 + i, `${i}`);
  });

  test('makes room for one of his own /64 first, then who is of the same as others', () => {
    const { persistence } = table(SET);
    persistence.longestMs = TTL;
    const isThere = (address: Int32Array) => persistence.find(address, 0, 0, TTL, 20_000) >= 0;
    const all = [client(0), client(1), ofLink(1, 1), ofLink(1, 2)];
    for (const [i, one] of all.entries()) persistence.noteAnswered(one, 0, 0, i, 2_000 * i);
    persistence.noteAnswered(ofLink(1, 3), 0, 0, 4, 10_000);
    assert.deepEqual(all.map(isThere), [true, true, false, true]);
    persistence.noteAnswered(client(2), 0, 0, 5, 12_000);
    assert.deepEqual(all.map(isThere), [true, true, false, false], 'there were two of it');
    assert.ok(isThere(ofLink(1, 3)) && isThere(client(2)));
    persistence.noteAnswered(client(3), 0, 0, 6, 14_000);
    assert.deepEqual(all.map(isThere), [false, true, false, false], 'now only one');
    persistence.noteAnswered(ofLink(1, 4), 0, 0, 7, 16_000);
    assert.deepEqual([client(1), ofLink(1, 3), ofLink(1, 4)].map(isThere), [true, false, true]);
  });

  test('has no place of his own any more when no service would use it', () => {
    const { persistence } = table(SET);
    persistence.longestMs = TTL;
    for (let i = 0; i < SET; i++) persistence.noteAnswered(client(i), 0, 0, i, 0);
    persistence.note(client(9), 0, 0, 9, TTL);
    assert.equal(persistence.find(client(9), 0, 0, TTL, TTL), -1);
    persistence.note(client(9), 0, 0, 9, TTL + 1);
    assert.equal(persistence.find(client(9), 0, 0, TTL, TTL + 1), 9);
    // He comes again, and was answered long ago: that counts no more.
    persistence.note(client(1), 0, 0, 1, TTL + 2);
    for (let i = 20; i < 40; i++) persistence.note(client(i), 0, 0, i, TTL + 2000 * i);
    assert.equal(persistence.find(client(1), 0, 0, 2 ** 31, 2 * TTL), -1);
  });

  test('stays answered in his next sessions, whatever their real server', () => {
    const { persistence } = table(SET);
    persistence.longestMs = TTL;
    persistence.noteAnswered(client(0), 0, 0, 3, 0);
    persistence.note(client(0), 0, 0, 5, 2000);
    for (let i = 1; i < 50; i++) persistence.note(client(i), 0, 0, i, 4000 + 1000 * i);
    assert.equal(persistence.find(client(0), 0, 0, TTL, 50_000), 5);
  });

  test('goes on with his newest session, when an older one is answered', () => {
    const { persistence } = table(SET);
    persistence.note(client(0), 0, 0, 3, 0);
    persistence.note(client(0), 0, 0, 5, 2000);
    persistence.noteAnswered(client(0), 0, 0, 3, 4000);
    assert.equal(persistence.find(client(0), 0, 0, TTL, 4000), 5);
    for (let i = 1; i < 50; i++) persistence.note(client(i), 0, 0, i, 5000 + 1000 * i);
    assert.equal(persistence.find(client(0), 0, 0, TTL, 60_000), 5);
  });
});

describe('a torn entry', () => {
  interface Noted {
    address: Int32Array;
    service: number;
    realServer: number;
    nowMs: number;
  }

  /** The first entry of an otherwise empty set, as `noted` leaves it. */
  function entryOf({ address, service, realServer, nowMs }: Noted): Int32Array {
    const { words, persistence } = table(1);
    persistence.note(address, 0, service, realServer, nowMs);
    return words.slice(0, ENTRY_WORDS);
  }

  /** Each way to take some words of one and the others of the other. */
  function assertNeverMixed(a: Noted, b: Noted): void {
    const [ofA, ofB] = [entryOf(a), entryOf(b)];
    const { words, persistence } = table(1);
    for (let mask = 0; mask < 1 << ENTRY_WORDS; mask++) {
      for (let i = 0; i < ENTRY_WORDS; i++) words[i] = ((mask & (1 << i)) !== 0 ? ofA[i] : ofB[i]) ?? 0;
      const whole = [ofA, ofB].findIndex((entry) => entry.every((word, i) => word === words[i]));
      for (const { address, service } of [a, b]) {
        const found = persistence.find(address, 0, service, 2 ** 31, 0);
        if (found >= 0) assert.equal(found, [a, b][whole]?.realServer, `mask ${mask}`);
      }
    }
  }

  test('of two clients, of two services, of two real servers or times of one client is absent', () => {
    const base = { address: client(1), service: 1, realServer: 1, nowMs: -1000 };
    assertNeverMixed(base, { ...base, address: client6(2), realServer: 2 });
    assertNeverMixed(base, { ...base, address: client(2), realServer: 2, nowMs: -5 });
    assertNeverMixed(base, { ...base, service: 2, realServer: 2 });
    assertNeverMixed(base, { ...base, realServer: 2 });
    assertNeverMixed(base, { ...base, realServer: 2, nowMs: -5 });
  });

  test('is absent whatever it is made of', () => {
    const noted = fc.record({
      address: fc.oneof(fc.nat(3).map(client), fc.nat(3).map(client6)),
      service: fc.nat(2),
      realServer: fc.nat(4095),
      nowMs: fc.integer({ min: -10_000, max: 0 }),
    });
    fc.assert(fc.property(noted, noted, assertNeverMixed), { numRuns: 200 });
  });

  test('is absent wherever a writer stopped, and free for the next', () => {
    const whole = entryOf({ address: client(1), service: 1, realServer: 1, nowMs: 0 });
    const { words, persistence } = table(1);
    for (let written = 0; written < ENTRY_WORDS; written++) {
      words.fill(0);
      words.set(whole.subarray(0, written));
      assert.equal(persistence.find(client(1), 0, 1, TTL, 0), -1);
      persistence.note(client(1), 0, 1, 2, 0);
      assert.equal(persistence.find(client(1), 0, 1, TTL, 0), 2);
    }
  });

  test('of processes that note and find in the same set at once is never taken for a real server', async (t) => {
    const processes = 3;
    const { fd } = createSharedMemory('persistence', Persistence.words(1) * 4 + 4);
    const program = fileURLToPath(new URL('./persistence-program.ts', import.meta.url));
    const children = Array.from({ length: processes }, (_, number) =>
      spawn(process.execPath, [...TYPESCRIPT, program, String(number), String(processes)], {
        stdio: ['ignore', 'pipe', 'inherit', fd],
      }),
    );
    t.after(() => {
      for (const child of children) child.kill('SIGKILL');
      closeSync(fd);
    });
    const answers = await Promise.all(children.map(({ stdout }) => text(stdout!)));
    for (const answer of answers) {
      const { wrong, found } = JSON.parse(answer) as { wrong: string[]; found: number };
      t.diagnostic(`found ${found} of 300,000`);
      assert.deepEqual(wrong, []);
      assert.ok(found > 0);
    }
  });
});
