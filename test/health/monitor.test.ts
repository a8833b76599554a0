// What the monitor makes of checks: by a check of the test where the results are the point, with real ones at
// the end.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CannotCheck } from '../../src/health/attempt.ts';
import { type HealthTarget, jittered } from '../../src/health/checker.ts';
import { Monitor } from '../../src/health/monitor.ts';
import type { HealthConfig, Probe, ProbeResult } from '../../src/health/probe.ts';
import { failure, healthOf, SUCCESS } from './sample.ts';

type Scripted = ProbeResult | Error;

const BAD = failure('bad');
const GOOD = SUCCESS;

/** A monitor whose checks wait for the test to say how they end. */
class Scene {
  readonly changes: string[] = [];
  readonly problems: string[] = [];
  readonly monitor: Monitor;
  readonly #begun = new EventEmitter();
  readonly #open = new Map<string, (result: Scripted) => void>();
  checks = 0;
  mostAtATime = 0;
  givenUp = 0;

  constructor(t: TestContext) {
    this.#begun.setMaxListeners(0);
    const probe: Probe = ({ ip }, signal) =>
      new Promise((resolve, reject) => {
        assert.ok(!this.#open.has(ip), 'one check of a server at a time');
        this.checks++;
        this.#open.set(ip, (result) => {
          this.#open.delete(ip);
          if (result instanceof Error) reject(result);
          else resolve(result);
        });
        this.mostAtATime = Math.max(this.mostAtATime, this.#open.size);
        signal.addEventListener('abort', () => {
          const end = this.#open.get(ip);
          if (end !== undefined) this.givenUp++;
          end?.(failure('given up'));
        });
        this.#begun.emit(ip);
      });
    this.monitor = new Monitor(({ key }, state, reason) => this.changes.push(`${key} ${state}: ${reason}`), {
      onProblem: ({ key }, reason) => this.problems.push(`${key}: ${reason}`),
      makeProbe: ({ type }) => (type === 'none' ? undefined : probe),
    });
    t.after(() => this.monitor.stop());
  }

  /** Ends the next checks of a server with these results. */
  async results(ip: string, ...results: Scripted[]): Promise<void> {
    for (const result of results) {
      await this.begun(ip);
      this.#open.get(ip)?.(result);
      await new Promise(setImmediate);
    }
  }

  /** Waits until a check of the server is under way. */
  async begun(ip: string): Promise<void> {
    if (!this.#open.has(ip)) await once(this.#begun, ip, { signal: AbortSignal.timeout(60_000) });
  }

  status(key: string) {
    const { since, ...status } = this.monitor.status().get(key)!;
    assert.ok(since instanceof Date);
    return status;
  }
}

const FAST: Partial<HealthConfig> = { interval: 2, jitter: 10 };

function target(ip: string, settings: object = {}, bent: Partial<HealthConfig> = FAST): HealthTarget {
  const health = { ...healthOf({ type: 'tcp', ...settings }), ...bent };
  return { key: `game ${ip}`, service: 'game', ip, port: 6000, health };
}

const A = '10.2.0.1';
const B = '10.2.0.2';

test('a server starts as up and is down after `fall` failures in a row, up again after `rise` successes in a row', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { rise: 2, fall: 3 })]);
  assert.deepEqual(scene.status(`game ${A}`), {
    ...{ state: 'up', reason: 'not checked yet' },
    ...{ failuresInARow: 0, checks: 0, failures: 0 },
  });
  await scene.results(A, BAD, BAD, GOOD, BAD, BAD);
  assert.deepEqual(scene.changes, []);
  await scene.results(A, failure('worse'));
  assert.deepEqual(scene.changes, [`game ${A} down: worse`]);
  await scene.results(A, GOOD, BAD, GOOD);
  assert.deepEqual(scene.changes.splice(0), [`game ${A} down: worse`]);
  assert.deepEqual(scene.status(`game ${A}`), {
    ...{ state: 'down', reason: 'bad' },
    ...{ failuresInARow: 0, checks: 9, failures: 6 },
  });
  await scene.results(A, GOOD);
  assert.deepEqual(scene.changes, [`game ${A} up: 2 checks in a row succeeded`]);
});

test('a server that is down at one failure and up at one success follows every check', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { rise: 1, fall: 1 })]);
  await scene.results(A, BAD, BAD, GOOD, GOOD, BAD);
  assert.deepEqual(
    scene.changes,
    ['down: bad', 'up: a check succeeded', 'down: bad'].map((words) => `game ${A} ${words}`),
  );
});

test('a check that cannot be made changes nothing and is told once', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { fall: 2 })]);
  const cannot = new CannotCheck('no descriptors');
  await scene.results(A, BAD, cannot, cannot, new CannotCheck('no memory'), cannot);
  assert.deepEqual(
    scene.problems,
    ['no descriptors', 'no memory', 'no descriptors'].map((words) => `game ${A}: ${words}`),
  );
  assert.deepEqual([scene.changes, scene.status(`game ${A}`).checks], [[], 1]);
  assert.equal(scene.status(`game ${A}`).reason, 'cannot be checked: no descriptors');
  await scene.results(A, BAD);
  assert.deepEqual(scene.changes, [`game ${A} down: bad`], 'the failure before still counts');
});

test('a server whose traffic fails is down until its check succeeds `rise` times in a row', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { rise: 2 })]);
  await scene.results(A, GOOD, GOOD);
  await scene.begun(A);
  scene.monitor.fail(`game ${A}`, '10 errors');
  // One that began before says nothing about what came after it; another failure starts the count again.
  await scene.results(A, GOOD, GOOD);
  await scene.begun(A);
  scene.monitor.fail(`game ${A}`, '11 errors');
  assert.equal(scene.status(`game ${A}`).reason, '11 errors');
  await scene.results(A, GOOD, GOOD);
  assert.deepEqual(scene.changes, [`game ${A} down: 10 errors`]);
  await scene.results(A, GOOD);
  assert.deepEqual(scene.changes.slice(1), [`game ${A} up: 2 checks in a row succeeded`]);
  scene.monitor.fail('unknown', 'nothing happens');
});

