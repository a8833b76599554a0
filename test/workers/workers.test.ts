// What workers.ts makes of datapath processes that answer late, or are told to stop before they forward.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { WorkerReplan, WorkerStart } from '../../src/worker-protocol.ts';
import { Workers } from '../../src/workers.ts';

/** Nobody reads it. */
const PLAN = { services: [] };
const entry = fileURLToPath(new URL('./worker-program.ts', import.meta.url));

/** `file`: see worker-program.ts. */
function make(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-workers-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'go');
  const start = { kind: 'start', plan: PLAN, io: ['', file] } as unknown as WorkerStart;
  const options = { entry, replanTimeoutMs: 3000 };
  const workers = new Workers([{ start, fds: [] }], pino({ level: 'silent' }), options);
  t.after(() => workers.stop());
  return { workers, file };
}
const replan = (...io: string[]) => [{ plan: PLAN, io } as unknown as WorkerReplan];

test('a late answer about one plan is not taken for the answer about the next', async (t) => {
  const { workers, file } = make(t);
  writeFileSync(file, '');
  await workers.start();
  await assert.rejects(workers.replan(replan('late')), /does not answer/);
  // The refusal of the plan before comes first.
  await workers.replan(replan('at once'));
  await assert.rejects(workers.replan(replan('late')), /does not answer/);
  await assert.rejects(workers.replan(replan('never')), /does not answer/);
});

test('a datapath process that is told to stop while it starts is gone when stop resolves', async (t) => {
  const { workers, file } = make(t);
  const started = workers.start();
  const outcome = started.then(
    () => 'started',
    () => 'not started',
  );
  while (!existsSync(`${file}.pid`)) await sleep(10);
  const pid = Number(readFileSync(`${file}.pid`, 'utf8'));
  await workers.stop();
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  assert.equal(await outcome, 'not started');
});

/** How many started, by now. */
const startsOf = (file: string) => readFileSync(`${file}.pids`, 'utf8').trim().split('\n').length;

test('for another process to go on, one that just starts again is waited for and asked, too', async (t) => {
  const { workers, file } = make(t);
  writeFileSync(file, '');
  await workers.start();
  rmSync(file);
  workers.kill(0);
  while (startsOf(file) < 2) await sleep(10);
  let isHeld = false;
  const held = workers.hold(true).then(() => {
    isHeld = true;
  });
  await sleep(200);
  assert.equal(isHeld, false);
  writeFileSync(file, '');
  await held;
  assert.equal((await workers.stepAside(0)).length, 1);
});

test('one that waited for its start when another process was to go on does not start beside its successor', async (t) => {
  const { workers, file } = make(t);
  writeFileSync(file, '');
  await workers.start();
  for (const starts of [2, 3]) {
    workers.kill(0);
    while (startsOf(file) < starts || workers.missing.length > 0) await sleep(10);
  }
  // The third time it waits for a second.
  workers.kill(0);
  while (workers.missing.length === 0) await sleep(10);
  await workers.hold(true);
  await workers.stepAside(0);
  await workers.resume([]);
  const starts = startsOf(file);
  await sleep(1500);
  assert.equal(startsOf(file), starts);
});
