// Addresses as the datapath keeps them: four big-endian 32-bit words as int32, IPv4 in its v4-mapped IPv6 form
// (RFC 4291, 2.5.5.2), so that one walk serves both families.

export const ADDRESS_WORDS = 4;
/** Third word of a v4-mapped address. */
export const V4_MAPPED = 0xffff;

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

/** Writes the four words of a textual address to words[at..at+3]. */
export function parseAddressInto(words: Int32Array, at: number, text: string): void {
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = V4_MAPPED;
  words[at + 3] = parseIpv4(text);
}

export function formatAddress(words: Int32Array, at: number): string {
  return formatIpv4(words[at + 3]);
}

/**
 * A source that no datagram can come from: 0.0.0.0/8, multicast 224/4 and reserved 240/4 (RFC 6890).
 * Loopback is not judged here: it is right on a loopback interface only.
 */
export function isImpossibleSource(ipv4: number): boolean {
  const firstByte = ipv4 >>> 24;
  return firstByte === 0 || firstByte >= 224;
}

export function isLoopback(ipv4: number): boolean {
  return ipv4 >>> 24 === 127;
}
