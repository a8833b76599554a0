// Reads /metrics of the proxy again and again, as a monitoring system would, from inside the proxy's
// namespace and in a process of its own, and reports each answer with the time it took. A new connection each
// time.
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { dieWithParent } from '../src/sys/process.ts';

export interface Scrape {
  /** When it was asked for, milliseconds since the epoch. */
  at: number;
  /** Milliseconds until the whole answer was there. */
  tookMs: number;
  /** The answer; empty when there was none within TIMEOUT_MS. */
  text: string;
}

const PAUSE_MS = 250;
const TIMEOUT_MS = 10_000;

dieWithParent();
process.on('disconnect', () => process.exit(0));
const url = process.argv[2] ?? '';
for (;;) {
  const at = Date.now();
  const start = performance.now();
  const text = await read().catch(() => '');
  process.send?.({ at, tookMs: performance.now() - start, text } satisfies Scrape);
  await sleep(PAUSE_MS);
}

function read(): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
  });
}
