// The datapath processes: forks one per worker, passes each its memory and its packet I/O, and starts one
// that ends by itself again. Its successor finds both as they were, so sessions, their lports and packets
// that wait outlive it; the other workers go on.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ask, ENTRY, launch, stopChild, WorkerError } from './worker-process.ts';
import {
  changeBetween,
  type DealtWithByPort,
  type DrainStep,
  type FromWorker,
  type ReplanRequest,
  type ToWorker,
  type WorkerReplan,
  type WorkerStart,
} from './worker-protocol.ts';

/** How long a datapath process may take to start: the records of millions of sessions are a few seconds. */
const START_TIMEOUT_MS = 120_000;
/**
 * How long one that ended waits for its successor, by how often it ended within ENDS_WITHIN_MS; longer ago
 * does not count.
 */
const DELAYS_MS = [0, 200, 1000, 5000];
const ENDS_WITHIN_MS = 60_000;
/** When no worker runs, and each ended so many times, the proxy ends. */
const ENDS_MAX = 5;
/** A worker that is busy looks at its messages every 20 ms. */
const REPLAN_TIMEOUT_MS = 10_000;
/**
 * How often the start tries one that a signal ended before it could ignore it: Node needs a moment for that.
 */
const STARTS_MAX = 3;

export interface WorkerSpec {
  start: WorkerStart;
  /** Passed on as descriptors 4, 5 ..., see MEMORY_FD. */
  fds: readonly number[];
}

export interface WorkersOptions {
  /** The program of a worker. */
  entry?: string;
  replanTimeoutMs?: number;
}

export class Workers {
  readonly #entry: string;
  readonly #replanTimeoutMs: number;
  readonly #specs: WorkerSpec[];
  readonly #restarts: number[];
  readonly #log: Logger;
  readonly #children: (ChildProcess | undefined)[];
  /** When each ended, of late. */
  readonly #ends: number[][];
  /** The successor of one that ended said that it cannot work. */
  readonly #refused: boolean[];
  /** Processes that load their code, wait to be told what to do, or do not forward yet, by worker. */
  readonly #starting: (ChildProcess | undefined)[];
  /** Those of them that wait to be told more. */
  readonly #waiting: (ChildProcess | undefined)[] = [];
  #nextRequest = 1;
  /** What each process goes by, and by which request. */
  readonly #known = new WeakMap<ChildProcess, { request: number; replan: WorkerReplan | undefined }>();
  /** Or given up: none is started any more. */
  #stopping = false;
  /** Those that ended do not start again until it resolves. */
  #held = Promise.resolve();
  #release: () => void = () => {};
  /** Starts of such that are under way. */
  readonly #restarting = new Set<Promise<void>>();
  /** How often all were ended for another process: a start that waited since before is not made any more. */
  #timesAside = 0;
  #giveUp: (exitCode: number) => void = () => {};
  /** Resolves with an exit code when none can be kept alive. */
  readonly ended = new Promise<number>((resolve) => {
    this.#giveUp = resolve;
  });

  constructor(
    specs: readonly WorkerSpec[],
    log: Logger,
    { entry = ENTRY, replanTimeoutMs = REPLAN_TIMEOUT_MS }: WorkersOptions = {},
  ) {
    this.#entry = entry;
    this.#replanTimeoutMs = replanTimeoutMs;
    this.#specs = [...specs];
    this.#restarts = specs.map(() => 0);
    this.#ends = specs.map(() => []);
    this.#refused = specs.map(() => false);
    this.#log = log;
    this.#children = specs.map(() => undefined);
    this.#starting = specs.map(() => undefined);
  }

