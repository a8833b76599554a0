// The order of use, read from the times that things were used at.

/**
 * `places` in the order of their `times`, int32 ms that may wrap and lie within 24 days of each other; those
 * of one time in their own order. Numbers are sorted, nothing is called to compare them: 0.1 s for 1,000,000.
 */
export function oldestFirst(places: Uint32Array, times: Int32Array): Uint32Array {
  const { length } = places;
  let oldest = times[0];
  for (let i = 0; i < length; i++) if (((times[i] - oldest) | 0) < 0) oldest = times[i];
  const keys = new Float64Array(length);
  for (let i = 0; i < length; i++) keys[i] = ((times[i] - oldest) >>> 0) * length + i;
  keys.sort();
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) order[i] = places[keys[i] - Math.floor(keys[i] / length) * length];
  return order;
}
