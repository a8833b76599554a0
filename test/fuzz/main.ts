// npm run fuzz: replays the corpus, then searches for as long as it is told.
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openFastPath, unseen } from './fast-path.ts';
import { CORPUS, corpus, fromJson, type Input, toJson } from './input.ts';
import { minimized, withoutIdleSteps } from './minimize.ts';
import { describeFailure } from './report.ts';
import { attempt, type Failure, type Run, Search } from './search.ts';
import { runInput, Violation } from './sequence.ts';

const HELP = `npm run fuzz -- [SECONDS] [--seed N] [--update]
npm run fuzz -- --replay FILE
npm run fuzz -- --fast-path ..

Sends sequences of valid, forged and broken packets through two datapaths at once and judges every outcome: nothing throws,
nothing outside the packet is read or written, what is sent is well-formed and tells nobody but the real server, and that
only the true address of its session, and everything kept is given back. Starts with the inputs of test/fuzz/corpus.

  SECONDS        how long to search, default 60
  --seed N       where to begin; the same seed draws the same inputs. Default: the time
  --update       keep in the corpus what failed, and the shortest input for each verdict and counter that it does not reach yet
  --replay FILE  judge one input and show what happens
  --fast-path    compare a datapath alone with one behind the fast path's programs (as root): what leaves must be the same,
                 and what they can do must all have been seen
  --help         this

Exit code 1 when a property does not hold, or not all was seen; the input is then minimized, shown, and written to a file to replay.`;

const BATCH = 4;
const PROGRESS_MS = 10_000;
const DISTINCT_FAILURES_MAX = 8;

process.exitCode = main();

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: 'string' },
      update: { type: 'boolean', default: false },
      replay: { type: 'string' },
      'fast-path': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const seconds = Number(positionals[0] ?? 60);
  const seed = Number(values.seed ?? Math.floor(Date.now() / 1000) % 1_000_000);
  if (values.help || !(seconds > 0) || !Number.isSafeInteger(seed)) {
    console.log(HELP);
    return values.help ? 0 : 2;
  }
  // What it opens goes with the process.
  const isFast = values['fast-path'];
  const run = isFast ? openFastPath({ after: () => {} }) : runInput;
  if (values.replay !== undefined) return replay(fromJson(readFileSync(values.replay, 'utf8')), run);
  return search(seconds, seed, values.update, run, isFast ? unseen : () => []);
}

function replay(input: Input, run: Run): number {
  const reached = attempt(input, run);
  if (reached instanceof Violation) {
    console.log(describeFailure({ input, violation: reached }));
    return 1;
  }
  console.log(`Every property holds. Verdicts: ${verdictTable(reached.verdicts)}`);
  return 0;
}

function search(
  seconds: number,
  seed: number,
  isUpdated: boolean,
  run: Run,
  unseenIn: typeof unseen,
): number {
  const began = performance.now();
  const elapsedMs = () => performance.now() - began;
  const found = new Search(seed, run);
  const failures = new Map<string, Failure>();
  const note = (failure: Failure) => {
    const kind = kindOf(failure.violation);
    if (!failures.has(kind)) failures.set(kind, failure);
  };
  for (const [name, input] of corpus()) {
    const failure = found.judge(input);
    if (failure) console.log(`${name} fails again: ${kindOf(failure.violation)}`);
    if (failure) note(failure);
  }
  const kept = new Set(found.features.keys());
  console.log(
    `Corpus: ${found.inputs} inputs, ${found.packets} packets. Searching ${seconds} s from seed ${seed}.`,
  );
  for (let shown = 0; elapsedMs() < seconds * 1000 && failures.size < DISTINCT_FAILURES_MAX; ) {
    for (const failure of found.run(BATCH)) note(failure);
    if (elapsedMs() - shown < PROGRESS_MS) continue;
    shown = elapsedMs();
    console.log(summary(found, shown, failures.size));
  }
  console.log(`\nVerdicts: ${verdictTable(found.verdicts)}\n${summary(found, elapsedMs(), failures.size)}`);
  for (const failure of failures.values()) showFailure(failure, isUpdated, run);
  if (isUpdated) keepFeatures(found, kept, run);
  if (failures.size === 0) console.log('Every property held.');
  const missing = unseenIn(found.verdicts);
  if (missing.length > 0) console.log(`Never seen, so not tested: ${missing.join(', ')}`);
  return failures.size === 0 && missing.length === 0 ? 0 : 1;
}

function summary({ inputs, packets, signatures, verdicts }: Search, ms: number, failures: number): string {
  const seconds = ms / 1000;
  return (
    `${seconds.toFixed(0)} s: ${inputs} inputs (${(inputs / seconds).toFixed(0)}/s), ` +
    `${packets} packets (${(packets / seconds).toFixed(0)}/s), ${verdicts.size} verdicts, ` +
    `${signatures.size} signatures, ${failures} failures`
  );
}

function verdictTable(verdicts: ReadonlyMap<string, number>): string {
  return [...verdicts]
    .sort(([, one], [, other]) => other - one)
    .map(([verdict, times]) => `\n  ${String(times).padStart(9)}  ${verdict}`)
    .join('');
}

/** The same property at the same place: the numbers and bytes in its message differ from input to input. */
function kindOf({ message }: Violation): string {
  return (message.split('\n')[0] ?? '').replace(/\b[0-9a-f]*\d[0-9a-f]*\b/g, '#');
}

function showFailure({ input, violation }: Failure, isKept: boolean, run: Run): void {
  const kind = kindOf(violation);
  const small = minimized(input, (candidate) => {
    const reached = attempt(candidate, run);
    return reached instanceof Violation && kindOf(reached) === kind;
  });
  const again = attempt(small, run);
  const failure = again instanceof Violation ? { input: small, violation: again } : { input, violation };
  const name = `failed-${fileName(kind)}.json`;
  const path = isKept ? CORPUS + name : join(mkdtempSync(join(tmpdir(), 'uoa-fuzz-')), name);
  writeFileSync(path, toJson(failure.input));
  console.log(`\n${describeFailure(failure)}\nTo repeat it: npm run fuzz -- --replay ${path}`);
}

/** Adds to the corpus what reaches verdicts and counters that the corpus did not. */
function keepFeatures(found: Search, kept: Set<string>, run: Run): void {
  for (const [feature, input] of found.features) {
    if (kept.has(feature)) continue;
    const small = withoutIdleSteps(input, (candidate) => {
      const reached = attempt(candidate, run);
      return !(reached instanceof Violation) && reached.features.has(feature);
    });
    const reached = attempt(small, run);
    if (!(reached instanceof Violation)) for (const one of reached.features) kept.add(one);
    const path = `${CORPUS}reaches-${fileName(feature)}.json`;
    writeFileSync(path, toJson(small));
    console.log(`kept ${path}`);
  }
}

function fileName(text: string): string {
  return text
    .replace(/[^a-z0-9]+/gi, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 60);
}
