// What the bench is to show: targets, each with what was measured, or why nothing was. All are printed at the
// end of a run, whatever became of its parts.
import { type Figure, figureOf, ratioOf } from './statistics.ts';
import { formatTable, percent, times } from './table.ts';

export interface Target {
  /** What is measured, in words. */
  what: string;
  wanted: string;
  /** The figure, or why there is none. */
  measured: string;
  /** By which part it is missed; 0 and below: kept. Undefined: it was not measured. */
  short: number | undefined;
}

/** A target that a part has before it is measured. */
export type Aim = Pick<Target, 'what' | 'wanted'>;

export const unmeasured = ({ what, wanted }: Aim, why: string): Target => ({
  what,
  wanted,
  measured: `not measured: ${why}`,
  short: undefined,
});

/** Where one figure is to be so many times another at least, by the rounds of both. */
export function compared(
  aim: Aim,
  ours: readonly number[],
  theirs: readonly number[],
  least: number,
): Target {
  const ratio: Figure = ratioOf(ours, theirs);
  return { ...aim, measured: times(ratio), short: shortOfLeast(ratio.median, least) };
}

/** Where a figure of each round is to be below something. */
export function atMost(
  aim: Aim,
  rounds: readonly number[],
  most: number,
  format: (value: number) => string,
): Target {
  const { median, least, most: worst } = figureOf(rounds);
  const spread = rounds.length > 1 ? ` (${format(least)} to ${format(worst)})` : '';
  return { ...aim, measured: `${format(median)}${spread}`, short: shortOfMost(median, most) };
}

/** How much less than wanted this is, as a part of what is wanted. */
export const shortOfLeast = (value: number, wanted: number): number => 1 - value / wanted;
/** How much more than allowed this is, as a part of what is allowed. */
export function shortOfMost(value: number, allowed: number): number {
  if (allowed > 0) return value / allowed - 1;
  return value > allowed ? Number.POSITIVE_INFINITY : 0;
}

/** A table of all of them: wanted, measured, kept or missed. */
export function formatTargets(targets: readonly Target[]): string[] {
  const rows = targets.map(({ what, wanted, measured, short }) => [what, wanted, measured, verdictOf(short)]);
  return formatTable(['targets', 'wanted', 'measured', ''], rows);
}

function verdictOf(short: number | undefined): string {
  if (short === undefined || Number.isNaN(short)) return '-';
  if (short <= 0) return 'kept';
  return short === Number.POSITIVE_INFINITY ? 'missed' : `missed by ${percent(short)}`;
}
