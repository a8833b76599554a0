// Dialect ipo: IPv4 option 0x1f, always the first option, because receivers see nothing behind an End-of-Options.
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import type { Packet } from '../wire/packet.ts';
import { ADDRESS_OPTION_LEN, isAddressOption, writeAddressOption } from './address-option.ts';
import type { UoaDialect } from './dialect.ts';

export const ipo: UoaDialect = {
  size: ADDRESS_OPTION_LEN,

  insert(frame, off, cip, cport) {
    const newOff = off - ADDRESS_OPTION_LEN;
    moveFixedHeader(frame, off, newOff, ADDRESS_OPTION_LEN);
    writeAddressOption(frame.view, newOff + ipv4.IPV4_HEADER_LEN, cip, cport);
    return newOff;
  },

  remove(frame, off) {
    const oldOff = off + ADDRESS_OPTION_LEN;
    moveFixedHeader(frame, off, oldOff, -ADDRESS_OPTION_LEN);
    return oldOff;
  },

  matches(frame: Frame, packet: Packet, cip: number, cport: number) {
    const scan = packet.options;
    if (packet.oppLen !== 0 || scan.uoaCount !== 1 || scan.uoaLen !== ADDRESS_OPTION_LEN) return false;
    return isAddressOption(frame.view, scan.uoaOff, cip, cport);
  },
};

/** The options stay where they are; only the fixed header moves and its two lengths change. */
function moveFixedHeader(frame: Frame, from: number, to: number, growth: number): void {
  const { view } = frame;
  const headerLen = ipv4.headerLen(view, from);
  const totalLen = ipv4.totalLen(view, from);
  frame.bytes.copyWithin(to, from, from + ipv4.IPV4_HEADER_LEN);
  ipv4.setHeaderLen(view, to, headerLen + growth);
  ipv4.setTotalLen(view, to, totalLen + growth);
}
