// Addresses as they are read from packets: 4 or 16 bytes, or the 16 bytes of the IPv4-mapped form.
import { ADDRESS_WORDS, formatAddress, formatEndpoint } from '../wire/address.ts';

export const MAPPED_LEN = 16;

const IPV4_LEN = 4;
const words = new Int32Array(ADDRESS_WORDS);

/** 4 bytes -> the IPv4-mapped 16; 16 bytes are taken as they are. */
export function toMapped(address: Uint8Array): Uint8Array {
  const mapped = new Uint8Array(MAPPED_LEN);
  if (address.length === IPV4_LEN) mapped.set([0xff, 0xff], MAPPED_LEN - IPV4_LEN - 2);
  mapped.set(address, MAPPED_LEN - address.length);
  return mapped;
}

/** 4 or 16 bytes as text. */
export function addressText(address: Uint8Array): string {
  const mapped = toMapped(address);
  const view = new DataView(mapped.buffer);
  for (let index = 0; index < ADDRESS_WORDS; index++) words[index] = view.getInt32(index * 4);
  return formatAddress(words, 0);
}

export function endpointText(address: Uint8Array, port: number): string {
  return formatEndpoint(addressText(address), port);
}
