// The two ends of a measurement as the bench sees them: the generator process in one namespace, and in the other a
// counter of nftables at the interface's ingress, which counts and drops what arrives before anything else costs time.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { inNamespace, run, spawnIn } from '../src/lab/namespace.ts';
import type { Flows, FromGenerator, Sent, ToGenerator } from './generator.ts';
import { generatorCpu } from './machine.ts';
import { BULK_MIN_BYTES } from './pacing.ts';

/** The argv that runs a TypeScript file of this folder. */
export function nodeArgv(file: string, nodeOptions: readonly string[] = []): string[] {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return [process.execPath, ...nodeOptions, '--import', import.meta.resolve('tsx'), path];
}

export class Generator {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Starts the process inside `namespace`, bound to one processor. */
  static async start(namespace: string, flows: Flows): Promise<Generator> {
    // Whatever the generator lets the kernel cut into packets is cut before it leaves, not by who receives it.
    run(['ip', '-n', namespace, 'link', 'set', flows.device, 'gso_max_size', String(BULK_MIN_BYTES)]);
    const cpu = generatorCpu();
    const bound = cpu < 0 ? [] : ['taskset', '-c', String(cpu)];
    const child = spawnIn(namespace, [...bound, ...nodeArgv('./generator.ts')], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const generator = new Generator(child);
    await generator.#ask({ kind: 'flows', flows });
    return generator;
  }

  async offer(rate: number, seconds: number): Promise<Sent> {
    const answer = await this.#ask({ kind: 'offer', rate, seconds });
    if (answer.kind !== 'sent') throw new Error('the generator did not understand');
    return answer.sent;
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }

  async #ask(message: ToGenerator): Promise<FromGenerator> {
    const ended = new AbortController();
    const exit = once(this.#child, 'exit', { signal: ended.signal }).then(() => {
      throw new Error('the load generator ended');
    });
    exit.catch(() => {});
    this.#child.send(message);
    try {
      const [answer] = (await Promise.race([once(this.#child, 'message'), exit])) as [FromGenerator];
      return answer;
    } finally {
      ended.abort();
    }
  }
}

export class Sink {
  readonly #namespace: string;

  /** Counts and drops UDP packets that match `match` (nftables) and arrive at `device`. */
  constructor(namespace: string, device: string, match: string) {
    this.#namespace = namespace;
    const ruleset = `table netdev sink {
      counter arrived { }
      chain ingress {
        type filter hook ingress device "${device}" priority 0
        ${match} counter name arrived drop
      }
    }`;
    run(inNamespace(namespace, ['nft', '-f', '-']), ruleset);
  }

  /** Packets so far. */
  read(): number {
    const text = run(inNamespace(this.#namespace, ['nft', 'list', 'counter', 'netdev', 'sink', 'arrived']));
    return Number(/packets (\d+)/.exec(text)?.[1] ?? Number.NaN);
  }

  remove(): void {
    run(inNamespace(this.#namespace, ['nft', 'delete', 'table', 'netdev', 'sink']));
  }
}

/** The Ethernet address of an interface. */
export function macOf(namespace: string, device: string): string {
  const text = run(['ip', '-n', namespace, '-o', 'link', 'show', device]);
  const mac = /link\/ether ([0-9a-f:]+)/.exec(text)?.[1];
  if (mac === undefined) throw new Error(`${device} has no Ethernet address`);
  return mac;
}
