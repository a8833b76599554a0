// Where packets were lost, from the proxy's own metrics; and how long the proxy took to tell.
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnIn } from '../src/lab/namespace.ts';
import { METRICS_URL } from './forwarder.ts';
import { nodeArgv } from './load.ts';
import type { Scrape } from './scraper.ts';

/** Packets, since the proxy started. */
export interface Losses {
  kernel: number;
  backlog: number;
  dropped: number;
  sendErrors: number;
}

const FRESH_TIMEOUT_MS = 12_000;

export class Watcher {
  readonly #child: ChildProcess;
  readonly #scrapes: Scrape[] = [];

  /** Starts to read /metrics several times per second inside `namespace`. */
  constructor(namespace: string) {
    this.#child = spawnIn(namespace, [...nodeArgv('./scraper.ts'), METRICS_URL], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (scrape: Scrape) => this.#scrapes.push(scrape));
  }

  /** Losses as of now: waits for an answer that was asked for after this call. */
  async losses(): Promise<Losses> {
    const asked = Date.now();
    const isFresh = ({ at, text }: Scrape): boolean => at >= asked && text !== '';
    while (!this.#scrapes.some(isFresh)) {
      if (Date.now() > asked + FRESH_TIMEOUT_MS) throw new Error('/metrics does not answer');
      await sleep(20);
    }
    return readLosses(this.#scrapes.findLast(isFresh)?.text ?? '');
  }

  /** The slowest answer since the last call, milliseconds; one that never came counts with its timeout. */
  slowestMs(): number {
    const slowest = Math.max(0, ...this.#scrapes.map(({ tookMs }) => tookMs));
    this.#scrapes.length = 0;
    return slowest;
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Sums the series of loss in a text of the Prometheus format. */
export function readLosses(text: string): Losses {
  return {
    kernel: sum(text, /^uoa_proxy_io_lost_total\{.*where="kernel".*\} (\S+)/gm),
    backlog: sum(text, /^uoa_proxy_io_lost_total\{.*where="backlog".*\} (\S+)/gm),
    dropped: sum(text, /^uoa_proxy_drops_total\{.*\} (\S+)/gm),
    sendErrors: sum(text, /^uoa_proxy_io_send_errors_total\{.*\} (\S+)/gm),
  };
}

function sum(text: string, series: RegExp): number {
  return [...text.matchAll(series)].reduce((total, [, value]) => total + Number(value), 0);
}
