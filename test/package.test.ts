// What package.json and its lock file promise: native packages are optional, build with every Node that is
// supported, and come from whatever registry npm is set to. And what npm packs: all that is loaded.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

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

test('npm packs the BPF objects where the proxy looks for them, and docs that name libbpf', (t) => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'uoa-package-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const name of ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'src', 'docs', 'README.md'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  // Builds first, as at a release (prepare).
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--offline'], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [{ files }] = JSON.parse(said.slice(said.search(/^\[/m))) as [{ files: { path: string }[] }];
  const packed = new Set(files.map(({ path }) => path));
  const objects = readdirSync(join(root, 'src/bpf')).filter((name) => name.endsWith('.bpf.o'));
  assert.ok(objects.length > 0);
  for (const name of objects) {
    assert.ok(packed.has(`dist/bpf/${name}`), name);
    const [source, built] = ['src', 'dist'].map((from) => readFileSync(join(folder, from, 'bpf', name)));
    assert.ok(built.equals(source), name);
  }
  assert.ok(packed.has('dist/steer/kernel-steering.js'), 'which loads ../bpf/steering.bpf.o');
  assert.ok(packed.has('docs/operations.md'));
  assert.match(readFileSync(join(folder, 'docs/operations.md'), 'utf8'), /`libbpf1`/);
});
