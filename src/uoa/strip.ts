// Takes every UOA out of an IPv4 packet, whoever sent it and in whatever form: option types 29, 30 and 31,
// and a protocol-248 header. Foreign options keep their order. Nothing of the kind may reach a client, or a
// real server unless it is ours. Of an IPv6 packet nothing between fixed header and UDP goes on
// (datapath/rewrite.ts), so there is nothing to take out.
import type { Frame } from '../wire/frame.ts';
import { isUoaOption } from '../wire/header-scan.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { OPTION_END, OPTION_NOP } from '../wire/ipv4-options.ts';
import type { Packet } from '../wire/packet.ts';

/**
 * Removes all UOA in place: the packet's start moves up, `packet` is kept true, and so is the IP checksum.
 */
export function stripUoa(frame: Frame, packet: Packet): void {
  const { bytes, view } = frame;
  const headerLen = ipv4.IPV4_HEADER_LEN + compactOptions(frame, packet);
  const removed = packet.headerLen - headerLen + packet.oppLen;
  const off = packet.off + removed;
  bytes.copyWithin(off, packet.off, packet.off + headerLen);
  packet.off = off;
  packet.headerLen = headerLen;
  packet.totalLen -= removed;
  packet.oppLen = 0;
  packet.options.uoaCount = 0;
  packet.options.tailOff = 0;
  ipv4.setHeaderLen(view, off, headerLen);
  ipv4.setTotalLen(view, off, packet.totalLen);
  ipv4.setProtocol(view, off, ipv4.PROTOCOL_UDP);
  ipv4.fillChecksum(view, off);
}

/**
 * Bytes behind End-of-Options mean nothing to a kernel, but a receiver that reads on would see them: zero
 * them.
 */
export function clearOptionTail(frame: Frame, packet: Packet): void {
  frame.bytes.fill(0, packet.options.tailOff, packet.off + packet.headerLen);
  packet.options.tailOff = 0;
  ipv4.fillChecksum(frame.view, packet.off);
}

/**
 * Moves foreign options together at the front, pads with End-of-Options; returns their new length, a multiple
 * of 4.
 */
function compactOptions({ bytes }: Frame, packet: Packet): number {
  const start = packet.off + ipv4.IPV4_HEADER_LEN;
  const end = packet.off + packet.headerLen;
  if (start === end) return 0;
  let write = start;
  let read = start;
  while (read < end && bytes[read] !== OPTION_END) {
    const type = bytes[read];
    const len = type === OPTION_NOP ? 1 : bytes[read + 1];
    if (!isUoaOption(type)) {
      bytes.copyWithin(write, read, read + len);
      write += len;
    }
    read += len;
  }
  const len = (write - start + 3) & ~3;
  bytes.fill(OPTION_END, write, start + len);
  return len;
}
