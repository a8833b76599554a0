// Ethernet frames that carry one UDP datagram each (RFC 894, 791, 768), with finished checksums, as a network card would
// deliver them. What the load generator sends; imports nothing of the program that it measures.

export interface FrameFields {
  srcMac: string;
  dstMac: string;
  src: string;
  dst: string;
  sport: number;
  dport: number;
  payloadLen: number;
}

const ETHERNET_LEN = 14;
const IP_LEN = 20;
const UDP_LEN = 8;
const TTL = 64;
const PROTOCOL_UDP = 17;

/** struct virtio_net_hdr: flags, gso_type, then hdr_len, gso_size, csum_start, csum_offset of 16 bits each. */
const VNET_LEN = 10;
const VNET_NEEDS_CSUM = 1;
const VNET_GSO_UDP_L4 = 5;

/** A frame whose payload counts 0, 1, 2, ... */
export function udpFrame(fields: FrameFields): Uint8Array {
  const udpLen = UDP_LEN + fields.payloadLen;
  const bytes = new Uint8Array(ETHERNET_LEN + IP_LEN + udpLen);
  const view = new DataView(bytes.buffer);
  bytes.set(macBytes(fields.dstMac), 0);
  bytes.set(macBytes(fields.srcMac), 6);
  view.setUint16(12, 0x0800);

  const ip = ETHERNET_LEN;
  view.setUint16(ip, 0x4500);
  view.setUint16(ip + 2, IP_LEN + udpLen);
  view.setUint16(ip + 4, fields.sport); // identification: any
  view.setUint16(ip + 6, 0x4000); // DF
  view.setUint8(ip + 8, TTL);
  view.setUint8(ip + 9, PROTOCOL_UDP);
  bytes.set(ipBytes(fields.src), ip + 12);
  bytes.set(ipBytes(fields.dst), ip + 16);
  view.setUint16(ip + 10, ~onesSum(view, ip, IP_LEN, 0) & 0xffff);

  const udp = ip + IP_LEN;
  view.setUint16(udp, fields.sport);
  view.setUint16(udp + 2, fields.dport);
  view.setUint16(udp + 4, udpLen);
  for (let i = 0; i < fields.payloadLen; i++) bytes[udp + UDP_LEN + i] = i;
  const pseudo = onesSum(view, ip + 12, 8, PROTOCOL_UDP + udpLen);
  view.setUint16(udp + 6, ~onesSum(view, udp, udpLen, pseudo) & 0xffff || 0xffff);
  return bytes;
}

/**
 * What a socket with PACKET_VNET_HDR (packet(7)) is given so that the kernel makes `segments` such frames of it, with
 * checksums left to the network card, as a UDP socket with UDP_SEGMENT would.
 */
export function segmentedFrame(fields: FrameFields, segments: number): Uint8Array {
  const frame = udpFrame({ ...fields, payloadLen: segments * fields.payloadLen });
  const udp = ETHERNET_LEN + IP_LEN;
  const view = new DataView(frame.buffer);
  const pseudo = onesSum(view, ETHERNET_LEN + 12, 8, PROTOCOL_UDP + view.getUint16(udp + 4));
  view.setUint16(udp + 6, pseudo);
  const bytes = new Uint8Array(VNET_LEN + frame.length);
  const header = new DataView(bytes.buffer);
  header.setUint8(0, VNET_NEEDS_CSUM);
  header.setUint8(1, VNET_GSO_UDP_L4);
  header.setUint16(2, udp + UDP_LEN, true);
  header.setUint16(4, fields.payloadLen, true);
  header.setUint16(6, udp, true);
  header.setUint16(8, 6, true);
  bytes.set(frame, VNET_LEN);
  return bytes;
}

function onesSum(view: DataView, off: number, len: number, start: number): number {
  let sum = start;
  for (let i = 0; i + 1 < len; i += 2) sum += view.getUint16(off + i);
  if (len % 2 === 1) sum += view.getUint8(off + len - 1) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

const macBytes = (mac: string): number[] => mac.split(':').map((byte) => Number.parseInt(byte, 16));
const ipBytes = (ip: string): number[] => ip.split('.').map(Number);
