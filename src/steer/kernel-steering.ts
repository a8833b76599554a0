// The steering program in the kernel (src/bpf/steering.bpf.c says what it does): one for each port, which
// differ in what is fixed for life, over one map of addresses and one table of known sources.

import { createMap, loadObject, MAP_TYPE, updateMap, updateMapBatch } from '../sys/libbpf.ts';
import { close as closeFd } from '../sys/libc.ts';
import { type KnownSpec, openKnown, PORT_FACTOR, type SourceHash, startOn } from './known-sources.ts';
import { ADDRESS_LEN, addressEntries, ENDPOINT_LEN, type SteeredAddresses } from './steering-addresses.ts';

const OBJECT = new URL('../bpf/steering.bpf.o', import.meta.url);
const PROGRAM = 'steering';

/** The place of the sink among the members of a fanout group, which are numbered as they join. */
export const SINK = 0;

export interface KernelSteering {
  /** Per port: the descriptor of what its fanout group asks. */
  readonly programs: readonly number[];
  /** Of the table of known sources, for KnownSources. */
  readonly knownFd: number;
  /**
   * Puts these addresses in the place of those before, between two packets; when it returns, nothing goes by
   * the ones before any more. Throws a BpfError, with those before at work.
   */
  change(addresses: SteeredAddresses): void;
  /** Its programs stay with the groups that have them. */
  close(): void;
}

/** Maps of the fast path at tc (src/bpf/hot-entries.h), to which packets of hot sessions are left. */
export interface HotMaps {
  readonly hot: number;
  readonly hot6: number;
  readonly hot_buckets: number;
  readonly hashing: number;
  readonly offered: number;
  readonly control: number;
  /** Of each port the row of `control`. */
  readonly rows: readonly number[];
}

/** `key` is the steering key. Nothing is the proxy's yet. Throws a BpfError, or an IoError without libbpf. */
export function openKernelSteering(
  ports: number,
  workers: number,
  key: readonly number[],
  known: KnownSpec,
  hot?: HotMaps,
): KernelSteering {
  const undo: (() => void)[] = [];
  const close = () => {
    for (const step of undo.splice(0).reverse()) step();
  };
  try {
    const knownFd = openKnown(known);
    undo.push(() => closeFd(knownFd));
    const programs: number[] = [];
    let plans = -1;
    for (let port = 0; port < ports; port++) {
      const object = loadObject(OBJECT, {
        readOnly: settingsOf(port, workers, key, known, hot),
        reuse: { known: knownFd, ...reuseOf(hot), ...(port === 0 ? {} : { plans }) },
      });
      undo.push(() => object.close());
      programs.push(object.programFd(PROGRAM));
      if (port === 0) plans = object.mapFd('plans');
    }
    return { programs, knownFd, change: (addresses) => putAddresses(plans, addresses), close };
  } catch (error) {
    close();
    throw error;
  }
}

function reuseOf(hot: HotMaps | undefined): Record<string, number> {
  if (hot === undefined) return {};
  const { hot: sessions, hot6, hot_buckets, hashing, offered, control } = hot;
  return { hot: sessions, hot6, hot_buckets, hashing, offered, control };
}

/** The kernel waits for the programs that look at the map before. */
function putAddresses(plans: number, addresses: SteeredAddresses): void {
  const { count, keys, values } = addressEntries(addresses);
  const fd = createMap(MAP_TYPE.hash, 'addresses', {
    keyLen: ENDPOINT_LEN,
    valueLen: ADDRESS_LEN,
    entries: Math.max(1, count),
  });
  try {
    updateMapBatch(fd, keys, values, count);
    updateMap(plans, words([0]), words([fd]));
  } finally {
    closeFd(fd);
  }
}

/** `settings` of the program. */
function settingsOf(
  port: number,
  workers: number,
  key: readonly number[],
  known: KnownSpec,
  hot: HotMaps | undefined,
): Uint8Array {
  const sourceHash = (hash: SourceHash) => [startOn(hash, port), ...hash.factors.slice(0, PORT_FACTOR + 1)];
  const hashes = [known.buckets - 1, ...sourceHash(known.place), ...sourceHash(known.tag)];
  return words([workers, ...key, ...hashes, hot === undefined ? 0 : 1, hot?.rows[port] ?? 0]);
}

const words = (values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
