// Dialect opp: protocol 248 between the IP header with its options and UDP. Exactly one option and no padding inside,
// or a public receiver corrupts its memory.
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as header from '../wire/opp.ts';
import type { Packet } from '../wire/packet.ts';
import { ADDRESS_OPTION_LEN, isAddressOption, writeAddressOption } from './address-option.ts';
import type { UoaDialect } from './dialect.ts';

const SIZE = header.OPP_HEADER_LEN + ADDRESS_OPTION_LEN;

export const opp: UoaDialect = {
  size: SIZE,

  insert(frame, off, cip, cport) {
    const newOff = off - SIZE;
    const headerLen = moveHeader(frame, off, newOff, SIZE, ipv4.PROTOCOL_OPP);
    const oppOff = newOff + headerLen;
    header.writeHeader(frame.view, oppOff, header.OPP_VERSION_4, ipv4.PROTOCOL_UDP, SIZE);
    writeAddressOption(frame.view, oppOff + header.OPP_HEADER_LEN, cip, cport);
    return newOff;
  },

  remove(frame, off) {
    const oldOff = off + SIZE;
    moveHeader(frame, off, oldOff, -SIZE, ipv4.PROTOCOL_UDP);
    return oldOff;
  },

  matches(frame: Frame, packet: Packet, cip: number, cport: number) {
    if (packet.oppLen !== SIZE || packet.options.uoaCount !== 0) return false;
    const oppOff = packet.off + packet.headerLen;
    if (header.version(frame.view, oppOff) !== header.OPP_VERSION_4) return false;
    return isAddressOption(frame.view, oppOff + header.OPP_HEADER_LEN, cip, cport);
  },
};

function moveHeader(frame: Frame, from: number, to: number, growth: number, protocol: number): number {
  const { view } = frame;
  const headerLen = ipv4.headerLen(view, from);
  const totalLen = ipv4.totalLen(view, from);
  frame.bytes.copyWithin(to, from, from + headerLen);
  ipv4.setTotalLen(view, to, totalLen + growth);
  ipv4.setProtocol(view, to, protocol);
  return headerLen;
}
