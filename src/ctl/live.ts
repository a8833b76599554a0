// The live view: a frame per second until q, Ctrl-C or a signal, on a terminal; one frame, as text,
// elsewhere. As JSON, an object per second and line, wherever it goes.
import { setTimeout as wait } from 'node:timers/promises';
import { type AdminClient, ControlError } from './admin-client.ts';
import { frameLine } from './frame-line.ts';
import { overview } from './overview.ts';
import { type Sample, takeSample } from './sample.ts';
import { enter, leave, type Output, pageOf, print, redraw, widthOf } from './screen.ts';
import type { Line } from './services-table.ts';

const INTERVAL_MS = 1000;
const END_KEYS = ['q', 'Q', '\u0003'];
/** Lines to scroll by, or pages: arrows, as in less, and the keys that are named so. */
const LINE_KEYS: readonly (readonly [string, number])[] = [
  ['\u001b[A', -1],
  ['\u001bOA', -1],
  ['k', -1],
  ['\u001b[B', 1],
  ['\u001bOB', 1],
  ['j', 1],
];
const PAGE_KEYS: readonly (readonly [string, number])[] = [
  ['\u001b[5~', -1],
  ['b', -1],
  ['\u001b[6~', 1],
  [' ', 1],
];
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

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
  const scroll = { by: (_lines: number): void => {} };
  const giveBack = watchKeys(end, (keys) => scroll.by(linesOf(keys, output)));
  enter(output);
  try {
    await drawFrames(client, output, first, end.signal, scroll);
  } finally {
    leave(output);
    giveBack();
    restore();
  }
}

/**
 * Until a signal, or until the lines cannot be written: nobody reads any more. While the proxy does not
 * answer there are none, and standard error says why. Throws a ControlError when the proxy cannot be asked at
 * the start.
 */
export async function printLines(client: AdminClient, { once }: { once: boolean }): Promise<void> {
  const output = process.stdout;
  const end = new AbortController();
  const restore = watchEnd(end);
  output.on('error', () => end.abort());
  let isAway = false;
  try {
    const first = await orEnd(takeSample(client), end.signal);
    if (first === undefined) return;
    await follow(client, first, end.signal, {
      sampled(before, after) {
        isAway = false;
        if (before === undefined) return;
        output.write(`${frameLine(before, after, Date.now())}\n`);
        if (once) end.abort();
      },
      failed({ message }) {
        if (!isAway) process.stderr.write(`uoa-proxy: ${message}\n`);
        isAway = true;
      },
    });
  } finally {
    restore();
  }
}

/** What a key scrolls by: 0 for others. */
function linesOf(keys: string, output: Terminal): number {
  const lines = LINE_KEYS.find(([key]) => key === keys)?.[1] ?? 0;
  const pages = PAGE_KEYS.find(([key]) => key === keys)?.[1] ?? 0;
  return lines + pages * pageOf(output);
}

/** Resolves at `end`. Sets what `scroll` does. */
async function drawFrames(
  client: AdminClient,
  output: Terminal,
  first: Sample,
  end: AbortSignal,
  scroll: { by: (lines: number) => void },
): Promise<void> {
  let shown: [before: Sample | undefined, after: Sample] = [undefined, first];
  let trouble = '';
  let from = 0;
  const draw = (): void => {
    const note: Line[] = trouble === '' ? [] : [{ text: trouble, kind: 'trouble' }];
    from = redraw(output, [...note, ...overview(...shown, Date.now(), widthOf(output))], from);
  };
  scroll.by = (lines) => {
    from += lines;
    if (lines !== 0) draw();
  };
  output.on('resize', draw);
  try {
    draw();
    await follow(client, first, end, {
      sampled(before, after) {
        shown = [before, after];
        trouble = '';
        draw();
      },
      failed(error) {
        trouble = error.message;
        draw();
      },
    });
  } finally {
    output.off('resize', draw);
  }
}

interface Follower {
  /** `before` is undefined where the sample before that one failed. */
  sampled(before: Sample | undefined, after: Sample): void;
  failed(error: ControlError): void;
}

/**
 * A sample per interval. Resolves at `end`. A proxy that goes away is waited for: it may be started again.
 */
async function follow(
  client: AdminClient,
  first: Sample,
  end: AbortSignal,
  { sampled, failed }: Follower,
): Promise<void> {
  let before: Sample | undefined = first;
  while (await pause(end)) {
    const answer = await orEnd(
      takeSample(client).catch((error: unknown) => {
        if (error instanceof ControlError) return error;
        throw error;
      }),
      end,
    );
    if (answer === undefined) return;
    if (answer instanceof ControlError) {
      before = undefined;
      failed(answer);
    } else {
      sampled(before, answer);
      before = answer;
    }
  }
}

/** Undefined where `end` comes first: an answer may take seconds, and nobody wants it any more. */
function orEnd<T>(answer: Promise<T>, end: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const onEnd = (): void => resolve(undefined);
    if (end.aborted) onEnd();
    end.addEventListener('abort', onEnd);
    answer.then(resolve, reject).finally(() => end.removeEventListener('abort', onEnd));
  });
}

/** False when it is to end. */
const pause = (end: AbortSignal): Promise<boolean> =>
  wait(INTERVAL_MS, undefined, { signal: end }).then(
    () => true,
    () => false,
  );

/** Aborts `end` at a signal. Returns what gives the signals back. */
function watchEnd(end: AbortController): () => void {
  const onSignal = (): void => end.abort();
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}

/** Aborts `end` at the operator's wish; other keys are handed on. Returns what gives the keyboard back. */
function watchKeys(end: AbortController, onOther: (keys: string) => void): () => void {
  const { stdin } = process;
  if (!stdin.isTTY) return () => {};
  const onKey = (keys: Buffer): void => {
    const text = keys.toString('latin1');
    if (END_KEYS.some((key) => text.includes(key))) end.abort();
    else onOther(text);
  };
  stdin.setRawMode(true).on('data', onKey).resume();
  return () => stdin.off('data', onKey).setRawMode(false).pause();
}
