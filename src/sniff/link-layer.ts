// Where the IP packet begins in a captured frame, by the link type of the capture file (pcap-linktype(7)) and
// past VLAN tags.
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';

/** 802.1Q, 802.1ad, and what was used before that. */
export const VLAN_TYPES = [0x8100, 0x88a8, 0x9100] as const;
const VLAN_TAG_LEN = 4;

/**
 * Where the EtherType stands and how long the header is; without EtherType the packet says itself what it is.
 */
const LINK_HEADERS: Readonly<Record<number, { typeOff?: number; len: number }>> = {
  0: { len: 4 }, // BSD loopback: address family in the host's byte order
  1: { typeOff: 12, len: 14 }, // Ethernet
  12: { len: 0 }, // raw IP, as some systems number it
  14: { len: 0 },
  101: { len: 0 }, // raw IP
  108: { len: 4 }, // OpenBSD loopback
  113: { typeOff: 14, len: 16 }, // Linux cooked (tcpdump -i any)
  228: { len: 0 }, // raw IPv4
  229: { len: 0 }, // raw IPv6
  276: { typeOff: 0, len: 20 }, // Linux cooked, version 2
};

export const LINK_TYPES = 'Ethernet (1), raw IP (101, 228, 229), Linux cooked (113, 276), loopback (0, 108)';

export const isKnownLinkType = (linkType: number): boolean => linkType in LINK_HEADERS;

/** Offset of the IP header in a frame of a known link type; -1 when it carries no IP packet. */
export function ipOffset(linkType: number, frame: Uint8Array): number {
  const { typeOff, len } = LINK_HEADERS[linkType];
  if (frame.length <= len) return -1;
  return typeOff === undefined ? len : behindTags(frame, readType(frame, typeOff), len);
}

/**
 * Offset of the IP header in what follows an EtherType at `at`, the link header's end; -1 when it is no IP
 * packet.
 */
export function behindTags(bytes: Uint8Array, etherType: number, at: number): number {
  let type = etherType;
  let off = at;
  while (VLAN_TYPES.some((one) => one === type) && off + VLAN_TAG_LEN <= bytes.length) {
    type = readType(bytes, off + 2);
    off += VLAN_TAG_LEN;
  }
  return type === ETHERTYPE_IPV4 || type === ETHERTYPE_IPV6 ? off : -1;
}

const readType = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1];
