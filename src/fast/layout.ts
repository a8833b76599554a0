// Layouts of the maps of the fast path, which src/bpf/hot.h has in C and explains, and its reasons. Maps that
// are pinned are taken over by processes of other versions, so another layout needs another LAYOUT_VERSION.
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, MAP_TYPE } from '../sys/libbpf.ts';

/** In the name of the folder of what is pinned. */
export const LAYOUT_VERSION = 1;

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
  /** Rows of activity are twice as many. */
  sessions: number;
  hops: number;
  /** Interfaces. */
  ports: number;
  /** Who share sessions and hops in equal parts; 1 where it is not said. */
  workers?: number;
}

/** Bytes of keys and values. */
export const KEY4_LEN = 16;
export const KEY6_LEN = 40;
export const HOT4_LEN = 24;
export const HOT6_LEN = 48;
export const ACTIVITY_LEN = 16;
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
  'hot4',
  'hot6',
  'activity',
  'hops',
  'control',
  'ports',
  'passed',
  'offered',
] as const;
export type MapName = (typeof MAP_NAMES)[number];

export interface MapLayout {
  type: number;
  keyLen: number;
  valueLen: number;
  entries: number;
  flags: number;
}

export function layoutOf({ sessions, hops, ports }: FastPathSizes): Record<MapName, MapLayout> {
  const memory = (valueLen: number, entries: number): MapLayout => ({
    type: MAP_TYPE.array,
    keyLen: INDEX_LEN,
    valueLen,
    entries,
    flags: BPF_F_MMAPABLE,
  });
  const hot = (keyLen: number, valueLen: number): MapLayout => ({
    type: MAP_TYPE.hash,
    keyLen,
    valueLen,
    entries: 2 * sessions,
    flags: BPF_F_NO_PREALLOC,
  });
  return {
    hot4: hot(KEY4_LEN, HOT4_LEN),
    hot6: hot(KEY6_LEN, HOT6_LEN),
    activity: memory(ACTIVITY_LEN, 2 * sessions),
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
