// What becomes of a look at the host that fails: it is said once, and tried again without a further change.
import assert from 'node:assert/strict';
import test from 'node:test';
import pino from 'pino';
import { HostWatch } from '../../src/control/host-watch.ts';
import { until } from '../e2e/harness.ts';

test('what cannot be followed is said once and tried again, until it can', async (t) => {
  const lines: string[] = [];
  const log = pino(
    {},
    { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const outcomes = [false, false, true];
  const watch = new HostWatch(async () => {
    if (outcomes.shift() === false) throw new Error('no memory');
    return { changes: outcomes.length === 0 ? ['wan0: MTU 1500 -> 1400'] : [], trouble: '' };
  }, log);
  t.after(() => watch.stop());
  watch.start();
  await until('it can be followed', () => watch.counts.succeeded > 0);
  assert.equal(watch.counts.failed, 2);
  assert.deepEqual(lines.slice(0, 3), [
    'the host changed, and the proxy cannot follow: no memory',
    'the host changed: planned anew for it',
    'the host is as planned for again',
  ]);
});
