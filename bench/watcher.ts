// /metrics of a proxy, read again and again by a process of its own, as a monitoring system would.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnIn } from '../src/lab/namespace.ts';
import { nodeArgv } from './child.ts';
import { METRICS_URL } from './metrics.ts';
import type { Network } from './network.ts';
import type { Scrape } from './scraper.ts';

const FRESH_TIMEOUT_MS = 15_000;

export class Watcher {
  readonly #child: ChildProcess;
  readonly #scrapes: Scrape[] = [];

  /** Starts to read several times per second, from inside the proxy's namespace. */
  constructor(network: Network) {
    this.#child = spawnIn(network.lb, [...nodeArgv('./scraper.ts'), METRICS_URL], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (scrape: Scrape) => this.#scrapes.push(scrape));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The text of an answer that was asked for after this call. */
  async fresh(): Promise<string> {
    const asked = Date.now();
    const isFresh = ({ at, text }: Scrape): boolean => at >= asked && text !== '';
    while (!this.#scrapes.some(isFresh)) {
      if (Date.now() > asked + FRESH_TIMEOUT_MS) throw new Error('/metrics does not answer');
      await sleep(20);
    }
    return this.#scrapes.findLast(isFresh)!.text;
  }

  /** The slowest answer so far, milliseconds; one that never came counts with its timeout. */
  slowestMs(): number {
    return Math.max(0, ...this.#scrapes.map(({ tookMs }) => tookMs));
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
