// Starts the lab's programs in their namespaces: the proxy through its own command line, clients and real
// servers from this folder, compiled or from source like the file that asks.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClientOptions } from './client.ts';
import type { ServerOptions } from './real-server.ts';
import type { Role, Topology } from './topology.ts';

export const ADMIN = '127.0.0.1:9464';
/** A million sessions go on within some seconds, on a machine that has time. */
const READY_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 60_000;

/** The argv that runs a .js or .ts entry with this Node. */
export function nodeArgv(entry: string, ...rest: string[]): string[] {
  // By its address, because `--import tsx` would be looked up from the working directory.
  const loader = entry.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : [];
  return [process.execPath, ...loader, entry, ...rest];
}

function labEntry(name: string): string {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`./${name}.${ending}`, import.meta.url));
}

/** Standard input is a pipe: the program ends when it closes, also because this process died. */
export function startClient(topology: Topology, options: ClientOptions): ChildProcess {
  return startProgram(topology, 'client', 'client', options);
}

export function startRealServer(topology: Topology, options: ServerOptions): ChildProcess {
  return startProgram(topology, 'rs', 'real-server', options);
}

function startProgram(topology: Topology, role: Role, name: string, options: object): ChildProcess {
  const argv = nodeArgv(labEntry(name), JSON.stringify(options));
  return topology.spawn(role, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
}

/**
 * Closes a program's standard input and waits until it has ended; kills it when it does not. Returns its exit
 * code.
 */
export async function endProgram(child: ChildProcess): Promise<number | null> {
  child.stdin?.end();
  return await ended(child);
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
    await once(child, 'exit');
    clearTimeout(timer);
  }
  return child.exitCode;
}

/** A running `uoa-proxy run`. */
export class ProxyProcess {
  readonly child: ChildProcess;
  readonly #topology: Topology;
  readonly #logPath: string;

  /**
   * `onOutput` gets what the proxy prints, as it comes. `under` is the beginning of a command that runs it,
   * `options` are those of `run`; with any the log goes to a file of its own, since another proxy may run.
   */
  constructor(
    topology: Topology,
    mainPath: string,
    config: string,
    onOutput?: (text: string) => void,
    under: readonly string[] = [],
    options: readonly string[] = [],
  ) {
    this.#topology = topology;
    const configPath = join(topology.scratch, 'proxy.yaml');
    const name = options.length === 0 ? 'proxy' : `proxy-${performance.now()}`;
    this.#logPath = join(topology.scratch, `${name}.log`);
    writeFileSync(configPath, config);
    writeFileSync(this.#logPath, '');
    const argv = [...under, ...nodeArgv(mainPath, 'run', '--config', configPath, ...options)];
    this.child = topology.spawn('lb', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      // Read all along, or the proxy's log would fill the pipe. Removing the topology removes the file first.
      stream?.on('data', (chunk: Buffer) => {
        onOutput?.(chunk.toString());
        try {
          appendFileSync(this.#logPath, chunk);
        } catch {
          // The folder is gone: so is whoever would read it.
        }
      });
    }
  }

  /** What it printed so far. */
  get log(): string {
    return readFileSync(this.#logPath, 'utf8');
  }

  /** Waits until /readyz answers 200; throws with the proxy's log when it ends or takes too long. */
  async ready(): Promise<void> {
    // One process that asks again and again: to start one for each question would slow the proxy's own start
    // down.
    const script = `const end = Date.now() + ${READY_WITHIN_MS};
      const again = () => Date.now() < end ? setTimeout(ask, 20) : process.exit(1);
      const ask = () => fetch('http://${ADMIN}/readyz').then(({ status }) => status === 200 ? process.exit(0) : again(), again);
      ask();`;
    const waiter = this.#topology.spawn('lb', [process.execPath, '-e', script], { stdio: 'ignore' });
    const isReady = once(waiter, 'exit').then(([code]) => code === 0);
    const hasEnded =
      this.child.exitCode !== null || this.child.signalCode !== null
        ? false
        : once(this.child, 'exit').then(() => false);
    const outcome = await Promise.race([isReady, hasEnded]);
    waiter.kill('SIGKILL');
    if (!outcome) throw new Error(`the proxy did not become ready. It printed:\n${this.log}`);
  }

  /** GET from the admin server, asked from inside its namespace. Status 0: no answer. */
  async get(path: string): Promise<{ status: number; body: string }> {
    const script = `fetch('http://${ADMIN}${path}').then(
      async (answer) => console.log(JSON.stringify({ status: answer.status, body: await answer.text() })),
      () => console.log('{"status":0,"body":""}'))`;
    const child = this.#topology.spawn('lb', [process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout?.on('data', (chunk) => {
      output += chunk;
    });
    await once(child, 'close');
    return output === '' ? { status: 0, body: '' } : JSON.parse(output);
  }

  /** Sends a signal and waits for the end: its exit code, or null when it was killed by a signal. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal);
    return await ended(this.child);
  }
}
