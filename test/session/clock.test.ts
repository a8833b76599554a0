// Times kept in words that come round after hours or weeks: what is long over does not come back, by a clock
// that is set forward.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ClientTable } from '../../src/datapath/client-table.ts';
import { Persistence } from '../../src/service/persistence.ts';
import { learnedMtuOf, learnMtu } from '../../src/session/session.ts';
import {
  HANDSHAKE_WORDS,
  onCarrierSent,
  onInbound,
  onUoaSent,
  startHandshake,
  takesEmptyReply,
  UOA_DUE,
  UOA_DUE_AGAIN,
  UOA_NOT_DUE,
} from '../../src/uoa/handshake.ts';
import { age } from '../../src/wire/age.ts';
import { makeTable } from './sample.ts';

const [SECOND, MINUTE, HOUR] = [1_000, 60_000, 3_600_000];
const DAY = 24 * HOUR;
/** Starts of the clock: it goes round soon after the last ones. */
const STARTS = [0, 1_000, 0x7fff_0000, -0x8000_0000, -HOUR];

describe('after so long that its time comes round', () => {
  test('a learned path MTU stays forgotten while the session lives', () => {
    for (const start of STARTS) {
      const { table, open } = makeTable(5);
      const { base } = open(1, start);
      learnMtu(table.records, base, 1400, start);
      assert.equal(learnedMtuOf(table.records, base, (start + 10 * MINUTE) | 0), 1400);
      for (let at = 13 * MINUTE; at < 14 * DAY; at += 5 * MINUTE) {
        const now = (start + at) | 0;
        assert.equal(learnedMtuOf(table.records, base, now), 0, `after ${at / DAY} days`);
        table.touch(base, now);
      }
    }
  });

  test('a client is not known any more, and is again once it is answered again', () => {
    const addresses = Int32Array.of(0, 0, 0xffff, 0x0a010002);
    const SETS = 8;
    for (const start of STARTS) {
      const clients = new ClientTable(new Int32Array(ClientTable.words(8 * SETS)), [1, 2], 0);
      const select = () => clients.select(0, addresses, 0, 32, 64);
      const answer = (nowMs: number) => {
        select();
        clients.add(nowMs, true);
        clients.answered(nowMs);
        clients.remove();
        assert.ok(clients.isKnown((nowMs + MINUTE) | 0));
      };
      answer(start);
      for (let at = 11 * MINUTE; at < 8 * DAY; at += 5 * MINUTE) {
        const now = (start + at) | 0;
        clients.sweep(SETS, now);
        select();
        assert.ok(!clients.isKnown(now), `after ${at / DAY} days`);
      }
    }
    // Without a sweep in between, too.
    for (let days = 1; days < 8; days++) {
      const clients = new ClientTable(new Int32Array(ClientTable.words(8 * SETS)), [1, 2], 0);
      clients.select(0, addresses, 0, 32, 64);
      for (const now of [0, days * DAY]) {
        clients.add(now, true);
        clients.answered(now);
        clients.remove();
        assert.ok(clients.isKnown(now + MINUTE), `again after ${days} days`);
      }
    }
  });

  test('a client finds no real server that it had weeks ago', () => {
    const client = Int32Array.of(0, 0, 0xffff, 0x0a010002);
    for (const start of STARTS) {
      const persistence = new Persistence(new Int32Array(Persistence.words(64)), [1, 2]);
      persistence.note(client, 0, 0, 7, start);
      assert.equal(persistence.find(client, 0, 0, DAY, (start + 23 * HOUR) | 0), 7);
      for (let at = 25 * HOUR; at < 60 * DAY; at += HOUR) {
        const now = (start + at) | 0;
        persistence.sweep(16, now);
        assert.equal(persistence.find(client, 0, 0, DAY, now), -1, `after ${at / DAY} days`);
      }
    }
  });

  test('a client that was silent for 30 days is told to its real server again', () => {
    const policy = { maxTrials: 1, refreshMs: HOUR, refreshesAcked: true, idleRefreshMs: 0 };
    for (const start of STARTS)
      for (const changed of [policy, { ...policy, refreshMs: 0, idleRefreshMs: HOUR }]) {
        const words = new Int32Array(HANDSHAKE_WORDS);
        startHandshake(words, 0, start);
        assert.equal(onInbound(words, 0, changed, 0, start), UOA_DUE);
        onUoaSent(words, 0, start);
        assert.notEqual(onInbound(words, 0, changed, 0, (start + SECOND) | 0), UOA_DUE);
        assert.equal(onInbound(words, 0, changed, 0, (start + 2 * SECOND) | 0), UOA_NOT_DUE);
        assert.equal(onInbound(words, 0, changed, 0, (start + 30 * DAY) | 0), UOA_DUE_AGAIN);
      }
  });

  test("an empty datagram of a real server is the client's, not the answer to a carrier of weeks ago", () => {
    for (const start of STARTS)
      for (const days of [1, 24, 25, 30, 49]) {
        const words = new Int32Array(HANDSHAKE_WORDS);
        startHandshake(words, 0, start);
        onCarrierSent(words, 0, start);
        assert.ok(!takesEmptyReply(words, 0, (start + days * DAY) | 0), `after ${days} days`);
        onCarrierSent(words, 0, start);
        assert.ok(takesEmptyReply(words, 0, (start + SECOND) | 0));
      }
  });
});

test('an age is up to 49.7 days, and 0 for a time that is a little ahead', () => {
  for (const then of STARTS) {
    for (const ms of [0, 1, DAY, 24 * DAY, 25 * DAY, 49 * DAY]) assert.equal(age((then + ms) | 0, then), ms);
    assert.equal(age((then - 59 * SECOND) | 0, then), 0);
  }
});
