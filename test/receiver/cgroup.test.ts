// What the receiver takes for a cgroup, and what it says of other things.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cgroupName, cgroupPath, ownCgroup } from '../../src/receiver/cgroup.ts';
import { makeCgroup } from '../e2e/receiver-rig.ts';

function mounted(t: TestContext, type: string, options = ''): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-mount-'));
  execFileSync('mount', ['-t', type, ...(options === '' ? [] : ['-o', options]), 'none', folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

test('a cgroup has one name, wherever it is mounted, and before it is made', (t) => {
  const path = makeCgroup(t);
  const there = join(mounted(t, 'cgroup2'), basename(path));
  assert.equal(cgroupPath(there), there);
  assert.equal(cgroupName(there), cgroupName(path));
  const name = cgroupName(join(path, 'below', 'it'));
  assert.equal(cgroupPath(join(path, 'below', 'it')), join(path, 'below', 'it'));
  assert.notEqual(name, cgroupName(path));
  mkdirSync(join(path, 'below'));
  assert.equal(cgroupName(join(path, 'below', 'it')), name);
  rmdirSync(join(path, 'below'));
});

test('one of version 1, and what is none, are refused with the way out', (t) => {
  const v1 = mounted(t, 'cgroup', 'none,name=uoa-test');
  assert.throws(() => cgroupPath(v1), {
    name: 'IoError',
    message: /is a cgroup of version 1, for which the kernel runs no such programs/,
    hint: /version 2 is mounted at \//,
  });
  assert.throws(() => cgroupPath('/tmp'), { message: '/tmp is no cgroup', hint: /is expected, or --self/ });
  assert.throws(() => cgroupPath('/nowhere/at/all'), { message: /there is no \/nowhere\/at\/all, nor is/ });
});

test('its own is found', () => {
  assert.equal(cgroupPath(ownCgroup()), ownCgroup());
});
