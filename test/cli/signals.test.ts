import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, it } from 'node:test';
import pino from 'pino';
import { runUntilSignal } from '../../src/cli/signals.ts';

class FakeProcess extends EventEmitter {
  readonly exits: number[] = [];
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

/** A proxy whose start, end and stop the test controls. */
function setUp() {
  const source = new FakeProcess();
  const events: string[] = [];
  const started = deferred<void>();
  const ended = deferred<number>();
  const stopped = deferred<void>();
  const proxy = {
    ended: ended.promise,
    stop: () => {
      events.push('stop');
      return stopped.promise;
    },
  };
  const start = () => started.promise.then(() => proxy);
  const clock = { ms: 5000 };
  const exitCode = runUntilSignal(start, pino({ level: 'silent' }), source, () => clock.ms);
  return { clock, source, events, started, ended, stopped, exitCode };
}

const aTurn = () => new Promise((resolve) => setImmediate(resolve));

describe('a running proxy', () => {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    it(`is stopped by ${signal} and ends with exit code 0`, async () => {
      const { source, events, started, stopped, exitCode } = setUp();
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

  it('that ends by itself is cleaned up, and its exit code is passed on', async () => {
    const { events, started, ended, stopped, exitCode } = setUp();
    started.resolve();
    ended.resolve(3);
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
