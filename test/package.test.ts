// What package.json and its lock file promise: native packages are optional, build with every Node that is
// supported, and come from whatever registry npm is set to.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), 'utf8'));
const { dependencies, optionalDependencies } = read('package.json') as Record<string, Record<string, string>>;
const { packages } = read('package-lock.json') as {
  packages: Record<string, { version?: string; resolved?: string; optional?: true }>;
};

test('the packages of packet I/O pcap are optional', () => {
  for (const name of ['cap', 'raw-socket']) {
    assert.ok(name in optionalDependencies);
    assert.ok(!(name in dependencies));
    assert.equal(packages[`node_modules/${name}`].optional, true);
  }
});

test('they are compiled with one nan, whose headers Node 24 takes', () => {
  const all = Object.keys(packages).filter((path) => path.endsWith('/nan'));
  assert.deepEqual(all, ['node_modules/nan']);
  const [major, minor] = packages['node_modules/nan'].version!.split('.').map(Number);
  assert.ok(major === 2 && minor >= 30, 'nan 2.30 or newer');
});

test('the lock file names no registry', () => {
  for (const [path, { resolved }] of Object.entries(packages)) assert.equal(resolved, undefined, path);
});
