// How long ago a time was that is kept as int32 milliseconds, which come round after 49.7 days.

/** What another process noted may be so much later than a time that this one read. */
const CLOCK_SKEW_MS = 60_000;

/** Milliseconds since a time, up to 49.7 days; 0 for one that is a little ahead. */
export function age(nowMs: number, thenMs: number): number {
  const difference = (nowMs - thenMs) | 0;
  if (difference >= 0) return difference;
  return difference >= -CLOCK_SKEW_MS ? 0 : difference >>> 0;
}
