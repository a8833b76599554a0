// Dialect unified: client and virtual address, as an IPv4 option that must be the only one, or an IPv6
// destination option. The option type is 31, or 30, which receivers of other dialects leave alone.
import type { Family } from '../wire/address.ts';
import { destinationOptions, ipv4Option, type UoaForms } from './form.ts';
import { type Origin, writeAddress } from './origin.ts';

export type UnifiedType = 30 | 31;

/** Lowest bit of the IPv4 option's third byte: the family inside. */
const OPERATION = { 4: 0, 6: 1 } as const;

export function unifiedOverIpv4(type: UnifiedType): UoaForms {
  const form = (client: Family) => {
    const len = client === 4 ? 16 : 40;
    return ipv4Option(
      len,
      (view, off, origin) => {
        view.setUint8(off, type);
        view.setUint8(off + 1, len);
        view.setUint8(off + 2, OPERATION[client]);
        view.setUint8(off + 3, 0);
        writeEndpoints(view, off + 4, client, origin);
      },
      true,
    );
  };
  return { 4: form(4), 6: form(6) };
}

export function unifiedOverIpv6(type: UnifiedType): UoaForms {
  const form = (client: Family) => {
    const len = client === 4 ? 14 : 38;
    return destinationOptions(len, (view, off, origin) => {
      view.setUint8(off, type);
      view.setUint8(off + 1, len - 2);
      writeEndpoints(view, off + 2, client, origin);
    });
  };
  return { 4: form(4), 6: form(6) };
}

function writeEndpoints(view: DataView, off: number, client: Family, origin: Origin): void {
  view.setUint16(off, origin.cport);
  view.setUint16(off + 2, origin.vport);
  const behindCip = writeAddress(view, off + 4, client, origin.addresses, 0);
  writeAddress(view, behindCip, client, origin.addresses, 4);
}
