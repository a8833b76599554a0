// What a unit test is run with: no capability, also for root, and no program of a Debian package. So a test
// that needs them and is taken for a unit test fails, on every machine.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Job } from './job.ts';

/** Programs of those packages that .ci/setup installs. */
const PACKAGED_PROGRAMS = [
  'clang-14',
  'g++',
  'ip',
  'llvm-strip-14',
  'make',
  'nft',
  'nginx',
  'ping',
  'promtool',
  'ps',
  'python3',
  'systemd-analyze',
  'tcpdump',
  'tshark',
  'zsh',
];
const DROP_ALL = ['setpriv', '--bounding-set=-all', '--inh-caps=-all', '--ambient-caps=-all'];

/**
 * Makes a folder with programs of these names that only complain. Returns its path; whoever asks removes it.
 */
export function stubPackages(): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-tests-'));
  for (const name of PACKAGED_PROGRAMS) {
    const complaint = `${name}: not for unit tests: test/suite/files.ts says what makes a test a net test`;
    writeFileSync(join(folder, name), `#!/bin/sh\necho '${complaint}' >&2\nexit 127\n`, { mode: 0o755 });
  }
  return folder;
}

/** The same job, with the stubs ahead of the programs. */
export function withoutPrivileges(job: Job, stubs: string): Job {
  const drop = process.getuid?.() === 0 ? DROP_ALL : [];
  return { ...job, argv: [...drop, ...job.argv], env: { ...job.env, PATH: `${stubs}:${process.env.PATH}` } };
}
