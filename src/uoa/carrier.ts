// The carrier ("standalone UOA"): an empty-payload UDP packet that goes ahead of a packet with no room for
// the UOA, on the same LIP:lport -> RIP:rport, so that receivers keep the mapping from it. Nothing else that
// is empty has a UOA, so receivers can tell it from clients' datagrams.
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import * as udp from '../wire/udp.ts';
import { insertUoa, type UoaForm } from './form.ts';
import type { Origin } from './origin.ts';

/** The plain packet that a carrier starts as: IP header and UDP header. */
const plainLen = (packet: Packet): number =>
  (packet.family === 4 ? ipv4.IPV4_HEADER_LEN : ipv6.IPV6_HEADER_LEN) + udp.UDP_HEADER_LEN;

/**
 * Builds a carrier in `out`, its plain packet at `outOff` (which needs form.size bytes before it), for
 * `packet`, whose header in `frame` is rewritten already: `addresses` are its source and destination there.
 * TOS, TTL and DF are copied from it. All checksums are right. Returns the offset of the carrier, which is
 * carrierLen bytes long.
 */
export function buildCarrier(
  out: Frame,
  outOff: number,
  form: UoaForm,
  origin: Origin,
  frame: Frame,
  packet: Packet,
  addresses: Int32Array,
  id: number,
): number {
  const { off, udpOff, family } = packet;
  const headerLen = plainLen(packet) - udp.UDP_HEADER_LEN;
  if (family === 4) {
    ipv4.writeHeader(
      out.view,
      outOff,
      ipv4.tos(frame.view, off),
      plainLen(packet),
      id,
      ipv4.isDf(frame.view, off),
      ipv4.ttl(frame.view, off),
      ipv4.PROTOCOL_UDP,
      addresses,
    );
  } else {
    const word = ipv6.wordOfTrafficClass(ipv6.trafficClass(frame.view, off));
    const hopLimit = ipv6.hopLimit(frame.view, off);
    ipv6.writeHeader(out.view, outOff, word, udp.UDP_HEADER_LEN, ipv4.PROTOCOL_UDP, hopLimit, addresses);
  }
  const outUdp = outOff + headerLen;
  udp.writePorts(out.view, outUdp, udp.sport(frame.view, udpOff), udp.dport(frame.view, udpOff));
  udp.writeLength(out.view, outUdp, udp.UDP_HEADER_LEN);
  udp.writeChecksum(out.view, outUdp, udp.computeChecksum(out.view, outUdp, addresses, 0));
  const carrierOff = insertUoa(form, out, outOff, headerLen, origin);
  if (family === 4) ipv4.fillChecksum(out.view, carrierOff);
  return carrierOff;
}

export const carrierLen = (form: UoaForm, packet: Packet): number => plainLen(packet) + form.size;
