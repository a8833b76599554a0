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
export interface Addresses {
  readonly vips: readonly VipPort[];
  readonly lips: readonly LipPorts[];
}
export interface AddressPorts {
  ip: string;
  ranges: PortRange[];
}

/** Whether both have the same, in the same order. */
export function isSameAddresses(a: Addresses, b: Addresses): boolean {
  if (a === b) return true;
  if (a.vips.length !== b.vips.length || a.lips.length !== b.lips.length) return false;
  return (
    a.vips.every(({ ip, port }, at) => ip === b.vips[at].ip && port === b.vips[at].port) &&
    a.lips.every(
      ({ ip, first, last }, at) =>
        ip === b.lips[at].ip && first === b.lips[at].first && last === b.lips[at].last,
    )
  );
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
