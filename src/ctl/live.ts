// The live view: a frame per second until q, Ctrl-C or a signal, on a terminal; one frame, as text, elsewhere.
import { setTimeout as wait } from 'node:timers/promises';
import { type AdminClient, ControlError } from './admin-client.ts';
import { overview } from './overview.ts';
import { type Sample, takeSample } from './sample.ts';
import { enter, leave, type Output, print, redraw, widthOf } from './screen.ts';
import type { Line } from './services-table.ts';

const INTERVAL_MS = 1000;
const END_KEYS = ['q', 'Q', '\u0003'];
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

type Terminal = Output & NodeJS.EventEmitter;

/** Throws a ControlError when the proxy cannot be asked at the start. */
export async function showLive(client: AdminClient, { once }: { once: boolean }): Promise<void> {
  const output: Terminal = process.stdout;
  const first = await takeSample(client);
  if (once || !output.isTTY) {
    await wait(INTERVAL_MS);
    print(output, overview(first, await takeSample(client), Date.now(), widthOf(output)));
    return;
  }
  const end = new AbortController();
  const restore = watchEnd(end);
  enter(output);
  try {
    await follow(client, output, first, end.signal);
  } finally {
    leave(output);
    restore();
  }
}

/** Resolves at `end`. A proxy that goes away is waited for: it may be started again. */
async function follow(client: AdminClient, output: Terminal, first: Sample, end: AbortSignal): Promise<void> {
  let before: Sample | undefined;
  let after = first;
  let trouble = '';
  const draw = (): void => {
    const note: Line[] = trouble === '' ? [] : [{ text: trouble, kind: 'trouble' }];
    redraw(output, [...note, ...overview(before, after, Date.now(), widthOf(output))]);
  };
  output.on('resize', draw);
  try {
    draw();
    while (await pause(end)) {
      try {
        const sample = await takeSample(client);
        before = trouble === '' ? after : undefined;
        after = sample;
        trouble = '';
      } catch (error) {
        if (!(error instanceof ControlError)) throw error;
        trouble = error.message;
      }
      if (!end.aborted) draw();
    }
  } finally {
    output.off('resize', draw);
  }
}

/** False when it is to end. */
const pause = (end: AbortSignal): Promise<boolean> =>
  wait(INTERVAL_MS, undefined, { signal: end }).then(
    () => true,
    () => false,
  );

/** Aborts `end` at the operator's wish. Returns what gives the keyboard and the signals back. */
function watchEnd(end: AbortController): () => void {
  const { stdin } = process;
  const onKey = (keys: Buffer): void => {
    if (END_KEYS.some((key) => keys.toString('latin1').includes(key))) end.abort();
  };
  const onSignal = (): void => end.abort();
  for (const signal of SIGNALS) process.on(signal, onSignal);
  if (stdin.isTTY) stdin.setRawMode(true).on('data', onKey).resume();
  return () => {
    if (stdin.isTTY) stdin.off('data', onKey).setRawMode(false).pause();
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}
