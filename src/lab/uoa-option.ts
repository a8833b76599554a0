// Finds the UOA of an IPv4 client among IP options, as a receiver does: | 0x1f | 8 | cport, 2 bytes | CIP, 4 bytes |.
import { ADDRESS_OPTION_LEN } from '../uoa/address-option.ts';
import { formatIpv4 } from '../wire/address.ts';
import { IPV4_HEADER_LEN } from '../wire/ipv4.ts';
import { OptionScan, scanOptions } from '../wire/ipv4-options.ts';

export interface UoaOption {
  /** The client, as ip:port. */
  client: string;
  /** The option's own bytes, to be echoed unchanged. */
  bytes: Uint8Array;
}

const scan = new OptionScan();

/** The first UOA in raw IP options (without the fixed header); undefined when there is none of 8 bytes. */
export function findUoa(options: Uint8Array): UoaOption | undefined {
  if (options.length < ADDRESS_OPTION_LEN) return undefined;
  // The walk starts behind a fixed header, of which it reads nothing.
  const header = new Uint8Array(IPV4_HEADER_LEN + options.length);
  header.set(options, IPV4_HEADER_LEN);
  const view = new DataView(header.buffer);
  if (!scanOptions(scan, view, 0, header.length)) return undefined;
  if (scan.uoaLen !== ADDRESS_OPTION_LEN) return undefined;
  const client = `${formatIpv4(view.getInt32(scan.uoaOff + 4))}:${view.getUint16(scan.uoaOff + 2)}`;
  return { client, bytes: header.slice(scan.uoaOff, scan.uoaOff + scan.uoaLen) };
}
