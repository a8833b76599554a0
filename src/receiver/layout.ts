// Layouts of the receiver's maps, which src/bpf/receiver-maps.h has in C and explains. Maps that are pinned
// are taken over by processes of other versions, so another layout needs another LAYOUT_VERSION.
import { BPF_F_NO_PREALLOC, MAP_TYPE, type MapLayout } from '../sys/libbpf.ts';
import { formatAddress } from '../wire/address.ts';

/** In the name of the folder of what is pinned. */
export const LAYOUT_VERSION = 2;

/** enum receiver_counter. */
export const COUNTERS = [
  'learned',
  'toldAgain',
  'carriers',
  'ignored',
  'malformed',
  'full',
  'unsent',
  'received',
  'receivedOther',
  'receivedCrossed',
  'sent',
  'connected',
  'named',
  'asked',
  'notAgain',
] as const;
export type ReceiverCounter = (typeof COUNTERS)[number];

export const TUPLE_LEN = 40;
export const LEARNED_LEN = 72;
export const WAY_LEN = 48;
export const PREFIX_LEN = 20;
export const ADDRESS_LEN = 16;
export const TOLD_LEN = 80;
const INDEX_LEN = 4;
const COUNTER_LEN = 8;
/** Of no program: text about the folder. */
export const ABOUT_LEN = 4096;

/** The most that `from` may hold; while it is changed, the former ones are there too. */
export const PREFIXES_MAX = 4096;
export const IGNORED_MAX = 1024;
export const RING_BYTES = 1 << 20;

/** Those that are pinned. */
export const PINNED = ['by_lip', 'by_client', 'trusted', 'ignored', 'counted', 'about'] as const;
export type PinnedMap = (typeof PINNED)[number];

export function layoutOf(maxClients: number): Record<PinnedMap, MapLayout> {
  const { hash, array, perCpuArray, lruHash, prefixTrie } = MAP_TYPE;
  const flags = BPF_F_NO_PREALLOC;
  return {
    by_lip: { type: hash, keyLen: TUPLE_LEN, valueLen: LEARNED_LEN, entries: maxClients, flags },
    by_client: { type: hash, keyLen: TUPLE_LEN, valueLen: WAY_LEN, entries: maxClients, flags },
    trusted: { type: prefixTrie, keyLen: PREFIX_LEN, valueLen: 4, entries: 2 * PREFIXES_MAX, flags },
    ignored: { type: lruHash, keyLen: ADDRESS_LEN, valueLen: COUNTER_LEN, entries: IGNORED_MAX, flags: 0 },
    counted: {
      type: perCpuArray,
      keyLen: INDEX_LEN,
      valueLen: COUNTER_LEN,
      entries: COUNTERS.length,
      flags: 0,
    },
    about: { type: array, keyLen: INDEX_LEN, valueLen: ABOUT_LEN, entries: 1, flags: 0 },
  };
}

export const RING_LAYOUT: MapLayout = {
  type: MAP_TYPE.ringBuffer,
  keyLen: 0,
  valueLen: 0,
  entries: RING_BYTES,
  flags: 0,
};

/** 2^30 ns of CLOCK_MONOTONIC. */
const TICK_NS = 2 ** 30;
export const TICK_MS = TICK_NS / 1e6;

/** The present tick. */
export function nowTick(): number {
  const [seconds, ns] = process.hrtime();
  return Math.floor((seconds * 1e9 + ns) / TICK_NS);
}

/** struct tuple: peer, bound, ports. */
export const TUPLE = { peer: 0, bound: 16, peerPort: 32, port: 34 } as const;
/** struct learned. */
export const LEARNED = { rip: 0, client: 16, vip: 32, cport: 48, vport: 50, flags: 52, used: 56 } as const;
/** struct way. */
export const WAY = { rip: 0, lip: 16, lport: 32, used: 40 } as const;
/** struct told. */
export const TOLD = { lip: 0, rip: 16, lport: 32, rport: 34, optionLen: 36, option: 40 } as const;
/** Of learned.flags. */
export const CROSSED = 2;

/** The number of a tick; it stays far below 2^53. */
export const tickAt = (bytes: Buffer, off: number): number => Number(bytes.readBigUInt64LE(off));

/** The 16 bytes at `off` as text. */
export function addressAt(bytes: Buffer, off: number): string {
  const words = new Int32Array(4);
  for (let word = 0; word < words.length; word++) words[word] = bytes.readInt32BE(off + 4 * word);
  return formatAddress(words, 0);
}
