// The option that both ipo (as an IP option) and opp (inside its own header) carry for an IPv4 client:
// | 0x1f | 8 | cport, 2 bytes | CIP, 4 bytes |, big endian.
export const ADDRESS_OPTION_LEN = 8;
const ADDRESS_OPTION_TYPE = 0x1f;
const HEAD = (ADDRESS_OPTION_TYPE << 24) | (ADDRESS_OPTION_LEN << 16);

export function writeAddressOption(view: DataView, off: number, cip: number, cport: number): void {
  view.setInt32(off, HEAD | cport);
  view.setInt32(off + 4, cip);
}

export function isAddressOption(view: DataView, off: number, cip: number, cport: number): boolean {
  return view.getInt32(off) === (HEAD | cport) && view.getInt32(off + 4) === cip;
}
