// Which test files there are and what each needs. A unit test runs anywhere: without root, without a network,
// with no more than npm's packages. All others are net tests. Which a file is follows from what it and its
// helpers say, so a new file needs no entry here; what says too little fails among the unit tests
// (unprivileged.ts).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/**
 * Said by a file that makes namespaces, mounts, loads BPF, compiles filters, changes cgroups, owners or
 * privileges, or runs a packaged program.
 */
const NEEDS_ROOT_OR_PACKAGES =
  /lab\/namespace\.ts'|\bnetns\b|sys\/libbpf\.ts'|receiver\/receiver\.ts'|io\/capture-program\.ts'|'mount'|\b(clang|unshare|setpriv|l?chownSync|promtool|python3|systemd-analyze|tcpdump|tshark|zsh)\b/;

/**
 * Net tests that run with nothing beside them, at the end: they fill rings and queues as fast as the machine
 * can, or change what the whole machine shares.
 */
const ALONE: Readonly<Record<string, string>> = {
  'test/bench/network.test.ts':
    'counts a load that it sends at a rate, and raises limits of the whole machine',
  'test/e2e/fast-path-flood.test.ts': 'floods as fast as the machine can',
  'test/e2e/flood.test.ts': 'floods as fast as the machine can',
  'test/e2e/large/host-size.test.ts': 'prints what takes how long',
  'test/e2e/large/large.test.ts': 'has a million sessions, and prints what takes how long',
  'test/sys/cpu-quota.test.ts': 'changes the root cgroup',
};

/**
 * Unit tests that take longest, in this order, most of them because they wait (for seconds that are
 * configured, or shown once a second): they begin first, so that the others run meanwhile and none of these
 * is left for the end.
 */
const LONG: readonly string[] = [
  'test/cli/top-json.test.ts',
  'test/config/watch.test.ts',
  'test/workers/workers.test.ts',
  'test/cli/top.test.ts',
  'test/cli/ctl-drain.test.ts',
  'test/admin/refusals.test.ts',
  'test/admin/hostile.test.ts',
  'test/health/exec.test.ts',
  'test/config/file.test.ts',
  'test/cli/printing.test.ts',
  'test/sys/debugger.test.ts',
  'test/control/drain.test.ts',
  'test/datapath/many-legs.test.ts',
  'test/service/scheduler.test.ts',
];

/**
 * Packet I/Os over which end-to-end tests run besides ring with one worker, which is the default of a small
 * machine.
 */
const OTHER_IO = ['{"mode":"ring","workers":2}', '{"mode":"pcap"}'];

/**
 * Those that depend on how packets are taken in, shared out and sent run over all of them; the others
 * (metrics, host, dialect opp) would only repeat what these show.
 */
const OVER_EVERY_IO = /\/(families|fragments|forwarding|forgery|edges|reload|accounting)\.test\.ts$/;

/**
 * The same with the fast path, at tc with two workers and at XDP with one: what concerns established
 * sessions. What each kind does while a session is hot is in the files fast-path-*.
 */
const FAST_IO = {
  tc: '{"mode":"ring","workers":2,"fastPath":"tc"}',
  xdp: '{"mode":"ring","workers":1,"fastPath":"xdp"}',
};
const OVER_TC = /\/(accounting|edges|families|forwarding|fragments|reload|restart|servers)\.test\.ts$/;
const OVER_XDP = /\/(accounting|forwarding|reload|servers)\.test\.ts$/;

export interface TestFile {
  path: string;
  /** For UOA_TEST_IO, where it is an end-to-end test. */
  io?: string;
}

export interface Suite {
  unit: TestFile[];
  /** In parallel. */
  net: TestFile[];
  alone: TestFile[];
}

/** All test files of the package in `root`; throws when ALONE or LONG names one that is not there. */
export function findSuite(root: string): Suite {
  const paths = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join('test', path))
    .sort();
  const suite: Suite = { unit: [], net: [], alone: [] };
  for (const path of paths) {
    const group = !isNetTest(root, path) ? suite.unit : path in ALONE ? suite.alone : suite.net;
    group.push(...variantsOf(path));
  }
  const isUnit = (path: string) => suite.unit.some((file) => file.path === path);
  const stale = [
    ...Object.keys(ALONE).filter((path) => !paths.includes(path)),
    ...LONG.filter((path) => !isUnit(path)),
  ];
  if (stale.length > 0) throw new Error(`test/suite/files.ts: there is no ${stale[0]}`);
  const turn = ({ path }: TestFile) => (LONG.includes(path) ? LONG.indexOf(path) : LONG.length);
  suite.unit.sort((a, b) => turn(a) - turn(b));
  return suite;
}

/** Whether the file, or a helper that it imports, says that it needs root or packages. */
export function isNetTest(root: string, path: string): boolean {
  const seen = new Set<string>();
  const needs = (file: string): boolean => {
    if (seen.has(file) || !existsSync(join(root, file))) return false;
    seen.add(file);
    const text = readFileSync(join(root, file), 'utf8');
    const imports = [...text.matchAll(/(?:from|import|import\() ?'(\.[^']+\.ts)'/g)]
      .map(([, to]) => normalize(join(dirname(file), to)))
      .filter((to) => /^(test|bench)\//.test(to));
    return NEEDS_ROOT_OR_PACKAGES.test(text) || imports.some(needs);
  };
  return needs(path);
}

function variantsOf(path: string): TestFile[] {
  if (!path.startsWith('test/e2e/')) return [{ path }];
  const ios = [
    '{"mode":"auto","workers":1}',
    ...(OVER_EVERY_IO.test(path) ? OTHER_IO : []),
    ...(OVER_TC.test(path) ? [FAST_IO.tc] : []),
    ...(OVER_XDP.test(path) ? [FAST_IO.xdp] : []),
  ];
  return ios.map((io) => ({ path, io }));
}
