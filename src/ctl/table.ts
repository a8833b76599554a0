// Text in columns, for a terminal of some width or, with an infinite width, for a file.

export interface Column {
  head: string;
  /** Numbers stand to the right. */
  right?: true;
}

const GAP = '  ';

/**
 * The head and one line per row, each column as wide as its widest cell. Where that is wider than `width`,
 * the first column is shortened, down to its head.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width = Number.POSITIVE_INFINITY,
): string[] {
  const all = [columns.map(({ head }) => head), ...rows];
  const widths = columns.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const total = widths.reduce((sum, one) => sum + one, GAP.length * (widths.length - 1));
  if (total > width) widths[0] = Math.max(columns[0].head.length, widths[0] - (total - width));
  return all.map((row) =>
    row
      .map((cell, column) => {
        const fitted = shorten(cell, widths[column]);
        return columns[column].right ? fitted.padStart(widths[column]) : fitted.padEnd(widths[column]);
      })
      .join(GAP)
      .trimEnd(),
  );
}

/** What is too long loses its middle: the end of an address is its port. */
function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const tail = Math.floor((width - 1) / 2);
  return `${text.slice(0, width - 1 - tail)}…${text.slice(text.length - tail)}`;
}

/** What is too long loses its end. */
export const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;

/** Names and what they are, indented, the numbers to the right. */
export function pairs(rows: readonly (readonly [name: string, value: string])[]): string[] {
  const name = Math.max(0, ...rows.map(([one]) => one.length));
  const value = Math.max(0, ...rows.map(([, one]) => one.length));
  return rows.map(([one, other]) => `${GAP}${one.padEnd(name)}${GAP}${other.padStart(value)}`);
}
