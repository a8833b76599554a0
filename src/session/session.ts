// The session record: 16 int32 words, one cache line, in memory that the control plane maps too. Only the
// datapath writes; a reader may see a record change under its hands and must treat what it reads as a
// snapshot.
import { HANDSHAKE_WORDS } from '../uoa/handshake.ts';
import { ADDRESS_WORDS, type Family, isV4 } from '../wire/address.ts';

/** CIP in four words (wire/address.ts). */
export const CLIENT = 0;
/** cport in the upper half, service index in the lower. */
export const CPORT_SERVICE = CLIENT + ADDRESS_WORDS;
/** lport in the upper half; in the lower flags, and when a path MTU was learned. */
export const LPORT_FLAGS = CPORT_SERVICE + 1;
/**
 * Leg index in the lower half; in the upper the path MTU towards the real server that ICMP taught us, 0 =
 * none.
 */
export const LEG_MTU = LPORT_FLAGS + 1;
/** Time of the last forwarded packet of either direction, int32 ms. */
export const LAST_SEEN = LEG_MTU + 1;
/** HANDSHAKE_WORDS words that belong to uoa/handshake.ts. */
export const HANDSHAKE = LAST_SEEN + 1;
/** Chain links of the index, one per direction: entry + 1, 0 at the end. */
export const NEXT = HANDSHAKE + HANDSHAKE_WORDS;

export const SESSION_WORDS = NEXT + 2;

export const FLAG_USED = 1;
/** A packet of the real server was forwarded: state `normal`; without it the state is `oneway`. */
export const FLAG_NORMAL = 2;
/** Counted among its client's sessions, in memory that all datapaths share (datapath/client-table.ts). */
export const FLAG_COUNTED = 4;
const FLAG_BITS = 3;
export const FLAGS = (1 << FLAG_BITS) - 1;

/**
 * A path MTU is forgotten, because paths widen again (RFC 1191, 6.3): after 10 to 11 of these units, of 65.5
 * s.
 */
const LEARNED_SHIFT = 16;
const LEARNED_MASK = 0x1fff;
const LEARNED_UNITS = 10;

export const cportOf = (records: Int32Array, base: number): number => records[base + CPORT_SERVICE] >>> 16;
export const serviceOf = (records: Int32Array, base: number): number =>
  records[base + CPORT_SERVICE] & 0xffff;
export const lportOf = (records: Int32Array, base: number): number => records[base + LPORT_FLAGS] >>> 16;
export const legOf = (records: Int32Array, base: number): number => records[base + LEG_MTU] & 0xffff;
/** The path MTU towards the session's real server that ICMP taught not long ago; 0 = none. */
export function learnedMtuOf(records: Int32Array, base: number, nowMs: number): number {
  const mtu = records[base + LEG_MTU] >>> 16;
  return mtu === 0 || isLearnedOver(records, base, nowMs) ? 0 : mtu;
}

/**
 * To be called with a session's packets, which come at least once a day: after 6.2 days the units come round.
 */
export function forgetOldMtu(records: Int32Array, base: number, nowMs: number): void {
  if (records[base + LEG_MTU] >>> 16 !== 0 && isLearnedOver(records, base, nowMs))
    records[base + LEG_MTU] = legOf(records, base);
}

function isLearnedOver(records: Int32Array, base: number, nowMs: number): boolean {
  const learnedAt = (records[base + LPORT_FLAGS] >>> FLAG_BITS) & LEARNED_MASK;
  return (((nowMs >>> LEARNED_SHIFT) - learnedAt) & LEARNED_MASK) > LEARNED_UNITS;
}

/** Notes a path MTU, at most 65,535. */
export function learnMtu(records: Int32Array, base: number, mtu: number, nowMs: number): void {
  records[base + LEG_MTU] = (mtu << 16) | legOf(records, base);
  const others = records[base + LPORT_FLAGS] & ~(LEARNED_MASK << FLAG_BITS);
  records[base + LPORT_FLAGS] = others | (((nowMs >>> LEARNED_SHIFT) & LEARNED_MASK) << FLAG_BITS);
}
export const isUsed = (records: Int32Array, base: number): boolean =>
  (records[base + LPORT_FLAGS] & FLAG_USED) !== 0;
export const isNormal = (records: Int32Array, base: number): boolean =>
  (records[base + LPORT_FLAGS] & FLAG_NORMAL) !== 0;
/** Where a service's VIP of a family stands in its eight words of VIPs. */
export const vipAt = (family: Family): number => (family === 4 ? 0 : 4);
export const familyOfClient = (records: Int32Array, base: number): Family =>
  isV4(records, base + CLIENT) ? 4 : 6;
