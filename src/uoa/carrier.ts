// The carrier ("standalone UOA"): an empty-payload UDP packet that goes ahead of a packet with no room for the UOA, on
// the same LIP:lport -> RIP:rport, so that receivers keep the mapping from it.
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as udp from '../wire/udp.ts';
import type { UoaDialect } from './dialect.ts';

const CARRIER_LEN = ipv4.IPV4_HEADER_LEN + udp.UDP_HEADER_LEN;

/**
 * Builds a carrier in `out`, its plain packet at `outOff` (which needs dialect.size bytes before it), for the packet at
 * `off` of `frame`, whose addresses, ports and TTL are rewritten already; TOS, TTL and DF are copied from it.
 * All checksums are right. Returns the offset of the carrier, which is dialect.size + 28 bytes long.
 */
export function buildCarrier(
  out: Frame,
  outOff: number,
  dialect: UoaDialect,
  frame: Frame,
  off: number,
  udpOff: number,
  id: number,
  cip: number,
  cport: number,
): number {
  const { view } = frame;
  const src = ipv4.src(view, off);
  const dst = ipv4.dst(view, off);
  ipv4.writeHeader(
    out.view,
    outOff,
    ipv4.tos(view, off),
    CARRIER_LEN,
    id,
    ipv4.isDf(view, off),
    ipv4.ttl(view, off),
    ipv4.PROTOCOL_UDP,
    src,
    dst,
  );
  const outUdp = outOff + ipv4.IPV4_HEADER_LEN;
  udp.writePorts(out.view, outUdp, udp.sport(view, udpOff), udp.dport(view, udpOff));
  udp.writeLength(out.view, outUdp, udp.UDP_HEADER_LEN);
  udp.writeChecksum(out.view, outUdp, udp.computeChecksum(out.view, outUdp, src, dst, 0));
  const carrierOff = dialect.insert(out, outOff, cip, cport);
  ipv4.fillChecksum(out.view, carrierOff);
  return carrierOff;
}

export function carrierLen(dialect: UoaDialect): number {
  return CARRIER_LEN + dialect.size;
}
