// The test suite: each file in a process of its own, several at once, and what each took. What fails does not
// keep the rest from being run; it is shown whole, and named at the end with the command that runs it alone.
// Arguments: checks (lint and types), unit, net, or several. The last line is the count: N passed, N failed,
// N skipped.
import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Bundle, bundle } from './bundle.ts';
import { findSuite, type TestFile } from './files.ts';
import { type Count, interruptJobs, type Job, runJob } from './job.ts';
import { TYPESCRIPT } from './programs.ts';
import { stubPackages, withoutPrivileges } from './unprivileged.ts';

const CORES = availableParallelism();
/** A third of the time of all is waiting, most of it in those that begin first. */
const UNIT_AT_ONCE = 5 * CORES;
/** Net tests wait more than they work. */
const NET_AT_ONCE = 2 * CORES;
const CHECKS: readonly Job[] = ['lint', 'typecheck'].map((name) => ({
  name,
  command: `npm run ${name}`,
  argv: ['npm', 'run', '--silent', name],
  isTest: false,
}));

/** Lines of the reporter; its own sums are left out. */
const TOLD =
  /^ *﹣.*#.*$|^ *ℹ (?!(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$).*$/gm;

const total: Count = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
let isInterrupted = false;
await main(process.argv.slice(2));

async function main(parts: readonly string[]): Promise<void> {
  process.chdir(fileURLToPath(new URL('../../', import.meta.url)));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      isInterrupted = true;
      interruptJobs();
    });
  }
  const suite = findSuite('.');
  if (parts.includes('checks')) await runAll('lint and types', CORES, CHECKS);
  if (parts.includes('unit')) {
    const stubs = stubPackages();
    const bundled = await bundle('.', [...new Set(suite.unit.map(({ path }) => path))]);
    const jobs = suite.unit.map((file) => withoutPrivileges(jobOf(file, bundled), stubs));
    await runAll('unit tests', UNIT_AT_ONCE, jobs, bundled.withSources);
    bundled.remove();
    rmSync(stubs, { recursive: true });
  }
  if (parts.includes('net')) {
    const jobsOf = (files: readonly TestFile[]) => files.map((file) => jobOf(file));
    await runAll('net tests', NET_AT_ONCE, jobsOf(suite.net));
    await runAll('net tests that run alone', 1, jobsOf(suite.alone));
  }
  if (failures.length > 0) console.log(['\nfailed:', ...failures].join('\n  '));
  if (isInterrupted) console.log('\ninterrupted: not all was run');
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = isInterrupted ? 130 : total.failed > 0 ? 1 : 0;
}

/** `tell`: how what a job printed is shown. */
async function runAll(
  what: string,
  atOnce: number,
  jobs: readonly Job[],
  tell = (output: string) => output,
): Promise<void> {
  console.log(`== ${what}: ${jobs.length} files, ${atOnce} at once`);
  const start = performance.now();
  const waiting = jobs.values();
  const takeTurns = async (): Promise<void> => {
    for (const job of waiting) if (!isInterrupted) await runOne(job, tell);
  };
  await Promise.all(Array.from({ length: atOnce }, takeTurns));
  console.log(`== ${what}: ${secondsSince(start)}`);
}

async function runOne(job: Job, tell: (output: string) => string): Promise<void> {
  const start = performance.now();
  const { passed, failed, skipped, output } = await runJob(job);
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  const count = [`${passed} passed`, failed > 0 && `${failed} failed`, skipped > 0 && `${skipped} skipped`];
  console.log(
    `${failed > 0 ? 'FAILED' : 'ok    '} ${secondsSince(start).padStart(8)}  ${job.name}: ${count.filter(Boolean).join(', ')}`,
  );
  if (failed > 0) {
    failures.push(job.command);
    console.log(tell(output).replace(/^/gm, '    | '));
  } else {
    // Skipped tests, with the reason behind a #, and what tests say of themselves, as how long something
    // took.
    for (const line of output.match(TOLD) ?? []) console.log(`    | ${line.trim()}`);
  }
}

function jobOf({ path, io }: TestFile, bundled?: Bundle): Job {
  const entry = bundled?.entryOf(path) ?? path;
  const argv = [process.execPath, ...TYPESCRIPT, '--test-reporter=spec', entry];
  const command = `bash test/run ${path}`;
  if (io === undefined) return { name: path, command, argv, isTest: true };
  const env = { UOA_TEST_IO: io };
  return { name: `${path} over ${io}`, command: `UOA_TEST_IO='${io}' ${command}`, argv, env, isTest: true };
}

function secondsSince(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}
