// Plain text tables and numbers for a terminal.
import type { Figure } from './statistics.ts';

/** Rows as lines, columns aligned to the right but for the first. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('  ')
      .trimEnd(),
  );
}

/** 1234567 -> 1,234,567. */
export const count = (value: number): string => Math.round(value).toLocaleString('en-US');

/** Thousands: 612 k; with the spread over rounds: 612 k (598-640). */
export function thousands({ median, least, most }: Figure): string {
  const k = (value: number): string => (value / 1000).toFixed(value < 100_000 ? 1 : 0);
  return least === most ? `${k(median)} k` : `${k(median)} k (${k(least)}-${k(most)})`;
}

/** 3.14, with the spread: 3.14 (2.90-3.40). */
export function times({ median, least, most }: Figure): string {
  const [middle, from, to] = [median, least, most].map((value) => value.toFixed(2));
  return from === to ? `${middle}` : `${middle} (${from}-${to})`;
}

export const percent = (part: number): string => `${(part * 100).toFixed(part < 0.1 ? 2 : 1)}%`;
