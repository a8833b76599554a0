// CPU limits: of trees of files as the kernel shows them to a host, a container and a pod, and of a real
// cgroup.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { cpuQuota } from '../../src/sys/cpu-quota.ts';

interface Row {
  name: string;
  /** /proc/self/cgroup */
  cgroup: string;
  /** Below /sys/fs/cgroup. */
  files: Record<string, string>;
  quota: number | undefined;
}

const ROWS: Row[] = [
  { name: 'version 2, a container', cgroup: '0::/\n', files: { 'cpu.max': '150000 100000\n' }, quota: 1.5 },
  { name: 'version 2, no limit', cgroup: '0::/\n', files: { 'cpu.max': 'max 100000\n' }, quota: undefined },
  { name: 'version 2, another period', cgroup: '0::/\n', files: { 'cpu.max': '5000 50000\n' }, quota: 0.1 },
  {
    name: 'version 2, a service of the host',
    cgroup: '0::/system.slice/uoa-proxy.service\n',
    files: {
      'system.slice/cpu.max': 'max 100000\n',
      'system.slice/uoa-proxy.service/cpu.max': '200000 100000\n',
    },
    quota: 2,
  },
  {
    name: 'version 2, a limit of its slice that is narrower than its own',
    cgroup: '0::/game.slice/uoa-proxy.service\n',
    files: {
      'game.slice/cpu.max': '50000 100000\n',
      'game.slice/uoa-proxy.service/cpu.max': '200000 100000\n',
    },
    quota: 0.5,
  },
  {
    name: "version 2, another service's limit",
    cgroup: '0::/system.slice/uoa-proxy.service\n',
    files: { 'system.slice/other.service/cpu.max': '50000 100000\n' },
    quota: undefined,
  },
  {
    name: 'version 2, a container that sees the path of the host',
    cgroup: '0::/kubepods.slice/pod1/proxy\n',
    files: { 'cpu.max': '300000 100000\n' },
    quota: 3,
  },
  {
    name: 'version 2, a path outside of what it sees',
    cgroup: '0::/../other\n',
    files: { 'cpu.max': '300000 100000\n' },
    quota: 3,
  },
  {
    name: 'version 1, beside an empty version 2',
    cgroup: '3:cpuset:/\n2:cpu,cpuacct:/docker/a:b\n0::/\n',
    files: { 'cpu/docker/a:b/cpu.cfs_quota_us': '250000\n', 'cpu/docker/a:b/cpu.cfs_period_us': '100000\n' },
    quota: 2.5,
  },
  {
    name: 'version 1, no limit',
    cgroup: '1:cpu:/\n0::/\n',
    files: { 'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n' },
    quota: undefined,
  },
  { name: 'no cgroups', cgroup: '', files: {}, quota: undefined },
  { name: 'nothing mounted', cgroup: '1:cpu:/\n0::/\n', files: {}, quota: undefined },
];

for (const { name, cgroup, files, quota } of ROWS) {
  test(`${name}: ${quota ?? 'as many processors as there are'}`, (t) => {
    const root = mkdtempSync(join(tmpdir(), 'uoa-cgroup-'));
    t.after(() => rmSync(root, { recursive: true }));
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    write('proc/self/cgroup', cgroup);
    for (const [path, text] of Object.entries(files)) write(`sys/fs/cgroup/${path}`, text);
    assert.equal(cpuQuota(root), quota);
  });
}

/**
 * Runs a program in a new cgroup with a limit of one and a half processors, below one without. Exit code 77:
 * it cannot.
 */
const IN_CGROUP = `set -e
  mount -t tmpfs none /sys/fs/cgroup
  if [ "$1" = 1 ]; then
    top=/sys/fs/cgroup/cpu
    mkdir $top
    mount -t cgroup -o cpu none $top
  else
    top=/sys/fs/cgroup
    mount -t cgroup2 none $top
    grep -qw cpu $top/cgroup.subtree_control || exit 77
  fi
  mkdir $top/uoa-test-$$
  trap 'echo $$ >$top/cgroup.procs; rmdir $top/uoa-test-$$/limited $top/uoa-test-$$' EXIT
  [ "$1" = 1 ] || echo +cpu >$top/uoa-test-$$/cgroup.subtree_control
  limited=$top/uoa-test-$$/limited
  mkdir $limited
  if [ "$1" = 1 ]; then echo 150000 >$limited/cpu.cfs_quota_us; else echo '150000 100000' >$limited/cpu.max; fi
  echo $$ >$limited/cgroup.procs
  shift
  "$@"`;

test('the limit of a real cgroup is found by a process in it', (t) => {
  // With a number there the controller belongs to version 1.
  const [, hierarchy] = /^cpu\t(\d+)/m.exec(readFileSync('/proc/cgroups', 'utf8')) ?? [];
  const version = hierarchy === '0' ? '2' : '1';
  const module = new URL('../../src/sys/cpu-quota.ts', import.meta.url).href;
  const script = `import(${JSON.stringify(module)}).then(({ cpuQuota }) => console.log(cpuQuota()))`;
  const program = [process.execPath, '--import', 'tsx', '-e', script];
  const { status, stdout, stderr } = spawnSync(
    'unshare',
    ['--mount', 'bash', '-c', IN_CGROUP, 'bash', version, ...program],
    { encoding: 'utf8' },
  );
  if (status === 77)
    return t.skip('the root cgroup hands out no processor time here (cgroup.subtree_control)');
  assert.deepEqual([status, stdout.trim()], [0, '1.5'], stderr);
});
