// Plain text tables and numbers for a terminal; and what a target is, with its verdict.
import type { Figure } from './statistics.ts';

export interface Target {
  /** What was measured, in words. */
  what: string;
  measured: string;
  wanted: string;
  /** By which part it is missed; 0 and below: met. */
  short: number;
}

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

/** "target: memory: 150 bytes, wanted under 300: met", or "missed by 20.0%". */
export function formatTarget({ what, measured, wanted, short }: Target): string {
  return `target: ${what}: ${measured}, wanted ${wanted}: ${short <= 0 ? 'met' : `missed by ${percent(short)}`}`;
}

/** How much less than wanted this is, as a part of what is wanted. */
export const shortOfLeast = (value: number, wanted: number): number => 1 - value / wanted;
/** How much more than allowed this is, as a part of what is allowed. */
export const shortOfMost = (value: number, allowed: number): number => value / allowed - 1;

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
