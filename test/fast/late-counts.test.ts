// What a processor counts for a session that was just taken out of the fast path is not lost, and is nobody
// else's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OUTBOUND } from '../../src/fast/hot-records.ts';
import { SESSION_WORDS } from '../../src/session/session.ts';
import { FastRig, IPV4 } from './hot-rig.ts';

const BYTES = 100;

/** A session that is hot no more since this moment, and its slot. */
function takenOut(proxy: FastRig): number {
  proxy.beBusy();
  const slot = proxy.base / SESSION_WORDS;
  proxy.switch(false);
  for (let ticks = 0; ticks < 20 && proxy.fast.count > 0; ticks++) proxy.tick();
  assert.equal(proxy.fast.count, 0);
  return slot;
}

const countsOf = (proxy: FastRig) => [
  proxy.counter('outboundFast'),
  proxy.counter('outboundBytes'),
  proxy.serverCounter('outboundPackets'),
  proxy.serverCounter('outboundBytes'),
];

const oneMore = ([fast, bytes, packets, serverBytes]: number[]) => [
  fast! + 1,
  bytes! + BYTES,
  packets! + 1,
  serverBytes! + BYTES,
];

test('a packet that was under way when its session was taken out counts as all others', (t) => {
  const proxy = new FastRig(t, IPV4);
  const slot = takenOut(proxy);
  const before = countsOf(proxy);
  proxy.count(slot, OUTBOUND, BYTES);
  for (let ticks = 0; ticks < 3; ticks++) proxy.tick();
  assert.deepEqual(countsOf(proxy), oneMore(before));
});

test('also where its session ended, or its slot is hot again at once', (t) => {
  const ended = new FastRig(t, IPV4);
  ended.beBusy();
  const slot = ended.base / SESSION_WORDS;
  ended.replan({ vips: ['10.1.0.101'] });
  const before = countsOf(ended);
  ended.count(slot, OUTBOUND, BYTES);
  for (let ticks = 0; ticks < 3; ticks++) ended.tick();
  assert.deepEqual(countsOf(ended), oneMore(before));

  const again = new FastRig(t, IPV4);
  again.count(takenOut(again), OUTBOUND, BYTES);
  again.switch(true);
  const fast = again.counter('outboundFast');
  again.beBusy();
  assert.equal(again.fast.count, 1);
  assert.equal(again.counter('outboundFast'), fast + 1);
});
