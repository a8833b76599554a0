// Takes a super packet apart: several datagrams of one flow that a sender (UDP_SEGMENT) or a network card
// (GRO) handed over as one, with equal payload lengths but for the last (Linux
// Documentation/networking/segmentation-offloads.rst).
import { GSO_NONE, GSO_TYPE_MASK, GSO_UDP_L4, VNET } from '../sys/packet-ring.ts';
import { fold, pseudoSum, sumBytes } from '../wire/checksum.ts';
import { copyBytes, Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import { PARSE_OK, Packet, parse } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';

const MAX_LEN = 65_535 + ipv6.IPV6_HEADER_LEN;

const packet = new Packet();
const segment = new Frame(Buffer.alloc(HEADROOM + MAX_LEN));

/** `isMerged`: it is several packets in one still. */
export type OnPart = (frame: Frame, off: number, end: number, isMerged: boolean) => void;

const LITTLE_ENDIAN = true; // the kernel's structures are in the host's order

/**
 * Calls `onPart` with each packet that the IP packet at frame.bytes[off, end) was merged from, as its struct
 * virtio_net_hdr at `vnet` says; once, for all of it, when it was not merged, or cannot be taken apart.
 */
export function takeApart(frame: Frame, vnet: number, off: number, end: number, onPart: OnPart): void {
  const { view } = frame;
  const gsoType = view.getUint8(vnet + VNET.gsoType) & GSO_TYPE_MASK;
  const size = gsoType === GSO_UDP_L4 ? view.getUint16(vnet + VNET.gsoSize, LITTLE_ENDIAN) : 0;
  if (!forEachSegment(frame, off, end, size, onPart)) onPart(frame, off, end, gsoType !== GSO_NONE);
}

/**
 * Calls `onSegment` with each datagram of the IP packet at frame.bytes[off, end), as a packet of its own
 * whose UDP checksum is unfinished, as its sender left it, or is finished here. `payloadLen` is that of all
 * but the last. False: it is no UDP packet that can be taken apart, and nothing was called.
 */
export function forEachSegment(
  frame: Frame,
  off: number,
  end: number,
  payloadLen: number,
  onSegment: OnPart,
  isFinished = false,
): boolean {
  if (payloadLen === 0 || parse(packet, frame, off, end) !== PARSE_OK || packet.oppLen !== 0) return false;
  const { family, udpOff, payloadLen: total } = packet;
  if (total === 0) return false;
  const headersLen = udpOff - off + udp.UDP_HEADER_LEN;
  const hasChecksum = udp.checksum(frame.view, udpOff) !== 0;
  const { view } = segment;
  for (let at = 0, index = 0; at < total; at += payloadLen, index++) {
    const len = Math.min(payloadLen, total - at);
    const segmentUdp = HEADROOM + headersLen - udp.UDP_HEADER_LEN;
    copyBytes(segment, HEADROOM, frame, off, headersLen);
    copyBytes(segment, HEADROOM + headersLen, frame, udpOff + udp.UDP_HEADER_LEN + at, len);
    const udpLen = udp.UDP_HEADER_LEN + len;
    udp.writeLength(view, segmentUdp, udpLen);
    udp.writeChecksum(view, segmentUdp, hasChecksum ? checksumOf(view, segmentUdp, len, isFinished) : 0);
    if (family === 4) {
      ipv4.setTotalLen(view, HEADROOM, headersLen + len);
      ipv4.setId(view, HEADROOM, (ipv4.id(frame.view, off) + index) & 0xffff);
      ipv4.fillChecksum(view, HEADROOM);
    } else {
      ipv6.setPayloadLen(view, HEADROOM, headersLen + len - ipv6.IPV6_HEADER_LEN);
    }
    onSegment(segment, HEADROOM, HEADROOM + headersLen + len, false);
  }
  return true;
}

/** Of the segment whose UDP header stands at `udpOff`, with the addresses of the packet under way. */
function checksumOf(view: DataView, udpOff: number, payloadLen: number, isFinished: boolean): number {
  const { addresses } = packet;
  if (!isFinished) return fold(pseudoSum(addresses, ipv4.PROTOCOL_UDP, udp.UDP_HEADER_LEN + payloadLen));
  const payloadSum = sumBytes(view, udpOff + udp.UDP_HEADER_LEN, payloadLen);
  return udp.computeChecksum(view, udpOff, addresses, payloadSum);
}