test('without a check a server whose traffic fails is tried again after the window', async (t) => {
  const changed = new EventEmitter();
  const changes: string[] = [];
  const monitor = new Monitor((_, state, reason) => {
    changes.push(`${state}: ${reason}`);
    changed.emit(state);
  });
  t.after(() => monitor.stop());
  monitor.update([target(A, { type: 'none' }, { window: 50 })]);
  assert.equal(monitor.status().get(`game ${A}`)?.reason, 'not checked');
  const up = once(changed, 'up');
  monitor.fail(`game ${A}`, '10 errors');
  monitor.fail(`game ${A}`, '11 errors');
  await up;
  assert.deepEqual(changes, ['down: 10 errors', 'up: tried again after 50ms']);
});

test('targets that stay the same keep everything, and those that go are given up', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { fall: 2 }), target(B)]);
  await scene.results(A, BAD);
  await Promise.all([scene.begun(A), scene.begun(B)]);
  scene.monitor.update([target(A, { fall: 2 })]);
  assert.equal(scene.givenUp, 1, 'the check of the one that went');
  assert.deepEqual([...scene.monitor.status().keys()], [`game ${A}`]);
  await scene.results(A, BAD);
  assert.deepEqual(scene.changes, [`game ${A} down: bad`]);
  scene.monitor.update([target(B), target(A, { fall: 2 })]);
  assert.equal(scene.status(`game ${A}`).state, 'down');
  assert.deepEqual(scene.status(`game ${B}`).checks, 0, 'it is new again');
});

test('a server keeps its state when it is checked in another way, and is new at another address', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { fall: 1 })]);
  await scene.results(A, BAD);
  await scene.begun(A);
  scene.monitor.update([target(A, { fall: 1, rise: 1, path: '/other' })]);
  assert.equal(scene.givenUp, 1);
  assert.deepEqual([scene.status(`game ${A}`).state, scene.status(`game ${A}`).failures], ['down', 1]);
  scene.monitor.update([{ ...target(B), key: `game ${A}` }]);
  assert.deepEqual([scene.status(`game ${A}`).state, scene.status(`game ${A}`).failures], ['up', 0]);
});

test('a server that was down is up when it is not checked any more', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A, { fall: 1 })]);
  await scene.results(A, BAD);
  scene.monitor.update([target(A, { type: 'none' })]);
  assert.deepEqual(scene.changes.slice(1), [`game ${A} up: its health settings changed`]);
});

test('a check that takes longer than the interval is not overtaken', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A)]);
  await scene.begun(A);
  await sleep(50);
  assert.equal(scene.checks, 1);
  await scene.results(A, GOOD, GOOD, GOOD);
  assert.equal(scene.mostAtATime, 1);
});

test('all of many servers are checked, however few are answered', async (t) => {
  const scene = new Scene(t);
  const ips = Array.from({ length: 4096 }, (_, index) => `10.3.${index >> 8}.${index & 255}`);
  const { health } = target(A, {}, { interval: 10 });
  scene.monitor.update(ips.map((ip) => ({ key: `game ${ip}`, service: 'game', ip, port: 6000, health })));
  await Promise.all(ips.map((ip) => scene.begun(ip)));
  await Promise.all(ips.map((ip) => scene.results(ip, BAD, GOOD)));
  for (const { checks } of scene.monitor.status().values()) assert.ok(checks >= 2);
});

test('stopping gives up what runs and leaves no timer behind', async (t) => {
  const scene = new Scene(t);
  scene.monitor.update([target(A), target(B, {}, { interval: 3_600_000 })]);
  await scene.begun(A);
  await scene.results(B, GOOD);
  await scene.monitor.stop();
  const { checks } = scene;
  assert.equal(scene.givenUp, 1);
  assert.equal(scene.monitor.status().size, 0);
  assert.ok(!process.getActiveResourcesInfo().includes('Timeout'), 'no timer is left');
  assert.deepEqual([scene.checks, scene.changes], [checks, []]);
});

test('jitter makes an interval longer or shorter by up to its percentage', () => {
  const rows = [
    [0, 10, 900],
    [0.5, 10, 1000],
    [1, 10, 1100],
    [0, 0, 1000],
    [0.25, 50, 750],
  ] as const;
  for (const [random, percent, expected] of rows) assert.equal(jittered(1000, percent, random), expected);
});

test('a real server that goes away and comes back is seen by real checks', async (t) => {
  const changed = new EventEmitter();
  const monitor = new Monitor((_, state, reason) => changed.emit(state, reason));
  t.after(() => monitor.stop());
  const serve = async (port: number) => {
    const server = createSocket('udp4').bind(port, '127.0.0.1');
    server.on('message', (_, from) => server.send('pong', from.port, from.address));
    await once(server, 'listening');
    return server;
  };
  const first = await serve(0);
  const { port } = first.address();
  const settings = { type: 'udp', expect: 'pong', timeout: '10s' };
  monitor.update([{ ...target('127.0.0.1', settings), port }]);
  const down = once(changed, 'down');
  first.close();
  assert.deepEqual(await down, ['port unreachable']);
  const up = once(changed, 'up');
  const second = await serve(port);
  t.after(() => second.close());
  assert.deepEqual(await up, ['2 checks in a row succeeded']);
});
