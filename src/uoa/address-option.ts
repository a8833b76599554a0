// The option that ipo, elb and opp share: | 0x1f | length | cport, 2 bytes | CIP, 4 or 16 bytes |, big
// endian. Its length field counts all of it (IPv4 option, opp) or what follows the field (IPv6 destination
// option).
import type { Family } from '../wire/address.ts';
import type { WriteOption } from './form.ts';
import { writeAddress } from './origin.ts';

const ADDRESS_OPTION_TYPE = 0x1f;

/** Bytes of the option for a client of this family. */
export const addressOptionLen = (client: Family): number => (client === 4 ? 8 : 20);

export function addressOption(client: Family, lengthField: number): WriteOption {
  return (view, off, { cport, addresses }) => {
    view.setUint8(off, ADDRESS_OPTION_TYPE);
    view.setUint8(off + 1, lengthField);
    view.setUint16(off + 2, cport);
    writeAddress(view, off + 4, client, addresses, 0);
  };
}
