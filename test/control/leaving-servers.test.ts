// Real servers that leave: when they are taken out, and that it is tried once at a time.
import assert from 'node:assert/strict';
import { mock, type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { LeavingServers } from '../../src/control/leaving-servers.ts';

function start(t: TestContext) {
  const sessions = new Map<number, number>();
  /** What ends the calls under way. */
  const calls: ((isDone: boolean) => void)[] = [];
  let nowMs = 5_000_000;
  const takeOut = () => new Promise<boolean>((resolve) => calls.push(resolve));
  const leaving = new LeavingServers(
    (index) => sessions.get(index) ?? 0,
    takeOut,
    () => nowMs,
  );
  mock.timers.enable({ apis: ['setInterval'] });
  leaving.start();
  t.after(() => {
    leaving.stop();
    mock.timers.reset();
  });
  /** How many calls there were in these seconds. */
  const pass = async (seconds: number): Promise<number> => {
    const before = calls.length;
    for (let second = 0; second < seconds; second++) {
      nowMs += 1000;
      mock.timers.tick(1000);
      await setImmediate();
    }
    return calls.length - before;
  };
  const end = async (call: number, isDone: boolean) => {
    calls[call](isDone);
    await setImmediate();
  };
  return { leaving, sessions, end, pass };
}

test('a real server leaves when its sessions are over, or its time is, which begins once', async (t) => {
  const { leaving, sessions, end, pass } = start(t);
  sessions.set(1, 5).set(2, 5);
  leaving.note(
    new Map([
      [1, 10_000],
      [2, 3_600_000],
    ]),
  );
  assert.equal(await pass(9), 0);
  leaving.note(
    new Map([
      [1, 10_000],
      [2, 3_600_000],
    ]),
  );
  assert.equal(await pass(1), 1);
  assert.deepEqual([leaving.isOver(1), leaving.isOver(2)], [true, false]);
  leaving.note(new Map([[2, 3_600_000]]));
  await end(0, true);
  assert.equal(await pass(10), 0);
  sessions.set(2, 0);
  assert.equal(await pass(1), 1);
  assert.deepEqual(
    [leaving.isOver(7, 1000), leaving.isOver(2, 1000)],
    [true, true],
    'without sessions at once',
  );
  sessions.set(7, 1);
  assert.equal(leaving.isOver(7, 1000), false, 'it is about to leave');
});

test('what is under way is not begun again, however long it takes', async (t) => {
  const { leaving, end, pass } = start(t);
  leaving.note(new Map([[1, 10_000]]));
  assert.equal(await pass(60), 1);
  await end(0, true);
  assert.equal(await pass(1), 1, 'it is still there');
  leaving.note(new Map());
  await end(1, true);
  assert.equal(await pass(60), 0);
});

test('what failed is tried again after half a minute', async (t) => {
  const { leaving, end, pass } = start(t);
  leaving.note(new Map([[1, 0]]));
  assert.equal(await pass(1), 1);
  await end(0, false);
  assert.equal(await pass(29), 0);
  assert.equal(await pass(2), 1);
});
