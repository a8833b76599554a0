import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { runUntilSignal } from '../../src/cli/signals.ts';

const INSTANT_MS = 10;

class FakeProcess extends EventEmitter {
  readonly exits: number[] = [];
  readonly stdout: { isTTY: boolean };
  constructor(isTTY: boolean) {
    super();
    this.stdout = { isTTY };
  }
  exit(code: number): void {
    this.exits.push(code);
  }
}

/** A promise that the test settles. */
function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** A proxy whose start, end, stop and reloads the test controls. */
function setUp({ isTTY = false } = {}) {
  const source = new FakeProcess(isTTY);
  const events: string[] = [];
  const started = deferred<void>();
  const ended = deferred<{ exitCode: number; isWanted: boolean }>();
  const stopped = deferred<void>();
  const reloads: ReturnType<typeof deferred<void>>[] = [];
  const proxy = {
    ended: ended.promise,
    reload: () => {
      events.push('reload');
      const reload = deferred<void>();
      reloads.push(reload);
      return reload.promise;
    },
    stop: ({ forRestart }: { forRestart: boolean }) => {
      events.push(forRestart ? 'stop for a restart' : 'stop');
      return stopped.promise;
    },
  };
  const start = () => started.promise.then(() => proxy);
  const clock = { ms: 5000 };
  const exitCode = runUntilSignal(start, pino({ level: 'silent' }), source, () => clock.ms, INSTANT_MS);
  const signal = (name: NodeJS.Signals) => source.emit(name, name);
  return { clock, source, signal, events, started, ended, stopped, reloads, exitCode };
}

/** Of the event loop, with what waits for an instant. */
const aTurn = () => sleep(2 * INSTANT_MS);

describe('a running proxy', () => {
  for (const [signal, isTTY] of [
    ['SIGTERM', false],
    ['SIGINT', false],
    ['SIGQUIT', false],
    ['SIGTERM', true],
    ['SIGINT', true],
    ['SIGHUP', true],
  ] as const) {
    it(`is stopped by ${signal} ${isTTY ? 'on a terminal ' : ''}and ends with exit code 0`, async () => {
      const { source, events, started, stopped, exitCode } = setUp({ isTTY });
      started.resolve();
      await aTurn();
      assert.deepEqual(events, []);
      source.emit(signal, signal);
      await aTurn();
      assert.deepEqual(events, ['stop']);
      stopped.resolve();
      assert.equal(await exitCode, 0);
      assert.deepEqual(source.exits, []);
    });
  }

  it('exits at once with 130 at a second signal, unless it follows the first within a second', async () => {
    const { clock, source, started } = setUp();
    started.resolve();
    await aTurn();
    source.emit('SIGTERM', 'SIGTERM');
    clock.ms += 900;
    source.emit('SIGINT', 'SIGINT');
    assert.deepEqual(source.exits, []);
    clock.ms += 100;
    source.emit('SIGINT', 'SIGINT');
    assert.deepEqual(source.exits, [130]);
  });

  it('that is told to stop while it starts is stopped as soon as it stands', async () => {
    const { source, events, started, stopped, exitCode } = setUp();
    source.emit('SIGTERM', 'SIGTERM');
    await aTurn();
    assert.deepEqual(events, []);
    started.resolve();
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['stop']);
  });

  it('is stopped for a restart by SIGUSR2, and a first SIGTERM behind it, however late, changes nothing', async () => {
    const { clock, signal, source, events, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGUSR2');
    await aTurn();
    clock.ms += 5000;
    for (const later of ['SIGUSR2', 'SIGTERM', 'SIGUSR2'] as const) signal(later);
    assert.deepEqual(source.exits, []);
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['stop for a restart']);
    assert.deepEqual(source.eventNames(), []);
  });

  it('exits at once at a second SIGTERM behind SIGUSR2', async () => {
    const { clock, signal, source, started } = setUp();
    started.resolve();
    signal('SIGUSR2');
    signal('SIGTERM');
    clock.ms += 1000;
    signal('SIGTERM');
    assert.deepEqual(source.exits, [130]);
  });

  it('that is being stopped is not stopped for a restart instead', async () => {
    const { signal, source, events, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGTERM');
    await aTurn();
    signal('SIGUSR2');
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['stop']);
    assert.deepEqual(source.exits, []);
  });

  it('is stopped for a restart where SIGUSR2 and a SIGTERM behind it come the other way round', async () => {
    const { signal, events, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGTERM');
    signal('SIGUSR2');
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['stop for a restart']);
  });

  it('that ends by itself is cleaned up, and its exit code is passed on', async () => {
    const { events, started, ended, stopped, exitCode } = setUp();
    started.resolve();
    ended.resolve({ exitCode: 3, isWanted: false });
    stopped.resolve();
    assert.equal(await exitCode, 3);
    assert.deepEqual(events, ['stop']);
  });

  it('that cannot start passes the error on and leaves no signal handler', async () => {
    const { source, started, exitCode } = setUp();
    started.reject(new Error('no such interface'));
    await assert.rejects(exitCode, /no such interface/);
    assert.deepEqual(source.eventNames(), []);
  });
});

