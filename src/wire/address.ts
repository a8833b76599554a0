// Addresses as the datapath keeps them: four big-endian 32-bit words as int32, IPv4 in its v4-mapped IPv6
// form (RFC 4291, 2.5.5.2), so that one walk serves both families.

export type Family = 4 | 6;

export const ADDRESS_WORDS = 4;
/** Third word of a v4-mapped address. */
export const V4_MAPPED = 0xffff;
/** 169.254/16 (RFC 3927). */
const LINK_LOCAL = 0xa9fe;

/** Dotted decimal -> int32 in network order (10.0.0.1 = 0x0a000001). Throws RangeError on anything else. */
export function parseIpv4(text: string): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!parts) throw new RangeError(`not an IPv4 address: ${text}`);
  let value = 0;
  for (let i = 1; i <= 4; i++) {
    const byte = Number(parts[i]);
    if (byte > 255) throw new RangeError(`not an IPv4 address: ${text}`);
    value = (value << 8) | byte;
  }
  return value;
}

export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 0xff}.${(value >>> 8) & 0xff}.${value & 0xff}`;
}

/** The family that a textual address is written in; what it says is not checked. */
export const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4);

/**
 * Writes the four words of a textual address (RFC 4291, 2.2) to words[at..at+3]. Throws RangeError on
 * anything else.
 */
export function parseAddressInto(words: Int32Array, at: number, text: string): void {
  if (familyOf(text) === 4) {
    words[at] = 0;
    words[at + 1] = 0;
    words[at + 2] = V4_MAPPED;
    words[at + 3] = parseIpv4(text);
    return;
  }
  const groups = parseGroups(text);
  for (let i = 0; i < ADDRESS_WORDS; i++) words[at + i] = (groups[2 * i] << 16) | groups[2 * i + 1];
}

/** The four words of a textual address. Throws RangeError on anything else. */
export function addressWords(text: string): Int32Array {
  const words = new Int32Array(ADDRESS_WORDS);
  parseAddressInto(words, 0, text);
  return words;
}

/** The 16 bytes of a textual address, IPv4 in its v4-mapped form. Throws RangeError on anything else. */
export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(4 * ADDRESS_WORDS);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of addressWords(text).entries()) view.setInt32(4 * index, word);
  return bytes;
}

/**
 * The one way to write an address, of the several that RFC 4291, 2.2 allows. Throws RangeError when it is
 * none.
 */
export const canonicalAddress = (text: string): string => formatAddress(addressWords(text), 0);

/** RFC 5952 text of an IPv6 address, dotted decimal of an IPv4 one. */
export function formatAddress(words: Int32Array, at: number): string {
  if (isV4(words, at)) return formatIpv4(words[at + 3]);
  const groups: number[] = [];
  for (let i = 0; i < ADDRESS_WORDS; i++) groups.push(words[at + i] >>> 16, words[at + i] & 0xffff);
  const { start, length } = longestZeros(groups);
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** `10.0.0.1:53`, `[fd00::1]:53`. */
export function formatEndpoint(address: string, port: number): string {
  return familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

export function isV4(words: Int32Array, at: number): boolean {
  return words[at + 2] === V4_MAPPED && words[at + 1] === 0 && words[at] === 0;
}

/** The last word, which differs most, is compared first. */
export function isSameAddress(a: Int32Array, aAt: number, b: Int32Array, bAt: number): boolean {
  return (
    a[aAt + 3] === b[bAt + 3] && a[aAt + 2] === b[bAt + 2] && a[aAt + 1] === b[bAt + 1] && a[aAt] === b[bAt]
  );
}

/**
 * A source that no datagram can come from: 0.0.0.0/8, multicast 224/4 and reserved 240/4 (RFC 6890); ::,
 * multicast ff00::/8; and 169.254/16 and fe80::/10, which mean nothing without their link. Loopback is not
 * judged here: it is right on a loopback interface only.
 */
export function isImpossibleSource(words: Int32Array, at: number): boolean {
  if (isV4(words, at)) {
    const firstByte = words[at + 3] >>> 24;
    return firstByte === 0 || firstByte >= 224 || words[at + 3] >>> 16 === LINK_LOCAL;
  }
  const first = words[at];
  if (first >>> 24 === 0xff || first >>> 22 === 0x3fa) return true;
  return first === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 0;
}

export function isLoopback(words: Int32Array, at: number): boolean {
  if (isV4(words, at)) return words[at + 3] >>> 24 === 127;
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0 && words[at + 3] === 1;
}

/** The eight 16-bit groups of an IPv6 address, the last two of which may be written as an IPv4 address. */
function parseGroups(text: string): number[] {
  const halves = text.split('::');
  const [head = [], tail = []] = halves.map((half) =>
    half === '' ? [] : half.split(':').flatMap(parseGroup),
  );
  const missing = 8 - head.length - tail.length;
  const isRight = halves.length === 1 ? missing === 0 : halves.length === 2 && missing >= 1;
  if (!isRight) throw new RangeError(`not an IPv6 address: ${text}`);
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

function parseGroup(text: string, index: number, all: readonly string[]): number[] {
  if (text.includes('.') && index === all.length - 1) {
    const value = parseIpv4(text);
    return [value >>> 16, value & 0xffff];
  }
  if (!/^[0-9a-f]{1,4}$/i.test(text)) throw new RangeError(`not a group of an IPv6 address: ${text}`);
  return [Number.parseInt(text, 16)];
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}
