// Folders in a bpffs, of proxies that start and end at the same time.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isBpffs } from '../../src/fast/pins.ts';
import { TYPESCRIPT } from '../suite/programs.ts';
import { mountBpffs, pinnedIn } from '../sys/bpffs.ts';

const run = promisify(execFile);
const PROGRAM = fileURLToPath(new URL('./pins-program.ts', import.meta.url));
const TIMES = 3_000;

test('who starts while another one ends, and removes what is empty, gets its folder', async (t) => {
  const bpffs = mountBpffs(t);
  const ofProxy = async (name: string) => {
    const { stdout } = await run(process.execPath, [...TYPESCRIPT, PROGRAM, bpffs, name, String(TIMES)]);
    return Number(stdout);
  };
  assert.deepEqual(await Promise.all(['one', 'another', 'third'].map(ofProxy)), [TIMES, TIMES, TIMES]);
  assert.deepEqual(pinnedIn(bpffs), []);
});

test('what a process may not look at is no bpffs, and no error', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-pins-'));
  t.after(() => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o700);
  process.seteuid!(65_534);
  try {
    assert.equal(isBpffs(join(folder, 'uoa-proxy')), false);
  } finally {
    process.seteuid!(0);
  }
});
