// What several rounds of the same measurement say together.

export interface Figure {
  median: number;
  least: number;
  most: number;
}

/** Of at least one value. */
export function figureOf(values: readonly number[]): Figure {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, least: sorted[0], most: sorted.at(-1)! };
}

/** The figure of one round's value by the other's in the same round: what disturbs a round disturbs both. */
export function ratioOf(values: readonly number[], others: readonly number[]): Figure {
  return figureOf(values.map((value, round) => value / others[round]));
}
