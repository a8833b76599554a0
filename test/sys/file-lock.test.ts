// A lock of one process at a time, which goes with it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lockFile } from '../../src/sys/file-lock.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

const PROGRAM = fileURLToPath(new URL('./lock-program.ts', import.meta.url));

function pathFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-lock-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'state.lock');
}

async function other(t: TestContext, path: string) {
  const child = spawn(process.execPath, [...TYPESCRIPT, PROGRAM, path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, hasIt: said.toString().trim() === 'locked' };
}

test('one process has it, another does not, and after the first is killed another can', async (t) => {
  const path = pathFor(t);
  const first = await other(t, path);
  assert.equal(first.hasIt, true);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(lockFile(path), undefined);
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  const lock = lockFile(path);
  assert.ok(lock);
  assert.equal((await other(t, path)).hasIt, false);
  lock.release();
  assert.equal(existsSync(path), false, 'nothing is left');
  assert.equal((await other(t, path)).hasIt, true);
});

test('no symbolic link is followed', (t) => {
  const path = pathFor(t);
  symlinkSync(`${path}.elsewhere`, path);
  assert.throws(() => lockFile(path), { code: 'ELOOP' });
  assert.equal(existsSync(`${path}.elsewhere`), false);
});
