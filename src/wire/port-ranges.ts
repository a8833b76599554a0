// Ranges of ports, both ends included.

export interface PortRange {
  first: number;
  last: number;
}

/** The same ports as sorted, disjoint ranges that do not touch. */
export function mergeRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      previous.last = Math.max(previous.last, range.last);
    } else {
      merged.push({ ...range });
    }
  }
  return merged;
}

/** Merged ranges that are asked by binary search. */
export class PortSet {
  readonly #firsts: Uint16Array;
  readonly #lasts: Uint16Array;

  constructor(ranges: readonly PortRange[]) {
    const merged = mergeRanges(ranges);
    this.#firsts = Uint16Array.from(merged, ({ first }) => first);
    this.#lasts = Uint16Array.from(merged, ({ last }) => last);
  }

  has(port: number): boolean {
    const lasts = this.#lasts;
    let low = 0;
    let high = lasts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (lasts[middle] < port) low = middle + 1;
      else high = middle;
    }
    return low < lasts.length && this.#firsts[low] <= port;
  }
}
