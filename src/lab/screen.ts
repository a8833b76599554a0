// Writing for a person: colours and a status line that is rewritten in place, both on a terminal only; plain
// lines otherwise. Width 80 to 100 columns.
export type Colour = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

const CODES: Record<Colour, number> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };
const isTerminal = process.stdout.isTTY === true;
const isColoured = isTerminal && process.env.NO_COLOR === undefined;
let statusShown = false;

export function paint(colour: Colour, text: string): string {
  return isColoured ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
}

/** Prints one line, or several. */
export function say(text = ''): void {
  clearStatus();
  process.stdout.write(`${text}\n`);
}

export function heading(text: string): void {
  say(`\n${paint('bold', text)}`);
}

/** A line that the next status replaces on a terminal. */
export function status(text: string): void {
  clearStatus();
  process.stdout.write(isTerminal ? text : `${text}\n`);
  statusShown = isTerminal;
}

/** Columns as wide as their widest cell; numbers to the right. The first row is the head. */
export function table(rows: readonly (readonly (string | number)[])[]): void {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  for (const [index, row] of rows.entries()) {
    const cells = row.map((cell, column) =>
      typeof cell === 'number' ? String(cell).padStart(widths[column]) : cell.padEnd(widths[column]),
    );
    const line = `  ${cells.join('  ')}`.trimEnd();
    say(index === 0 ? paint('dim', line) : line);
  }
}

function clearStatus(): void {
  if (statusShown) process.stdout.write('\r\u001b[2K');
  statusShown = false;
}
