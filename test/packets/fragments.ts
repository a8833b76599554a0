// Cuts whole packets into fragments as a Linux kernel does (RFC 791, RFC 8200 section 4.5), and puts
// fragments together again for assertions. Single fragments with any offset are built with ipv4() or
// fragmentHeader(). Imports nothing of src/.
import { withHeaderChecksum } from './builder.ts';
import { DEST_OPTIONS, FRAGMENT, fragmentHeader, HOP_BY_HOP, ROUTING } from './builder6.ts';
import { at16, concat, u16 } from './bytes.ts';

/** An MTU, or the data bytes of each fragment but the last: multiples of 8. */
export type Cut = number | readonly number[];

/**
 * The fragments of an IPv4 packet, in order. Later ones have No-Operation in the place of options whose
 * copied bit is 0, as Linux leaves them.
 */
export function fragments4(packet: Uint8Array, cut: Cut): Uint8Array[] {
  const headerLen = ((packet[0] ?? 0) & 15) * 4;
  const flags = at16(packet, 6) & 0xc000;
  return pieces(packet.subarray(headerLen), cut, headerLen).map(({ offset, more, data }) => {
    const header = packet.slice(0, headerLen);
    if (offset > 0) dropUncopied(header.subarray(20));
    header.set(u16(headerLen + data.length), 2);
    header.set(u16(flags | (more ? 0x2000 : 0) | (offset / 8)), 6);
    return withHeaderChecksum(concat(header, data), headerLen);
  });
}

/** The fragments of an IPv6 packet, in order: headers up to the routing header are in each of them. */
export function fragments6(packet: Uint8Array, cut: Cut, id = 0x12345678): Uint8Array[] {
  const { end, nextOff } = unfragmentable(packet);
  return pieces(packet.subarray(end), cut, end + 8).map(({ offset, more, data }) => {
    const head = packet.slice(0, end);
    const fragment = fragmentHeader({ offset, more, id }).bytes;
    fragment[0] = head[nextOff]!;
    head[nextOff] = FRAGMENT;
    head.set(u16(end - 40 + fragment.length + data.length), 4);
    return concat(head, fragment, data);
  });
}

/** The whole packet that fragments in any order make; throws when they overlap or leave a hole. */
export function reassemble(fragments: readonly Uint8Array[]): Uint8Array {
  const parts = fragments.map(partOf).sort((one, other) => one.offset - other.offset);
  let length = 0;
  for (const [index, part] of parts.entries()) {
    if (part.offset !== length) throw new Error(`a fragment at ${part.offset} where ${length} is next`);
    if (part.more !== index < parts.length - 1) throw new Error(`more fragments: ${part.more} at ${index}`);
    length += part.data.length;
  }
  const head = parts[0]?.head ?? new Uint8Array(0);
  const whole = concat(head, ...parts.map(({ data }) => data));
  if ((whole[0] ?? 0) >> 4 === 6) {
    whole.set(u16(whole.length - 40), 4);
    return whole;
  }
  whole.set(u16(whole.length), 2);
  whole.set(u16(at16(whole, 6) & 0xc000), 6);
  return withHeaderChecksum(whole, head.length);
}

interface Piece {
  /** Bytes. */
  offset: number;
  more: boolean;
  data: Uint8Array;
}

function pieces(data: Uint8Array, cut: Cut, headerLen: number): Piece[] {
  const found: Piece[] = [];
  for (let offset = 0; offset < data.length; ) {
    const wanted =
      typeof cut === 'number' ? (cut - headerLen) & ~7 : (cut[found.length] ?? data.length - offset);
    const fits = typeof cut === 'number' && data.length - offset <= cut - headerLen;
    const length = fits ? data.length - offset : Math.min(wanted, data.length - offset);
    if (length <= 0) throw new Error(`no room for data in ${cut}`);
    found.push({
      offset,
      more: offset + length < data.length,
      data: data.subarray(offset, offset + length),
    });
    offset += length;
  }
  return found;
}

/** A fragment's place, and its headers as those of the whole packet (lengths are still the fragment's). */
function partOf(fragment: Uint8Array): Piece & { head: Uint8Array } {
  if ((fragment[0] ?? 0) >> 4 === 4) {
    const headerLen = ((fragment[0] ?? 0) & 15) * 4;
    const field = at16(fragment, 6);
    return {
      offset: (field & 0x1fff) * 8,
      more: (field & 0x2000) !== 0,
      data: fragment.subarray(headerLen),
      head: fragment.slice(0, headerLen),
    };
  }
  const { end, nextOff } = unfragmentable(fragment);
  if (fragment[nextOff] !== FRAGMENT) throw new Error('no fragment header');
  const head = fragment.slice(0, end);
  head[nextOff] = fragment[end]!;
  const field = at16(fragment, end + 2);
  return { offset: field & 0xfff8, more: (field & 1) !== 0, data: fragment.subarray(end + 8), head };
}

/** Where the part that is not cut ends, and where its last next-header byte is. */
function unfragmentable(packet: Uint8Array): { end: number; nextOff: number } {
  let found = { end: 40, nextOff: 6 };
  let off = 40;
  for (
    let header = packet[6] ?? 0;
    header === HOP_BY_HOP || header === ROUTING || header === DEST_OPTIONS;
  ) {
    const nextOff = off;
    off += ((packet[off + 1] ?? 0) + 1) * 8;
    if (off > packet.length) throw new Error('an extension header beyond the packet');
    if (header !== DEST_OPTIONS) found = { end: off, nextOff };
    header = packet[nextOff] ?? 0;
  }
  return found;
}

function dropUncopied(options: Uint8Array): void {
  for (let off = 0; off < options.length && options[off] !== 0; ) {
    const length = options[off] === 1 ? 1 : (options[off + 1] ?? 0);
    if (length < 1) return;
    if ((options[off] ?? 0) < 128) options.fill(1, off, off + length);
    off += length;
  }
}
