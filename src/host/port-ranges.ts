// Which UDP ports of which addresses, of both families, are the proxy's: VIP:vport and LIP:lports in one
// list, each address once, its ranges sorted, merged and disjoint. The exact capture filter takes in this,
// the guard keeps the kernel from it.
import { type Family, familyOf } from '../wire/address.ts';
import { mergeRanges, type PortRange } from '../wire/port-ranges.ts';

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
  ranges: PortRange[];
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
