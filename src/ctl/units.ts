// Numbers as people read them: 12.3k, 1,234, 3d 4h.

/**
 * At most five characters: 0, 7, 2.5 (only with `decimals`), 999, 1.2k, 12.3k, 123k, 1.2M. Undefined is `-`:
 * not known.
 */
export function short(value: number | undefined, { decimals = false } = {}): string {
  if (value === undefined) return '-';
  if (decimals && value < 9.95 && !Number.isInteger(value)) return rounded(value, 1);
  if (value < 999.5) return rounded(value, 0);
  let scaled = value;
  let unit = '';
  for (const next of ['k', 'M', 'G', 'T', 'P']) {
    if (scaled < 999.5) break;
    scaled /= 1000;
    unit = next;
  }
  return rounded(scaled, scaled < 99.95 ? 1 : 0) + unit;
}

const rounded = (value: number, digits: number): string => value.toFixed(digits);

/** Packets or sessions per second: short, one decimal below ten. */
export const rate = (value: number | undefined): string => short(value, { decimals: true });

/** 1,234,567 */
export const exact = (value: number): string => Math.round(value).toLocaleString('en-US');

/** The two largest units: 5s, 2m 5s, 3h 4m, 3d 4h. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours, minutes] = [86_400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days > 0) return `${days}d ${hours % 24}h`;
  if (hours > 0) return `${hours}h ${minutes % 60}m`;
  if (minutes > 0) return `${minutes}m ${seconds % 60}s`;
  return `${seconds}s`;
}

/** 1 service, 2 services. */
export const plural = (count: number, noun: string): string =>
  `${exact(count)} ${noun}${count === 1 ? '' : 's'}`;
