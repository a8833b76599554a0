// What the kernel's steering program knows of an address and its ports: keys and values of a map (struct
// endpoint and struct address of src/bpf/steering.bpf.c), as bytes that follow one another.
import { type LipPorts, mergePorts, type VipPort } from '../host/port-ranges.ts';
import { ADDRESS_WORDS, familyOf, parseAddressInto } from '../wire/address.ts';
import type { PortRange } from '../wire/port-ranges.ts';

export const ENDPOINT_LEN = 32;
export const ADDRESS_LEN = 36;
/** Ranges of lports that an address has room for. */
export const MAX_RANGES = 8;

export interface SteeredAddresses {
  readonly vips: readonly VipPort[];
  readonly lips: readonly LipPorts[];
}

export interface AddressEntries {
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

interface Address {
  isVip: boolean;
  lports: readonly PortRange[];
}

/** One for each address, whatever its port is, and one for each VIP:vport. */
export function addressEntries({ vips, lips }: SteeredAddresses): AddressEntries {
  const addresses = new Map<string, Address>();
  for (const { ip } of vips) addresses.set(ip, { isVip: true, lports: [] });
  for (const { ip, ranges } of mergePorts([], lips))
    addresses.set(ip, { isVip: addresses.has(ip), lports: atMost(MAX_RANGES, ranges) });
  const vports = new Map(vips.map((vip) => [`${vip.ip} ${vip.port}`, vip]));
  const entries = new Entries(addresses.size + vports.size);
  for (const [ip, address] of addresses) entries.add(ip, 0, address);
  for (const { ip, port } of vports.values()) entries.add(ip, port, { isVip: true, lports: [] });
  return entries;
}

class Entries implements AddressEntries {
  count = 0;
  readonly keys: Buffer;
  readonly values: Buffer;
  readonly #words = new Int32Array(ADDRESS_WORDS);

  constructor(size: number) {
    this.keys = Buffer.from(new ArrayBuffer(size * ENDPOINT_LEN));
    this.values = Buffer.from(new ArrayBuffer(size * ADDRESS_LEN));
  }

  add(ip: string, port: number, { isVip, lports }: Address): void {
    const { keys, values } = this;
    let at = this.count * ENDPOINT_LEN;
    parseAddressInto(this.#words, 0, ip);
    for (const word of this.#words) at = keys.writeInt32BE(word, at);
    keys.writeUInt16BE(port, at);
    keys.writeUInt16LE(familyOf(ip), at + 8);
    at = this.count * ADDRESS_LEN;
    at = values.writeUInt16LE(Number(isVip), at);
    at = values.writeUInt16LE(lports.length, at);
    for (const { first, last } of lports) {
      at = values.writeUInt16LE(first, at);
      at = values.writeUInt16LE(last, at);
    }
    this.count++;
  }
}

/** Joins those that are nearest to each other: sorted and disjoint ranges, and so are the result's. */
function atMost(count: number, ranges: readonly PortRange[]): readonly PortRange[] {
  const gaps = ranges.slice(1).map(({ first }, index) => first - ranges[index].last);
  const widest = new Set([...gaps.keys()].sort((one, other) => gaps[other] - gaps[one]).slice(0, count - 1));
  const joined: { first: number; last: number }[] = [];
  for (const [index, { first, last }] of ranges.entries()) {
    if (index === 0 || widest.has(index - 1)) joined.push({ first, last });
    else joined[joined.length - 1].last = last;
  }
  return joined;
}
