// Frames of somebody who knows a hot session's addresses and ports: valid ones, and such that differ in one
// thing each. None of them can be taken for another datagram than the one that it was made of.
import { macBytes } from '../../src/fast/layout.ts';
import { icmp4, withHeaderChecksum } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import { concat, u16, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';

const ETHERNET = 14;

/** Numbers below `limit`, the same again for the same seed (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed | 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

export interface Target {
  /** Of a datagram of the session as it comes in, and the Ethernet address that it comes to. */
  fields: EitherFields;
  mac: string;
}

type Random = (limit: number) => number;

/** An ICMP error about what the session sent there, of any kind. */
export function hostileError({ fields, mac }: Target, random: Random): Uint8Array {
  const about = { src: fields.src, dst: fields.dst, rest: random(70_000) };
  const packet = udp({
    ...fields,
    src: fields.dst,
    dst: fields.src,
    sport: fields.dport,
    dport: fields.sport,
  });
  const isV4 = !fields.src.includes(':');
  const body = packet.subarray(0, (isV4 ? 28 : 48) + random(40));
  const error = isV4
    ? icmp4({ ...about, type: 3 + 8 * random(2), code: random(16), body })
    : icmp6({ ...about, type: 1 + random(4), code: random(8), body });
  return concat(macBytes(mac), unhex('02000000eeee'), unhex(isV4 ? '0800' : '86dd'), error);
}

/** A frame that differs from a right one in something, or in nothing. */
export function hostileFrame({ fields, mac }: Target, random: Random): Uint8Array {
  const isV4 = !fields.src.includes(':');
  const packet = udp(fields);
  const headerLen = isV4 ? 20 : 40;
  const type = isV4 ? '0800' : '86dd';
  const frameOf = (content: Uint8Array, tags = '', to = mac) =>
    concat(macBytes(to), unhex('02000000eeee'), unhex(tags), unhex(type), content);
  const withLengths = (change: (bytes: Uint8Array) => void) => {
    const bytes = packet.slice();
    change(bytes);
    return frameOf(isV4 ? withHeaderChecksum(bytes, headerLen) : bytes);
  };
  /** One byte: no sum of 16-bit words stays as it was. */
  const flipped = (bytes: Uint8Array, from: number) => {
    const copy = bytes.slice();
    copy[from + random(bytes.length - from)]! ^= 1 + random(255);
    return copy;
  };
  const kinds: (() => Uint8Array)[] = [
    () => frameOf(packet),
    () => flipped(frameOf(packet), 0),
    () => flipped(frameOf(packet), ETHERNET),
    () => frameOf(flipped(packet, headerLen + 8)),
    () => frameOf(packet).subarray(0, ETHERNET + random(packet.length)),
    () => frameOf(concat(packet, new Uint8Array(random(64)))),
    () => withLengths((bytes) => bytes.set(u16(random(0x10000)), headerLen + 4)),
    () => withLengths((bytes) => bytes.set(u16(random(0x10000)), isV4 ? 2 : 4)),
    () => frameOf(udp({ ...fields, ttl: random(3) })),
    () => frameOf(packet, '81000005'),
    () => frameOf(packet, '88a8000581000006'),
    () => frameOf(packet, '', '02:00:00:00:00:99'),
    () => frameOf(packet, '', 'ff:ff:ff:ff:ff:ff'),
    () =>
      frameOf(
        isV4 ? fragments4(packet, [40])[random(2)]! : fragments6(packet, [40], random(1e9))[random(2)]!,
      ),
    () => frameOf(udp(isV4 ? { ...fields, options: unhex('94040000') } : { ...fields, ttl: 64 })),
  ];
  return kinds[random(kinds.length)]!();
}
