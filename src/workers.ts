// The datapath processes: forks one per worker, passes each its memory and its packet I/O, and starts one
// that ends by itself again. Its successor finds both as they were, so sessions, their lports and packets
// that wait outlive it; the other workers go on.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { environmentWithoutDebugger, withoutDebugger } from './sys/debugger.ts';
import {
  changeBetween,
  type FromWorker,
  type ReplanRequest,
  type ToWorker,
  type WorkerReplan,
  type WorkerStart,
} from './worker-protocol.ts';

/** How long a datapath process may take to start: the records of millions of sessions are a few seconds. */
const START_TIMEOUT_MS = 120_000;
/** How long a datapath process may take to end by itself. */
const STOP_TIMEOUT_MS = 2000;
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

/** A worker cannot start; `hint` says what the operator can do, where the worker said itself why. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  readonly hint: string;
  /** What ended it while it started. */
  readonly signal: string | null;

  constructor(message: string, hint = '', signal: string | null = null) {
    super(message);
    this.hint = hint;
    this.signal = signal;
  }
}

const V8_OPTIONS = [
  // An idle V8 collects all garbage again and again to give memory back: for a heap of 20 MB it takes a
  // hundredth of a processor in the first minutes, and the packets that come then wait for it.
  '--no-memory-reducer',
  // The way of a packet is many small functions. With V8's own limits (460 and 920 bytes) it stops to inline
  // them halfway: 7 % fewer packets per second. With much higher ones it takes a third of a second to compile
  // them anew, on the processor that packets wait for.
  '--max-inlined-bytecode-size=700',
  '--max-inlined-bytecode-size-cumulative=1500',
];

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
  #nextRequest = 1;
  /** What each process goes by, and by which request. */
  readonly #known = new WeakMap<ChildProcess, { request: number; replan: WorkerReplan | undefined }>();
  /** Or given up: none is started any more. */
  #stopping = false;
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

  /** Resolves when none runs, nor starts. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const all = [...this.#children, ...this.#starting];
    await Promise.all(all.map((child) => child && stopChild(child)));
  }

  #launch(spec: WorkerSpec, index: number): ChildProcess {
    const child = launch(spec, this.#entry);
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
      await this.#untilReady(child, spec.start);
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

  async #untilReady(child: ChildProcess, start: ToWorker): Promise<void> {
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
      child.on('message', (answer: FromWorker) => {
        if (answer.kind === 'ready') resolve();
        else if (answer.kind === 'warning') this.#log.warn(answer.message);
        else if (answer.kind === 'info') this.#log.info(answer.message);
        else if (answer.kind === 'failed') reject(new WorkerError(answer.message, answer.hint));
      });
      if (child.pid !== undefined) child.send(start);
    });
  }

  async #restart(index: number, code: number | null, signal: string | null): Promise<void> {
    const fields = { worker: index, code, signal };
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
      if (this.#stopping) return;
      this.#restarts[index]++;
      try {
        await this.#startOne(index);
        this.#refused[index] = false;
        this.#log.info({ worker: index }, 'the datapath process forwards again');
        return;
      } catch (error) {
        if (this.#stopping) return;
        const { message, hint = '' } = error as WorkerError;
        this.#refused[index] = hint !== '';
        what = hint === '' ? message : `the datapath process cannot go on: ${message} (${hint})`;
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

const ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker-main.ts' : './worker-main.js', import.meta.url),
);

function launch({ fds }: WorkerSpec, entry: string): ChildProcess {
  const child = fork(entry, [String(process.pid)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', ...fds],
    serialization: 'advanced', // programs are bytes
    execArgv: [...withoutDebugger(process.execArgv), ...V8_OPTIONS],
    env: environmentWithoutDebugger(process.env),
  });
  child.on('error', () => {}); // whoever waits for it listens, too
  return child;
}

/** Resolves when the worker has it; also when it ends, because its successor starts with it. */
async function ask(child: ChildProcess, message: ReplanRequest, timeoutMs: number): Promise<void> {
  const timeout = AbortSignal.timeout(timeoutMs);
  await new Promise<void>((resolve, reject) => {
    const onMessage = (answer: FromWorker) => {
      if (!('request' in answer) || answer.request !== message.request) return;
      if (answer.kind === 'planned') done();
      else done(new WorkerError(answer.message, answer.hint));
    };
    const onExit = () => done();
    const onTimeout = () => done(new WorkerError('a datapath process does not answer'));
    const done = (error?: Error) => {
      child.off('message', onMessage).off('exit', onExit);
      timeout.removeEventListener('abort', onTimeout);
      if (error === undefined) resolve();
      else reject(error);
    };
    child.on('message', onMessage).on('exit', onExit);
    timeout.addEventListener('abort', onTimeout);
    child.send(message);
  });
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const stop: ToWorker = { kind: 'stop' };
  child.send(stop, () => {});
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}
