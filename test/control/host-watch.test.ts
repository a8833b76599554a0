// What becomes of a look at the host that fails: it is said once, and tried again without a further change.
import assert from 'node:assert/strict';
import test from 'node:test';
import pino from 'pino';
import { HostWatch } from '../../src/control/host-watch.ts';
import { until } from '../e2e/harness.ts';
import { namespace, sh, startProgram } from '../io/namespaces.ts';

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

test('what is wrong is looked at again without a notice', async (t) => {
  let looks = 0;
  const watch = new HostWatch(
    async () => {
      looks++;
      return looks === 1
        ? { changes: [], trouble: 'wan0 is down' }
        : { changes: ['wan0 is up'], trouble: '' };
    },
    pino({ enabled: false }),
    300,
  );
  t.after(() => watch.stop());
  watch.start();
  await until('it looks again', () => watch.counts.succeeded > 0);
});

test('of many changes some are logged, and the number of the others', async (t) => {
  const lines: { changes: string[] }[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const changes = Array.from({ length: 500 }, (_, n) => `address 10.9.${n >> 8}.${n & 255} added`);
  const watch = new HostWatch(async () => ({ changes, trouble: '' }), log);
  t.after(() => watch.stop());
  watch.start();
  await until('it is logged', () => lines.length > 0);
  assert.deepEqual(lines[0].changes, [...changes.slice(0, 20), 'and 480 more']);
});

test('the host is as followed when a look is over, until something changes', async (t) => {
  const ns = namespace(t, 'w');
  const program = startProgram(t, ns, 'control/host-watch-program.ts');
  const isAsFollowed = async (): Promise<boolean> => {
    program.write('ask');
    return program.next<boolean>('asFollowed');
  };
  await program.next('looking'); // once at the start
  assert.equal(await isAsFollowed(), false);
  program.write('go on');
  await until('it is', isAsFollowed);
  sh(`ip netns exec ${ns} ip address add 10.9.0.1/32 dev lo`);
  assert.equal(await isAsFollowed(), false);
  await program.next('looking');
  assert.equal(await isAsFollowed(), false);
  program.write('go on');
  await until('it is again', isAsFollowed);
  await program.stop();
});
