// The search: inputs from nothing and inputs changed from those that reached something new, each judged. What
// a search of one seed and number of inputs does is always the same.
import fc from 'fast-check';
import { changedFrom, fresh } from './draw.ts';
import type { Input } from './input.ts';
import { type Reached, runInput, Violation } from './sequence.ts';

const POOL_MAX = 400;

/** Throws a Violation. */
export type Run = (input: Input) => Reached;

export interface Failure {
  input: Input;
  violation: Violation;
}

export class Search {
  readonly verdicts = new Map<string, number>();
  readonly signatures = new Set<string>();
  /** Verdicts and counters -> the first input that reached them. */
  readonly features = new Map<string, Input>();
  inputs = 0;
  packets = 0;
  readonly #pool: Input[] = [];
  readonly #seed: number;
  readonly #run: Run;
  #batch = 0;

  /** What `run` says of inputs: whether the datapath holds every property, where it is not given. */
  constructor(seed: number, run: Run = runInput) {
    this.#seed = seed;
    this.#run = run;
  }

  /** Judges an input that is given; the failure, if it is one. */
  judge(input: Input): Failure | undefined {
    this.inputs++;
    const reached = attempt(input, this.#run);
    if (reached instanceof Violation) return { input, violation: reached };
    this.#note(input, reached);
    return undefined;
  }

  /** Draws and judges `count` inputs. */
  *run(count: number): Generator<Failure> {
    const seed = this.#seed * 100_003 + this.#batch++;
    const isFresh = this.#pool.length === 0 || this.#batch % 2 === 1;
    const drawn = isFresh ? fresh : changedFrom(this.#pool);
    for (const input of fc.sample(drawn, { numRuns: count, seed })) {
      const failure = this.judge(input);
      if (failure) yield failure;
    }
  }

  #note(input: Input, { verdicts, signatures, features, packets }: Reached): void {
    this.packets += packets;
    for (const [verdict, times] of verdicts)
      this.verdicts.set(verdict, (this.verdicts.get(verdict) ?? 0) + times);
    const known = this.signatures.size;
    for (const signature of signatures) this.signatures.add(signature);
    for (const feature of features) if (!this.features.has(feature)) this.features.set(feature, input);
    if (this.signatures.size === known) return;
    if (this.#pool.length < POOL_MAX) this.#pool.push(input);
    else this.#pool[this.inputs % POOL_MAX] = input;
  }
}

/** What an input reaches, or the property that it breaks. */
export function attempt(input: Input, run: Run = runInput): Reached | Violation {
  try {
    return run(input);
  } catch (error) {
    if (error instanceof Violation) return error;
    throw error;
  }
}
