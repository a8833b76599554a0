// One datapath process: how it is forked, asked and ended (workers.ts).
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { environmentWithoutDebugger, withoutDebugger } from './sys/debugger.ts';
import type { DrainRequest, FromWorker, ReplanRequest, ToWorker } from './worker-protocol.ts';

/** How long a datapath process may take to end by itself. */
const STOP_TIMEOUT_MS = 2000;

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

export const ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker-main.ts' : './worker-main.js', import.meta.url),
);

/** `fds` are passed on as descriptors 4, 5 ..., see MEMORY_FD. */
export function launch(fds: readonly number[], entry: string): ChildProcess {
  const child = fork(entry, [String(process.pid)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc', ...fds],
    serialization: 'advanced', // programs are bytes
    execArgv: [...withoutDebugger(process.execArgv), ...V8_OPTIONS],
    env: environmentWithoutDebugger(process.env),
  });
  child.on('error', () => {}); // whoever waits for it listens, too
  return child;
}

/**
 * Resolves when the worker has it; also, with nothing, when it ends, because its successor starts with it.
 */
export async function ask(
  child: ChildProcess,
  message: ReplanRequest | DrainRequest,
  timeoutMs: number,
): Promise<FromWorker | undefined> {
  const timeout = AbortSignal.timeout(timeoutMs);
  return await new Promise<FromWorker | undefined>((resolve, reject) => {
    const onMessage = (answer: FromWorker) => {
      if (!('request' in answer) || answer.request !== message.request) return;
      if (answer.kind === 'failed') done(new WorkerError(answer.message, answer.hint));
      else done(undefined, answer);
    };
    const onExit = () => done();
    const onTimeout = () => done(new WorkerError('a datapath process does not answer'));
    const done = (error?: Error, answer?: FromWorker) => {
      child.off('message', onMessage).off('exit', onExit);
      timeout.removeEventListener('abort', onTimeout);
      if (error === undefined) resolve(answer);
      else reject(error);
    };
    child.on('message', onMessage).on('exit', onExit);
    timeout.addEventListener('abort', onTimeout);
    child.send(message);
  });
}

export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const stop: ToWorker = { kind: 'stop' };
  child.send(stop, () => {});
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}
