import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { Drain } from '../../src/control/drain.ts';
import { CONTROL } from '../../src/datapath/memory.ts';

function startDrain(t: TestContext, given: { sessions: number }) {
  let now = performance.now();
  t.mock.method(performance, 'now', () => now);
  const control = new Int32Array(2);
  let ends = 0;
  const end = () => {
    ends++;
  };
  const drain = new Drain(control, () => given.sessions, end, pino({ level: 'silent' }));
  t.after(() => drain.close());
  return {
    drain,
    given,
    isCellSet: () => control[CONTROL.draining] === 1,
    ends: () => ends,
    /** Time goes on, and the drain looks twice at least. */
    async pass(ms: number) {
      now += ms;
      await sleep(500);
    },
  };
}

test('a drain ends the proxy once, when no session is left', async (t) => {
  const { drain, given, isCellSet, ends, pass } = startDrain(t, { sessions: 1 });
  assert.equal(drain.begin(60_000), 60_000);
  assert.ok(isCellSet() && drain.isOn);
  await pass(1000);
  assert.equal(ends(), 0);
  given.sessions = 0;
  await pass(1000);
  assert.equal(ends(), 1);
  assert.ok(drain.isOn, 'what it is asked until it is gone');
  assert.throws(() => drain.cancel(), /the proxy is ending/);
  assert.throws(() => drain.begin(1), /the proxy is ending/);
});

test('a second drain sets another deadline, later or earlier, and none when it names none', async (t) => {
  const { drain, ends, pass } = startDrain(t, { sessions: 1 });
  assert.equal(drain.begin(12_000), 12_000);
  await pass(2000);
  assert.equal(drain.begin(undefined), 10_000);
  assert.equal(drain.begin(600_000), 600_000);
  await pass(20_000);
  assert.equal(ends(), 0);
  assert.equal(drain.begin(0), 0);
  await pass(200);
  assert.equal(ends(), 1);
});

test('a drain without a deadline gets five minutes', (t) => {
  assert.equal(startDrain(t, { sessions: 1 }).drain.begin(undefined), 300_000);
});

test('a drain that is taken back leaves nothing, and another one begins anew', async (t) => {
  const { drain, given, isCellSet, ends, pass } = startDrain(t, { sessions: 1 });
  assert.equal(drain.cancel(), false);
  drain.begin(1000);
  assert.equal(drain.cancel(), true);
  assert.ok(!isCellSet() && !drain.isOn);
  given.sessions = 0;
  await pass(5000);
  assert.equal(ends(), 0);
  assert.equal(drain.begin(3000), 3000);
  assert.ok(isCellSet());
  drain.close();
  await pass(5000);
  assert.equal(ends(), 0, 'the proxy ends for another reason');
});
