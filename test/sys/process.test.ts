// Memory shared by two processes, the end of a child with its parent, and what the dynamic linker finds.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SysError } from '../../src/sys/libc.ts';
import { canLoad } from '../../src/sys/libraries.ts';
import { createSharedMemory, mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

const program = (file: string) => fileURLToPath(new URL(file, import.meta.url));

test('a child sees and changes the memory whose descriptor it inherits', () => {
  const byteLength = 1 << 20;
  const { fd, buffer } = createSharedMemory('test', byteLength);
  const numbers = new Int32Array(buffer);
  numbers[0] = 41;
  const { status, stderr } = spawnSync(
    process.execPath,
    [...TYPESCRIPT, program('./memory-program.ts'), String(byteLength)],
    { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
  assert.equal(numbers[0], 42);
  assert.equal(numbers.at(-1), 7);
});

test('memory that is mapped but not touched is not taken from the system', () => {
  const residentKiB = () => Number(/RssShmem:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]);
  const before = residentKiB();
  const { buffer } = createSharedMemory('large', 1 << 30);
  new Uint8Array(buffer)[1 << 29] = 1;
  assert.ok(residentKiB() - before < 1024);
});

test('mapping a descriptor that is not open fails with the call and the name of the error', () => {
  assert.throws(
    () => mapSharedMemory(9999, 4096),
    (error) => error instanceof SysError && error.code === 'EBADF' && error.syscall === 'mmap',
  );
});

test('a process that asked for it ends when its parent is killed', async (t) => {
  const parent = spawn(process.execPath, [...TYPESCRIPT, program('./parent-program.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => parent.kill('SIGKILL'));
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  t.after(() => isAlive(pid) && process.kill(pid, 'SIGKILL'));
  assert.ok(isAlive(pid), JSON.stringify(line.toString()));
  parent.kill('SIGKILL');
  while (isAlive(pid)) await sleep(10);
});

test('a shared library is found or not', () => {
  assert.equal(canLoad('libc.so.6'), true);
  assert.equal(canLoad('libno-such-library.so'), false);
});

/** False also for a process that has ended and nobody has waited for. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
