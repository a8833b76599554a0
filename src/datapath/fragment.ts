// Sends a datagram that is too large for one packet in fragments (RFC 791, 3.2; RFC 8200, 4.5), and numbers
// them.
import { hashTuple } from '../session/tuple-hash.ts';
import type { Family } from '../wire/address.ts';
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import { OPTION_COPIED, OPTION_END, OPTION_NOP } from '../wire/ipv4-options.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import type { Departures } from './departures.ts';

const IDENTIFICATIONS = 1024;

/**
 * Identifications of what this host sends from its VIPs and LIPs. Clients choose theirs, so two clients'
 * fragments on one LIP -> RIP could bear the same. Counted up per pair of addresses (by hash), from a secret
 * start (RFC 7739).
 */
export class Identifications {
  readonly #key0: number;
  readonly #key1: number;
  readonly #next = new Int32Array(IDENTIFICATIONS);

  constructor([key0, key1]: readonly [number, number]) {
    this.#key0 = key0;
    this.#key1 = key1;
    const start = new Int32Array(8);
    for (let i = 0; i < IDENTIFICATIONS; i++) {
      start[0] = i;
      this.#next[i] = hashTuple(key1, key0, start, 6, 0);
    }
  }

  /**
   * For a packet of `family` with these addresses: 32 bits, of IPv4 16, never 0, which the kernel would
   * replace.
   */
  take(family: Family, addresses: Int32Array): number {
    const slot = hashTuple(this.#key0, this.#key1, addresses, family, 0) & (IDENTIFICATIONS - 1);
    const id = this.#next[slot]++;
    return family === 4 ? id & 0xffff || 1 : id | 0 || 1;
  }
}

const header = new Uint8Array(ipv4.IPV4_MAX_HEADER_LEN);

/**
 * Whether the packet, as it will be sent, goes in fragments: it is larger than `mtu`, or came in fragments,
 * which are then no larger than those were, because their sender may know a narrow path.
 */
export const needsFragments = (packet: Packet, mtu: number): boolean =>
  packet.totalLen > mtu || (packet.largestFragment !== 0 && packet.datagramLen > packet.largestFragment);

/**
 * Sends the packet in fragments of at most `mtu` bytes and overwrites it. False: one of them could not be
 * sent, or `mtu` has no room for 8 bytes behind the headers.
 */
export function sendFragments(
  departures: Departures,
  frame: Frame,
  packet: Packet,
  mtu: number,
  id: number,
  serviceIndex: number,
): boolean {
  const { bytes } = frame;
  const { family, off, udpOff, datagramLen } = packet;
  const dataMax = packet.largestFragment === 0 ? datagramLen : packet.largestFragment;
  // The first header keeps its place; the others stand before their data, over data that was sent already.
  let headerLen = udpOff - off;
  for (let i = 0; i < headerLen; i++) header[i] = bytes[off + i];
  if (family === 6) headerLen += ipv6.FRAGMENT_HEADER_LEN;
  for (let at = 0; at < datagramLen; ) {
    const room = Math.min(mtu - headerLen, dataMax);
    const left = datagramLen - at;
    const len = left <= room ? left : room & ~7;
    if (len <= 0) return false; // no link is so narrow that nothing goes beside the header
    const fragmentOff = udpOff + at - headerLen;
    writeFragment(frame, fragmentOff, headerLen, packet, at, len, at + len < datagramLen, id);
    if (!departures.fragment(frame, fragmentOff, headerLen + len, serviceIndex)) return false;
    if (at === 0 && family === 4) headerLen = keepCopiedOptions(headerLen);
    at += len;
  }
  return true;
}

function writeFragment(
  { bytes, view }: Frame,
  off: number,
  headerLen: number,
  { family }: Packet,
  at: number,
  len: number,
  more: boolean,
  id: number,
): void {
  if (family === 4) {
    for (let i = 0; i < headerLen; i++) bytes[off + i] = header[i];
    ipv4.setTotalLen(view, off, headerLen + len);
    ipv4.setFragment(view, off, id, at, more);
    ipv4.fillChecksum(view, off);
    return;
  }
  for (let i = 0; i < ipv6.IPV6_HEADER_LEN; i++) bytes[off + i] = header[i];
  ipv6.setPayloadLen(view, off, ipv6.FRAGMENT_HEADER_LEN + len);
  ipv6.setNextHeader(view, off, ipv6.NEXT_FRAGMENT);
  ipv6.writeFragmentHeader(view, off + ipv6.IPV6_HEADER_LEN, ipv4.PROTOCOL_UDP, at, more, id);
}

/** Leaves in `header` only the options that every fragment bears; returns its new length. */
function keepCopiedOptions(headerLen: number): number {
  let write = ipv4.IPV4_HEADER_LEN;
  for (let read = write; read < headerLen && header[read] !== OPTION_END; ) {
    const type = header[read];
    const len = type === OPTION_NOP ? 1 : header[read + 1];
    if ((type & OPTION_COPIED) !== 0) {
      header.copyWithin(write, read, read + len);
      write += len;
    }
    read += len;
  }
  while ((write & 3) !== 0) header[write++] = OPTION_END;
  header[0] = 0x40 | (write >>> 2);
  return write;
}