  /**
   * Starts the processes, which open and change nothing before `start`: so their code is loaded meanwhile.
   */
  launch(): void {
    for (const [index, spec] of this.#specs.entries()) this.#starting[index] = this.#launch(spec, index);
  }

  /** Resolves when all forward packets. Rejects with a WorkerError; then `stop` ends those that run. */
  async start(): Promise<void> {
    await Promise.all(this.#specs.map((_, index) => this.#startFirst(index)));
  }

  /** Numbers of the workers that do not run at the moment. */
  get missing(): number[] {
    return [...this.#children.keys()].filter((index) => this.#children[index] === undefined);
  }

  /** By worker. */
  get pids(): (number | undefined)[] {
    return this.#children.map((child) => child?.pid);
  }

  /** Ends one that hangs, also where it is stopped; it is started again like one that ended by itself. */
  kill(index: number): void {
    this.#children[index]?.kill('SIGKILL');
  }

  /** How often each was started again. */
  get restarts(): readonly number[] {
    return this.#restarts;
  }

  /**
   * All of them, and whoever takes their place, go on by another plan. Rejects with a WorkerError when one
   * cannot; the others may have it then.
   */
  async replan(plans: readonly WorkerReplan[]): Promise<void> {
    const replanned = plans.map((plan, index) => {
      const spec = this.#specs[index];
      this.#specs[index] = { ...spec, start: { ...spec.start, ...plan } };
      const child = this.#children[index];
      return child === undefined ? undefined : this.#ask(child, plan);
    });
    await Promise.all(replanned);
  }

  /**
   * Before `start`: has them make all ready, and resolves when they wait for `adopt`. Rejects as `start`.
   */
  async prepare(): Promise<void> {
    await Promise.all(
      this.#specs.map(async (spec, index) => {
        const child = this.#starting[index] ?? this.#launch(spec, index);
        this.#starting[index] = child;
        await this.#untilIs('waiting', child, { ...spec.start, isWaiting: true });
        this.#waiting[index] = child;
      }),
    );
  }

  /**
   * Then: their sessions are in the memory, and these packets, by port, are not theirs (PacketIo.leaveOut).
   * Resolves when they wait for `start`, and rejects as that.
   */
  async adopt(dealtWith: DealtWithByPort): Promise<void> {
    await Promise.all(
      this.#waiting.map(async (child) => {
        if (child !== undefined) await this.#untilIs('waiting', child, { kind: 'adopt', dealtWith });
      }),
    );
  }

  /** No session becomes hot meanwhile, and none starts again. Rejects with a WorkerError. */
  async hold(isHeld: boolean): Promise<void> {
    this.#release();
    if (isHeld) {
      this.#held = new Promise((resolve) => {
        this.#release = resolve;
      });
      // One that starts could forward before it is asked.
      await Promise.allSettled(this.#restarting);
    }
    await this.#askAll({ kind: 'hold', isHeld });
  }

  /**
   * Behind `hold`: all work off what came in and end, and none is started again, until `resume`: for another
   * process to go on. Returns what each has dealt with, see PacketIo.leave. Rejects with a WorkerError.
   */
  async stepAside(sinceUs: number): Promise<readonly DealtWithByPort[]> {
    this.#stopping = true;
    this.#timesAside++;
    this.#release();
    // One may hand over to another what that one has not seen yet.
    await this.#askAll({ kind: 'drain' });
    const answers = await this.#askAll({ kind: 'leave', sinceUs });
    return answers.flatMap((answer) => (answer?.kind === 'drained' ? [answer.dealtWith] : []));
  }

  async #askAll(step: DrainStep): Promise<(FromWorker | undefined)[]> {
    const all = this.#children.filter((child) => child !== undefined);
    return await Promise.all(
      all.map((child) => ask(child, { ...step, request: this.#nextRequest++ }, this.#replanTimeoutMs)),
    );
  }

  /** Those that ended start again; see `adopt`. Rejects with a WorkerError. */
  async resume(dealtWith: DealtWithByPort): Promise<void> {
    await Promise.all(this.#children.map((child) => child && stopChild(child)));
    this.#stopping = false;
    await this.prepare();
    await this.adopt(dealtWith);
    await this.start();
  }

  /** Resolves when none runs, nor starts. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const all = [...this.#children, ...this.#starting];
    await Promise.all(all.map((child) => child && stopChild(child)));
  }

  #launch(spec: WorkerSpec, index: number): ChildProcess {
    const child = launch(spec.fds, this.#entry);
    // Only what ends it prints: it must not wait there for who reads this process's own output.
    child.stderr?.on('data', (printed: Buffer) =>
      this.#log.error({ worker: index, printed: printed.toString() }, 'the datapath process printed'),
    );
    return child;
  }

  async #startFirst(index: number): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#startOne(index);
        return;
      } catch (error) {
        const { signal, message } = error as WorkerError;
        if (!signal || tries === STARTS_MAX || this.#stopping) throw error;
        this.#log.warn({ worker: index, signal }, `${message}: starting it once more`);
      }
    }
  }

  async #startOne(index: number): Promise<void> {
    const spec = this.#specs[index];
    const child = this.#starting[index] ?? this.#launch(spec, index);
    this.#starting[index] = child;
    try {
      const isWaiting = this.#waiting[index] === child;
      this.#waiting[index] = undefined;
      const message: ToWorker = isWaiting ? { kind: 'go' } : spec.start;
      await this.#untilIs('ready', child, message);
      this.#known.set(child, { request: 0, replan: spec.start });
      for (let known = spec; known !== this.#specs[index]; ) {
        known = this.#specs[index]; // it changed meanwhile
        await this.#ask(child, known.start);
      }
    } catch (error) {
      await stopChild(child);
      throw error;
    } finally {
      this.#starting[index] = undefined;
    }
    this.#children[index] = child;
    if (this.#stopping) await stopChild(child);
    const onExit = (code: number | null, signal: string | null) => {
      this.#children[index] = undefined;
      if (!this.#stopping) void this.#restart(index, code, signal);
    };
    if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode);
    else child.once('exit', onExit);
  }

  async #untilIs(kind: 'ready' | 'waiting', child: ChildProcess, message: ToWorker): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const { exitCode, signalCode } = child;
      const failed = (code: number | null, signal: string | null) =>
        reject(
          new WorkerError(
            `the datapath process ended while it started (${signal ?? `exit code ${code}`})`,
            '',
            signal,
          ),
        );
      if (exitCode !== null || signalCode !== null) failed(exitCode, signalCode);
      // Emitted when it cannot be forked, and later when a message cannot reach it, which `exit` tells
      // better.
      child.on('error', (error) =>
        reject(new WorkerError(`the datapath process cannot be started: ${error.message}`)),
      );
      child.once('exit', failed);
      const late = `the datapath process did not start within ${START_TIMEOUT_MS / 1000} s`;
      setTimeout(() => reject(new WorkerError(late)), START_TIMEOUT_MS).unref();
      const onMessage = (answer: FromWorker) => {
        if (answer.kind === kind) {
          if (kind === 'waiting') child.off('message', onMessage);
          resolve();
        } else if (answer.kind === 'warning') this.#log.warn(answer.message);
        else if (answer.kind === 'info') this.#log.info(answer.message);
        else if (answer.kind === 'failed') reject(new WorkerError(answer.message, answer.hint));
      };
      child.on('message', onMessage);
      if (child.pid !== undefined) child.send(message);
    });
  }

  async #restart(index: number, code: number | null, signal: string | null): Promise<void> {
    const fields = { worker: index, code, signal };
    const timesAside = this.#timesAside;
    for (let what = 'the datapath process ended'; ; ) {
      const ends = this.#noteEnd(index);
      if (this.#isHopeless()) {
        this.#stopping = true;
        const count = this.#refused[index] ? '' : `, the ${ends}th time within a minute`;
        const others = this.#specs.length === 1 ? '' : ', and no other runs';
        this.#log.fatal(fields, `${what}${count}${others}: giving up`);
        this.#giveUp(1);
        return;
      }
      const delayMs = DELAYS_MS[Math.min(ends, DELAYS_MS.length) - 1];
      const when = delayMs === 0 ? '' : ` in ${delayMs / 1000} s`;
      this.#log.error(fields, `${what}: starting it again${when}, its sessions go on`);
      await sleep(delayMs, undefined, { ref: false });
      await this.#held;
      if (this.#stopping || timesAside !== this.#timesAside) return;
      this.#restarts[index]++;
      const restarting = this.#startOne(index);
      this.#restarting.add(restarting);
      try {
        await restarting;
        this.#refused[index] = false;
        this.#log.info({ worker: index }, 'the datapath process forwards again');
        return;
      } catch (error) {
        if (this.#stopping) return;
        const { message, hint = '' } = error as WorkerError;
        this.#refused[index] = hint !== '';
        what = hint === '' ? message : `the datapath process cannot go on: ${message} (${hint})`;
      } finally {
        this.#restarting.delete(restarting);
      }
    }
  }

  async #ask(child: ChildProcess, { plan, io, steering }: WorkerReplan): Promise<void> {
    const replan = { plan, io, steering };
    const request = this.#nextRequest++;
    const message: ReplanRequest = {
      kind: 'replan',
      request,
      ...changeBetween(this.#known.get(child)?.replan, replan),
    };
    // Until it answers, and where it does not, nobody knows what it goes by.
    this.#known.set(child, { request, replan: undefined });
    await ask(child, message, this.#replanTimeoutMs);
    if (this.#known.get(child)?.request === request) this.#known.set(child, { request, replan });
  }

  /** Returns how often it ended of late. */
  #noteEnd(index: number): number {
    const now = performance.now();
    const recent = this.#ends[index].filter((end) => now - end < ENDS_WITHIN_MS);
    this.#ends[index] = recent;
    return recent.push(now);
  }

  /** None runs, and none will: a client that can end one worker shall not end the others. */
  #isHopeless(): boolean {
    return this.#ends.every(
      ({ length }, index) =>
        this.#children[index] === undefined && (this.#refused[index] || length >= ENDS_MAX),
    );
  }
}
