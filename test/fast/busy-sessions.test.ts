// Which sessions are taken for busy, by packets that are counted in ticks of 100 ms.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BUSY_PACKETS, BusySessions } from '../../src/fast/busy-sessions.ts';

const TICK_MS = 100;

/**
 * What comes of so many sessions in `seconds`, when all together send so many packets that the datapath
 * forwards `rate` per second of those that are not busy yet. Returns how many became busy.
 */
function run({ sessions, rate, seconds }: { sessions: number; rate: number; seconds: number }): number {
  const busy = new BusySessions(sessions);
  const waiting = Int32Array.from({ length: sessions }, (_, slot) => slot);
  const isTaken = new Uint8Array(sessions);
  let [left, next, taken] = [sessions, 0, 0];
  for (let tick = 0; tick < seconds * (1_000 / TICK_MS); tick++) {
    for (let packet = 0; packet < (rate * TICK_MS) / 1_000 && left > 0; packet++) {
      next = (next + 1) % left;
      busy.note(waiting[next]!);
    }
    busy.forget(TICK_MS);
    for (const slot of busy.take()) {
      isTaken[slot] = 1;
      taken++;
    }
    left = 0;
    for (let slot = 0; slot < sessions; slot++) if (isTaken[slot] === 0) waiting[left++] = slot;
  }
  return taken;
}

describe('busy sessions', () => {
  test('a session of eight packets in a second is busy', () => {
    assert.equal(run({ sessions: 100, rate: 100 * 12, seconds: 3 }), 100);
  });

  test('one of a few packets per second never is', () => {
    assert.equal(run({ sessions: 100, rate: 100 * 5, seconds: 60 }), 0);
  });

  test('each of many is in the end, where the datapath forwards few packets of each', () => {
    assert.equal(run({ sessions: 100_000, rate: 300_000, seconds: 30 }), 100_000);
  });

  test('of a million, too, and on a slow machine', () => {
    assert.ok(run({ sessions: 1_000_000, rate: 300_000, seconds: 70 }) > 990_000);
    assert.ok(run({ sessions: 100_000, rate: 20_000, seconds: 80 }) > 99_000);
  });

  test('of many whose packets come in bursts, too: a lull between two does not have counts forgotten', () => {
    const sessions = 40_000;
    const busy = new BusySessions(sessions);
    const isTaken = new Uint8Array(sessions);
    let taken = 0;
    const tick = () => {
      busy.forget(TICK_MS);
      for (const slot of busy.take()) {
        taken += 1 - isTaken[slot]!;
        isTaken[slot] = 1;
      }
    };
    // Two packets of each in a second and a half, then a second without any.
    for (let burst = 0; burst < 8; burst++) {
      for (let at = 0; at < 15; at++) {
        for (let packet = 0; packet < (2 * sessions) / 15; packet++) {
          const slot = (packet + Math.ceil((at * 2 * sessions) / 15)) % sessions;
          if (isTaken[slot] === 0) busy.note(slot);
        }
        tick();
      }
      for (let at = 0; at < 10; at++) tick();
    }
    // The last of them are so few that the datapath has little to do with them.
    assert.ok(taken > 0.9 * sessions, `${taken} of ${sessions}`);
  });

  test('a burst between lulls is not much: sessions of few packets stay as they are', () => {
    const busy = new BusySessions(1_000);
    for (let second = 0; second < 60; second++) {
      for (let slot = 0; slot < 1_000; slot++) for (let packet = 0; packet < 4; packet++) busy.note(slot);
      for (let at = 0; at < 20; at++) busy.forget(TICK_MS);
      assert.equal(busy.take().length, 0);
    }
  });

  test('sessions of two packets, a question and its answer, never are, however many there are', () => {
    const slots = 200_000;
    const busy = new BusySessions(slots);
    let at = 0;
    for (let tick = 0; tick < 600; tick++) {
      for (let packet = 0; packet < 10_000; packet++) {
        at = (at + 1) % slots;
        busy.note(at);
        busy.note(at);
        // Its slot is given to another session.
        busy.clear(at);
      }
      busy.forget(TICK_MS);
      assert.equal(busy.take().length, 0);
    }
  });

  test('who finds no place among those that wait is tried again', () => {
    const busy = new BusySessions(10_000);
    const taken = new Set<number>();
    for (let round = 0; round < 4; round++) {
      for (let slot = 0; slot < 10_000; slot++)
        if (!taken.has(slot)) for (let packet = 0; packet < BUSY_PACKETS; packet++) busy.note(slot);
      for (const slot of busy.take()) taken.add(slot);
    }
    assert.equal(taken.size, 10_000);
  });
});