describe('SIGHUP where standard output is no terminal', () => {
  it('reloads the config and stops nothing', async () => {
    const { signal, events, reloads, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGHUP');
    reloads[0].resolve();
    await aTurn();
    signal('SIGHUP');
    reloads[1].resolve();
    await aTurn();
    assert.deepEqual(events, ['reload', 'reload']);
    signal('SIGTERM');
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['reload', 'reload', 'stop']);
  });

  it('during a reload means one more, however often it comes', async () => {
    const { signal, events, reloads, started } = setUp();
    started.resolve();
    await aTurn();
    for (let n = 0; n < 4; n++) signal('SIGHUP');
    await aTurn();
    assert.deepEqual(events, ['reload']);
    reloads[0].resolve();
    await aTurn();
    assert.deepEqual(events, ['reload', 'reload']);
    reloads[1].resolve();
    await aTurn();
    assert.deepEqual(events, ['reload', 'reload']);
  });

  it('during the start means one reload once the proxy stands', async () => {
    const { signal, events, started } = setUp();
    signal('SIGHUP');
    signal('SIGHUP');
    await aTurn();
    assert.deepEqual(events, []);
    started.resolve();
    await aTurn();
    assert.deepEqual(events, ['reload']);
  });

  it('during the start means nothing when a stop follows it', async () => {
    const { signal, events, started, stopped, exitCode } = setUp();
    signal('SIGHUP');
    signal('SIGTERM');
    started.resolve();
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['stop']);
  });

  it('that cannot be done leaves the proxy running and can be repeated', async () => {
    const { signal, events, reloads, started } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGHUP');
    reloads[0].reject(new Error('no such file'));
    await aTurn();
    signal('SIGHUP');
    assert.deepEqual(events, ['reload', 'reload']);
  });

  it('while the proxy stops neither reloads nor hurries it', async () => {
    const { clock, source, signal, events, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGTERM');
    await aTurn();
    clock.ms += 5000;
    signal('SIGHUP');
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual([events, source.exits], [['stop'], []]);
  });

  it('is finished before a stop, and another one that waited is not begun', async () => {
    const { signal, events, reloads, started, stopped, exitCode } = setUp();
    started.resolve();
    await aTurn();
    signal('SIGHUP');
    signal('SIGHUP');
    signal('SIGTERM');
    await aTurn();
    assert.deepEqual(events, ['reload']);
    reloads[0].resolve();
    stopped.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(events, ['reload', 'stop']);
  });

  for (const isSignaled of [true, false]) {
    it(`does not hold up the clean-up when the proxy ends ${isSignaled ? 'after a stop' : 'by itself'}`, async () => {
      const { signal, events, started, ended, stopped, exitCode } = setUp();
      started.resolve();
      await aTurn();
      signal('SIGHUP');
      if (isSignaled) signal('SIGTERM');
      await aTurn();
      ended.resolve({ exitCode: 3, isWanted: false });
      stopped.resolve();
      assert.equal(await exitCode, isSignaled ? 0 : 3);
      assert.deepEqual(events, ['reload', 'stop']);
    });
  }
});
