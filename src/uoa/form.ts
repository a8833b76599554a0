// A form: how one dialect writes one client family's UOA into a packet of one family towards the real server.
// There are three places for it: an IPv4 option, a protocol-248 header before UDP, an IPv6 destination
// options header before UDP. A form knows bytes: not which service or real server it serves, nor how often it
// is sent (handshake.ts).
import type { Frame } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as opp from '../wire/opp.ts';
import type { Packet } from '../wire/packet.ts';
import type { Origin } from './origin.ts';

export interface UoaForm {
  /** Bytes that it adds to a packet. */
  readonly size: number;
  readonly place: Place;
  /** False: only ever sent as a carrier. */
  readonly inserted: boolean;
  /** No IPv4 option may stand beside it. */
  readonly alone: boolean;
  /** Where its option starts within the `size` bytes, and how long that is. */
  readonly optionOff: number;
  readonly optionLen: number;
  /** Writes all `size` bytes; a header says that UDP follows. */
  write(view: DataView, off: number, origin: Origin): void;
}

/** What stands in the IP header's protocol field: UDP itself where the UOA is an IPv4 option. */
type Place = typeof ipv4.PROTOCOL_UDP | typeof ipv4.PROTOCOL_OPP | typeof ipv6.NEXT_DESTINATION;

/** The forms of a dialect towards one family of real servers, by family of the client. */
export interface UoaForms {
  readonly 4: UoaForm;
  readonly 6: UoaForm;
}

/** Writes an option, its type first, its length second. */
export type WriteOption = (view: DataView, off: number, origin: Origin) => void;

/** `optionLen` is a multiple of 4. */
export function ipv4Option(optionLen: number, write: WriteOption, alone = false): UoaForm {
  const place = ipv4.PROTOCOL_UDP;
  return { size: optionLen, place, inserted: true, alone, optionOff: 0, optionLen, write };
}

/** Exactly one option and no padding inside, or a public receiver corrupts its memory. */
export function oppHeader(
  version: number,
  optionLen: number,
  write: WriteOption,
  inserted: boolean,
): UoaForm {
  const size = opp.OPP_HEADER_LEN + optionLen;
  return {
    size,
    place: ipv4.PROTOCOL_OPP,
    inserted,
    alone: false,
    optionOff: opp.OPP_HEADER_LEN,
    optionLen,
    write(view, off, origin) {
      opp.writeHeader(view, off, version, ipv4.PROTOCOL_UDP, size);
      write(view, off + opp.OPP_HEADER_LEN, origin);
    },
  };
}

const OPTION_PADN = 1;

/**
 * The option directly behind the two bytes of the header, then PadN, zero-filled as Linux demands, up to 8
 * bytes.
 */
export function destinationOptions(optionLen: number, write: WriteOption): UoaForm {
  const size = (2 + optionLen + 7) & ~7;
  const padding = size - 2 - optionLen;
  if (padding === 1) throw new RangeError('one byte of padding would have to be Pad1');
  return {
    size,
    place: ipv6.NEXT_DESTINATION,
    inserted: true,
    alone: false,
    optionOff: 2,
    optionLen,
    write(view, off, origin) {
      view.setUint8(off, ipv4.PROTOCOL_UDP);
      view.setUint8(off + 1, (size >>> 3) - 1);
      write(view, off + 2, origin);
      const padOff = off + 2 + optionLen;
      for (let i = 0; i < padding; i++) view.setUint8(padOff + i, 0);
      if (padding === 0) return;
      view.setUint8(padOff, OPTION_PADN);
      view.setUint8(padOff + 1, padding - 2);
    },
  };
}

/**
 * Whether the packet towards the real server has room for the UOA inside, up to `mtu` bytes. An empty
 * datagram never has: with a UOA it would be a carrier, which receivers keep from their programs.
 */
export function hasRoom(form: UoaForm, packet: Packet, mtu: number): boolean {
  if (!form.inserted || packet.payloadLen === 0 || packet.totalLen + form.size > mtu) return false;
  if (packet.family === 6) return true;
  // The same bound for opp: behind more options than that receivers lose the datagram.
  if (packet.headerLen + form.size > ipv4.IPV4_MAX_HEADER_LEN) return false;
  return !form.alone || packet.headerLen === ipv4.IPV4_HEADER_LEN;
}

/**
 * Inserts the UOA into the UDP packet at `off` of `headerLen` bytes of IP header, growing it towards lower
 * addresses by form.size. Lengths and protocol are set, checksums are not. Returns the packet's new offset.
 * An IPv4 option becomes the first, because receivers see nothing behind an End-of-Options.
 */
export function insertUoa(
  form: UoaForm,
  frame: Frame,
  off: number,
  headerLen: number,
  origin: Origin,
): number {
  const newOff = off - form.size;
  const before = bytesBefore(form, headerLen);
  frame.bytes.copyWithin(newOff, off, off + before);
  form.write(frame.view, newOff + before, origin);
  grow(form, frame.view, newOff, form.size, form.place);
  return newOff;
}

/**
 * Undoes insertUoa: takes what it returned and the same header length, returns the offset that it was given.
 */
export function removeUoa(form: UoaForm, frame: Frame, off: number, headerLen: number): number {
  const oldOff = off + form.size;
  const before = bytesBefore(form, headerLen);
  frame.bytes.copyWithin(oldOff, off, off + before);
  grow(form, frame.view, oldOff, -form.size, ipv4.PROTOCOL_UDP);
  return oldOff;
}

const expected = new DataView(new ArrayBuffer(64));

/** Whether the parsed packet carries exactly the UOA that the form writes for `origin`, and no other. */
export function matchesUoa(form: UoaForm, frame: Frame, packet: Packet, origin: Origin): boolean {
  const { options, oppLen } = packet;
  let off: number;
  let from = form.optionOff;
  if (form.place === ipv4.PROTOCOL_OPP) {
    if (oppLen !== form.size || options.uoaCount !== 0) return false;
    off = packet.udpOff - oppLen;
    from = 0;
  } else {
    if (oppLen !== 0 || options.uoaCount !== 1 || options.uoaLen !== form.optionLen) return false;
    off = options.uoaOff - from;
  }
  form.write(expected, 0, origin);
  const end = form.optionOff + form.optionLen;
  for (let i = from; i < end; i++) if (frame.view.getUint8(off + i) !== expected.getUint8(i)) return false;
  return true;
}

const bytesBefore = (form: UoaForm, headerLen: number): number =>
  form.place === ipv4.PROTOCOL_UDP ? ipv4.IPV4_HEADER_LEN : headerLen;

function grow(form: UoaForm, view: DataView, off: number, growth: number, protocol: number): void {
  if (ipv4.version(view, off) === 6) {
    ipv6.setPayloadLen(view, off, ipv6.payloadLen(view, off) + growth);
    ipv6.setNextHeader(view, off, protocol);
    return;
  }
  ipv4.setTotalLen(view, off, ipv4.totalLen(view, off) + growth);
  if (form.place === ipv4.PROTOCOL_UDP) ipv4.setHeaderLen(view, off, ipv4.headerLen(view, off) + growth);
  else ipv4.setProtocol(view, off, protocol);
}
