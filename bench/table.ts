// Plain text tables and numbers for a terminal; and what a target is, with its verdict.

export interface Target {
  /** What was measured, in words. */
  what: string;
  measured: string;
  wanted: string;
  met: boolean;
}

/** Rows as lines, columns aligned to the right but for the first. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

export function formatTarget({ what, measured, wanted, met }: Target): string {
  return `target: ${what}: ${measured}, wanted ${wanted}: ${met ? 'met' : 'missed'}`;
}

/** 1234567 -> 1,234,567. */
export const count = (value: number): string => Math.round(value).toLocaleString('en-US');

export const percent = (part: number): string => `${(part * 100).toFixed(part < 0.1 ? 2 : 1)}%`;
