// The load as the bench sees it: one process, on a processor of its own, for all networks.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { nodeArgv } from './child.ts';
import type { Ends, FromLoad, Outcome, Shot, ToLoad } from './load-protocol.ts';
import { macOf, type Network, PORT, VIP } from './network.ts';
import { loadCpu, onCpu } from './processors.ts';

export interface Aim {
  payloadLen: number;
  flows: number;
  firstFlow?: number;
  rate: number;
  seconds: number;
  echo?: boolean;
  /** Where packets go; the VIP when not given. */
  dst?: string;
}

export class Load {
  readonly #child: ChildProcess;
  readonly #macs = new Map<Network, { srcMac: string; dstMac: string }>();

  constructor() {
    const [command = '', ...argv] = [...onCpu(loadCpu()), ...nodeArgv('./load-process.ts')];
    this.#child = spawn(command, argv, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Puts the programs that make and count packets into a network. `bringsPrograms`: the forwarder attaches
   * its own to its interfaces; then what arrives there is not counted.
   */
  async attach(network: Network, bringsPrograms = false): Promise<void> {
    const end = (namespace: string, device: string) => ({ namespace, device });
    const ends: Ends = {
      client: end(network.client, 'eth0'),
      ...(bringsPrograms ? {} : { wan: end(network.lb, 'wan0'), lan: end(network.lb, 'lan0') }),
      rs: end(network.rs, 'eth0'),
      port: PORT,
    };
    this.#macs.set(network, { srcMac: macOf(network.client, 'eth0'), dstMac: macOf(network.lb, 'wan0') });
    await this.#ask({ kind: 'attach', network: network.label, ends });
  }

  /** Makes packets in a network for a while, waits until no more arrive, and says what became of them. */
  async shoot(network: Network, aim: Aim): Promise<Outcome> {
    const { payloadLen, flows, firstFlow = 0, rate, seconds, echo = false, dst = VIP } = aim;
    const fields = { ...this.#macs.get(network)!, dst, dport: PORT, payloadLen };
    const shot: Shot = { fields, flows, firstFlow, rate, seconds, echo };
    const answer = await this.#ask({ kind: 'shoot', network: network.label, shot });
    if (answer.kind !== 'outcome') throw new Error('the load process did not understand');
    return answer.outcome;
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }

  async #ask(message: ToLoad): Promise<FromLoad> {
    const ended = new AbortController();
    const exit = once(this.#child, 'exit', { signal: ended.signal }).then(() => {
      throw new Error('the load process ended');
    });
    exit.catch(() => {});
    this.#child.send(message);
    try {
      const [answer] = (await Promise.race([once(this.#child, 'message'), exit])) as [FromLoad];
      if (answer.kind === 'failed') throw new Error(answer.message);
      return answer;
    } finally {
      ended.abort();
    }
  }
}
