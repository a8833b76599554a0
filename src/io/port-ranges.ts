// Which UDP ports of which addresses, of both families, are the proxy's: VIP:vport and LIP:lports in one list, each
// address once, its ranges sorted, merged and disjoint. The capture filter takes in exactly this, the guard keeps the
// kernel from it.
import { type Family, familyOf } from '../wire/address.ts';

export interface VipPort {
  ip: string;
  port: number;
}
export interface LipPorts {
  ip: string;
  first: number;
  last: number;
}
export interface AddressPorts {
  ip: string;
  ranges: { first: number; last: number }[];
}

/** Merges services' addresses, in the order in which each address appears first. */
export function mergePorts(vips: readonly VipPort[], lips: readonly LipPorts[]): AddressPorts[] {
  const byAddress = new Map<string, AddressPorts>();
  const all = [...vips.map(({ ip, port }) => ({ ip, first: port, last: port })), ...lips];
  for (const { ip, first, last } of all) {
    const entry = byAddress.get(ip);
    if (entry === undefined) byAddress.set(ip, { ip, ranges: [{ first, last }] });
    else entry.ranges.push({ first, last });
  }
  for (const entry of byAddress.values()) entry.ranges = mergeRanges(entry.ranges);
  return [...byAddress.values()];
}

/** Those of one family, in their order. */
export function ofFamily<T extends { ip: string }>(addresses: readonly T[], family: Family): T[] {
  return addresses.filter(({ ip }) => familyOf(ip) === family);
}

function mergeRanges(ranges: { first: number; last: number }[]): { first: number; last: number }[] {
  const merged: { first: number; last: number }[] = [];
  for (const range of ranges.sort((a, b) => a.first - b.first)) {
    const previous = merged.at(-1);
    if (previous !== undefined && range.first <= previous.last + 1) {
      previous.last = Math.max(previous.last, range.last);
    } else {
      merged.push({ ...range });
    }
  }
  return merged;
}
