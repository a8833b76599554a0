// Layouts of the maps of the fast path, which src/bpf/hot.h has in C and explains, and its reasons. Maps that
// are pinned are taken over by processes of other versions, so another layout needs another LAYOUT_VERSION.
import { BPF_F_MMAPABLE, MAP_TYPE, type MapLayout } from '../sys/libbpf.ts';

/** In the name of the folder of what is pinned. */
export const LAYOUT_VERSION = 2;

/**
 * Why packets are left to the slow path: enum reason of src/bpf/reason.h, which explains each, behind
 * FORWARDED.
 */
export const FAST_PATH_REASONS = [
  'off',
  'dead',
  'vlan',
  'not_ip',
  'not_udp',
  'fragment',
  'options',
  'extension',
  'truncated',
  'not_hot',
  'ended',
  'wrong_side',
  'not_ours',
  'ttl',
  'bad_length',
  'bad_checksum',
  'unfinished',
  'empty',
  'idle',
  'no_hop',
  'too_long',
  'confirm',
] as const;

export type FastPathReason = (typeof FAST_PATH_REASONS)[number];

/** What the fast path has room for. Maps that are there already are taken over only if it is the same. */
export interface FastPathSizes {
  sessions: number;
  /** Of them those that may be of IPv6, which takes more: all, as where it is not said, or 0. */
  sessions6?: number;
  hops: number;
  /** Interfaces. */
  ports: number;
  /** Who share sessions and hops in equal parts; 1 where it is not said. */
  workers?: number;
}

/** Bytes of values. */
export const HOT_LEN = 64;
export const HOT6_LEN = 64;
export const BUCKET_LEN = 64;
export const HASHING_LEN = 80;
export const HOP_LEN = 48;
export const PORT_LEN = 24;
const OFFER_LEN = 16;
const INDEX_LEN = 4;
const IFINDEX_LEN = 4;
const COUNTER_LEN = 8;

/** Of no program: how many workers, and the steering key by which they shared out the sessions. */
export const ABOUT_LEN = 64;
export const ABOUT_WORDS = ABOUT_LEN / 4;

export const MAP_NAMES = [
  'hot',
  'hot6',
  'hot_buckets',
  'hashing',
  'hops',
  'control',
  'ports',
  'passed',
  'offered',
] as const;
export type MapName = (typeof MAP_NAMES)[number];

export function layoutOf({
  sessions,
  sessions6 = sessions,
  hops,
  ports,
}: FastPathSizes): Record<MapName, MapLayout> {
  const memory = (valueLen: number, entries: number): MapLayout => ({
    type: MAP_TYPE.array,
    keyLen: INDEX_LEN,
    valueLen,
    entries,
    flags: BPF_F_MMAPABLE,
  });
  return {
    hot: memory(HOT_LEN, sessions),
    hot6: memory(HOT6_LEN, Math.max(1, sessions6)),
    hot_buckets: memory(BUCKET_LEN, bucketsFor(sessions)),
    hashing: memory(HASHING_LEN, 1),
    hops: memory(HOP_LEN, hops),
    control: memory(PORT_LEN, ports),
    ports: {
      type: MAP_TYPE.deviceHash,
      keyLen: IFINDEX_LEN,
      valueLen: IFINDEX_LEN,
      entries: ports,
      flags: 0,
    },
    passed: {
      type: MAP_TYPE.perCpuArray,
      keyLen: INDEX_LEN,
      valueLen: COUNTER_LEN,
      entries: FAST_PATH_REASONS.length + 1,
      flags: 0,
    },
    offered: {
      type: MAP_TYPE.perCpuArray,
      keyLen: INDEX_LEN,
      valueLen: OFFER_LEN,
      entries: ports,
      flags: 0,
    },
  };
}

/**
 * Buckets of 8 places for two entries of each session: a power of two, by which at most half of the places
 * are taken, so that there is hardly ever no room in one of two buckets.
 */
export const bucketsFor = (sessions: number): number => 2 ** Math.max(1, Math.ceil(Math.log2(sessions / 2)));

/** 2^27 ns of CLOCK_MONOTONIC, as an int32 that wraps. */
const TICK_NS = 2 ** 27;
export const TICK_MS = TICK_NS / 1e6;

/** The present tick. The kernel's is some milliseconds behind. */
export function nowTick(): number {
  const [seconds, ns] = process.hrtime();
  return Math.floor((seconds * 1e9 + ns) / TICK_NS) | 0;
}

/** The 6 bytes of '02:00:00:00:00:01'. Throws a RangeError. */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new RangeError(`not an Ethernet address: ${text}`);
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}
