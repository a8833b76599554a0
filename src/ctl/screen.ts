// Lines on a terminal: cut to its width, coloured by what they say; and the alternate screen, which gives
// back what stood there before.
import type { Line } from './services-table.ts';
import { cut } from './table.ts';

/** process.stdout, or a test's stand-in. */
export interface Output {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
  write(text: string): unknown;
}

const COLOURS: Record<Line['kind'], string> = { head: '2', title: '1', plain: '', trouble: '33' };
const ESCAPE = '\u001b[';

/** Anything that is no terminal has room for every line. */
export const widthOf = ({ isTTY, columns }: Output): number =>
  isTTY ? columns || 80 : Number.POSITIVE_INFINITY;

/** Prints lines where the cursor is. */
export function print(output: Output, lines: readonly Line[]): void {
  output.write(lines.map((line) => `${painted(output, line)}\n`).join(''));
}

/** The lines of one text each, nothing to be seen in their colour. */
export const plain = (texts: readonly string[]): Line[] => texts.map((text) => ({ text, kind: 'plain' }));

function painted(output: Output, { text, kind }: Line): string {
  const fitted = cut(text, widthOf(output));
  const isColoured = output.isTTY && process.env.NO_COLOR === undefined && COLOURS[kind] !== '';
  return isColoured ? `${ESCAPE}${COLOURS[kind]}m${fitted}${ESCAPE}0m` : fitted;
}

/** To the alternate screen, without a cursor. */
export const enter = (output: Output): unknown => output.write(`${ESCAPE}?1049h${ESCAPE}?25l`);

export const leave = (output: Output): unknown => output.write(`${ESCAPE}?25h${ESCAPE}?1049l`);

/** How many lines a key scrolls by. */
export const pageOf = ({ rows }: Output): number => Math.max(1, (rows || 24) - 2);

/**
 * In place of what the screen shows, from the line `from` on as far as there are more than fit; returns where
 * it really began. One write, so that nothing flickers; the last line has no end, which would scroll.
 */
export function redraw(output: Output, lines: readonly Line[], from = 0): number {
  const rows = output.rows || 24;
  const isWhole = lines.length <= rows;
  const first = isWhole ? 0 : Math.max(0, Math.min(from, lines.length - (rows - 1)));
  const last = isWhole ? lines.length : first + rows - 1;
  const note: Line = { text: `lines ${first + 1} to ${last} of ${lines.length}: arrow keys`, kind: 'head' };
  const shown = isWhole ? lines : [...lines.slice(first, last), note];
  // Cleared before it is written: behind the last column, clearing would take the last character along.
  const text = shown.map((line) => `${ESCAPE}K${painted(output, line)}`).join('\n');
  output.write(`${ESCAPE}H${text}${ESCAPE}J`);
  return first;
}
