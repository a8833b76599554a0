// Small conversions that the packet builder, the dissector and the rows share. Clear before fast; imports
// nothing.

/** Bytes of hex digits; spaces are ignored: `unhex('1f08 1388 0a010002')`. */
export function unhex(text: string): Uint8Array {
  const digits = text.replaceAll(' ', '');
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) throw new Error(`not hex: ${text}`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    // Most parts are fields of a few bytes, for which the call takes longer than the loop.
    if (part.length < 64) for (let i = 0; i < part.length; i++) whole[at + i] = part[i]!;
    else whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of((value >> 8) & 0xff, value & 0xff);
}

export function u32(value: number): Uint8Array {
  return concat(u16(Math.floor(value / 0x10000)), u16(value % 0x10000));
}

/** The two bytes at `off` as a big-endian number. */
export function at16(bytes: Uint8Array, off: number): number {
  return (bytes[off] ?? 0) * 256 + (bytes[off + 1] ?? 0);
}

/** '10.1.0.2' -> 4 bytes. */
export function ip4(address: string): Uint8Array {
  const parts = address.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255)))
    throw new Error(`not IPv4: ${address}`);
  return Uint8Array.from(parts);
}

/** '2001:db8::1' -> 16 bytes; one '::', no embedded IPv4, no zone. */
export function ip6(address: string): Uint8Array {
  const groupsOf = (half: string) => (half === '' ? [] : half.split(':'));
  const [head = '', tail, ...more] = address.split('::');
  const [before, behind] = [groupsOf(head), groupsOf(tail ?? '')];
  const missing = 8 - before.length - behind.length;
  if (more.length > 0 || (tail === undefined ? missing !== 0 : missing < 0))
    throw new Error(`not IPv6: ${address}`);
  const bytes = new Uint8Array(16);
  const put = (group: string, at: number) => {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) throw new Error(`not IPv6: ${address}`);
    bytes.set(u16(Number.parseInt(group, 16)), at);
  };
  for (const [index, group] of before.entries()) put(group, 2 * index);
  for (const [index, group] of behind.entries()) put(group, 16 - 2 * (behind.length - index));
  return bytes;
}

export type Family = 4 | 6;

export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** The 4 or 16 bytes of an address of either family. */
export function ip(address: string): Uint8Array {
  return familyOf(address) === 6 ? ip6(address) : ip4(address);
}

/**
 * RFC 5952 text of 16 bytes: lower case, no leading zeros, '::' for the first longest run of two or more zero
 * groups.
 */
export function ip6Text(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, index) => at16(bytes, index * 2).toString(16));
  let best = { at: 0, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (groups[at + length] === '0') length++;
    if (length > best.length) best = { at, length };
  }
  if (best.length === 1) return groups.join(':');
  return `${groups.slice(0, best.at).join(':')}::${groups.slice(best.at + best.length).join(':')}`;
}

/** `length` payload bytes that differ from place to place. */
export function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = i * 7 + 3;
  return bytes;
}

/**
 * RFC 1071: the folded 16-bit one's complement sum, not complemented; an odd last byte counts as a high byte.
 */
export function onesSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let off = 0; off < bytes.length; off += 2) sum += at16(bytes, off);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}
