// Who has been answered: source addresses and ports whose packets belong to sessions that both ends have
// used. Memory shared with the kernel, where the steering program asks for each packet, so that a flood of
// unknown sources cannot take their room. A table of buckets with three tags each; a tag
// is a second hash of the same source under another key. Who finds its bucket full takes the place of
// another, who comes in as an unknown source once more and is noted again. The bucket's last word is the
// kernel's: it counts the packets of its sources, and who sends too many comes in among the unknown ones.
import { randomBytes } from 'node:crypto';
import { explain } from '../sys/io-error.ts';
import { BPF_F_MMAPABLE, createMap, MAP_TYPE } from '../sys/libbpf.ts';
import { mapSharedMemory } from '../sys/shared-memory.ts';
import { ADDRESS_WORDS, V4_MAPPED } from '../wire/address.ts';
import { mix } from '../wire/hash.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';

/** Halves of an address (IPv6); behind their factors those of the UDP port and of the interface. */
const HALVES = 8;
export const PORT_FACTOR = HALVES;
const INTERFACE_FACTOR = PORT_FACTOR + 1;
/** Where the source address stands in an IPv6 header. */
const IPV6_SOURCE = 8;
/** Tags of a bucket, and the words of one. */
const TAGS = 3;
const BUCKET_WORDS = TAGS + 1;
const BUCKET_LEN = 4 * BUCKET_WORDS;
const MIN_BUCKETS = 1 << 10;
const MAX_BUCKETS = 1 << 22;

/**
 * A sum of halves times secret odd factors (see steering.ts), to begin with `start`. The interface is part of
 * it: who is known as a real server on the lan side is unknown on the wan side, where its address can only
 * be forged.
 */
export interface SourceHash {
  readonly start: number;
  readonly factors: readonly number[];
}

/** What the kernel's program and all workers have in common. Plain data. */
export interface KnownSpec {
  /** A power of two. */
  readonly buckets: number;
  readonly place: SourceHash;
  readonly tag: SourceHash;
}

/** For so many sources at a time: three times as many have a place. */
export function knownSpec(sources: number): KnownSpec {
  let buckets = MIN_BUCKETS;
  while (buckets < sources && buckets < MAX_BUCKETS) buckets *= 2;
  return { buckets, place: randomHash(), tag: randomHash() };
}

function randomHash(): SourceHash {
  const words = new Int32Array(new Uint8Array(randomBytes(4 * (INTERFACE_FACTOR + 2))).buffer);
  return { start: words[0], factors: Array.from(words.subarray(1), (word) => word | 1) };
}

/** What the sum begins with for packets of an interface, by its place in the list of ports. */
export const startOn = ({ start, factors }: SourceHash, portIndex: number): number =>
  (start + Math.imul(factors[INTERFACE_FACTOR], portIndex)) | 0;

/** Opens its memory, an array map. Throws a BpfError. */
export const openKnown = ({ buckets }: KnownSpec): number =>
  createMap(MAP_TYPE.array, 'known', {
    keyLen: 4,
    valueLen: BUCKET_LEN,
    entries: buckets,
    flags: BPF_F_MMAPABLE,
  });

export class KnownSources {
  readonly #spec: KnownSpec;
  readonly #tags: Int32Array;
  /** The place in a full bucket that is taken next. */
  #turn = 0;
  /** The source looked at: address (wire/address.ts), port, and where it came in. */
  readonly #source = new Int32Array(ADDRESS_WORDS);
  #port = 0;
  #portIndex = 0;
  /** Of a source: its bucket, and its tag there. */
  #place = 0;
  #tag = 0;

  /** `fd` is what openKnown opened. Throws an IoError. */
  constructor(spec: KnownSpec, fd: number) {
    this.#spec = spec;
    try {
      this.#tags = new Int32Array(mapSharedMemory(fd, spec.buckets * BUCKET_LEN));
    } catch (error) {
      const what = 'the table of known sources cannot be mapped';
      throw explain(error, what, () => 'take CAP_BPF from the process');
    }
  }

  /**
   * Looks at the source of the IP packet at `off`, from this port; false: the kernel does not look it up.
   * Hashed it is only when it is noted: of 17 ns it takes 11, and the sources of a flood never are.
   */
  look(view: DataView, off: number, portIndex: number): boolean {
    const source = this.#source;
    this.#portIndex = portIndex;
    if (ipv4.version(view, off) === 4) {
      if (ipv4.protocol(view, off) !== ipv4.PROTOCOL_UDP || ipv4.isFragment(view, off)) return false;
      source[0] = 0;
      source[1] = 0;
      source[2] = V4_MAPPED;
      source[3] = ipv4.src(view, off);
      this.#port = view.getUint16(off + ipv4.headerLen(view, off));
      return true;
    }
    if (ipv6.nextHeader(view, off) !== ipv4.PROTOCOL_UDP) return false;
    for (let word = 0; word < ADDRESS_WORDS; word++)
      source[word] = view.getInt32(off + IPV6_SOURCE + 4 * word);
    this.#port = view.getUint16(off + ipv6.IPV6_HEADER_LEN);
    return true;
  }

  /** Notes the source looked at, unless it is there. */
  note(): void {
    this.noteClient(this.#source, 0, this.#port, this.#portIndex);
  }

  /** Notes a source: address (four words), port, and where it comes in. */
  noteClient(words: Int32Array, at: number, port: number, portIndex: number): void {
    const isIpv4 = words[at] === 0 && words[at + 1] === 0 && words[at + 2] === V4_MAPPED;
    this.#begin(port, portIndex);
    for (let word = isIpv4 ? ADDRESS_WORDS - 1 : 0, half = 0; word < ADDRESS_WORDS; word++, half += 2) {
      this.#add(half, words[at + word] >>> 16);
      this.#add(half + 1, words[at + word] & 0xffff);
    }
    this.#end();
    this.#put();
  }

  #begin(port: number, portIndex: number): void {
    const { place, tag } = this.#spec;
    this.#place = startOn(place, portIndex) + Math.imul(place.factors[PORT_FACTOR], port);
    this.#tag = startOn(tag, portIndex) + Math.imul(tag.factors[PORT_FACTOR], port);
  }

  #add(factor: number, half: number): void {
    this.#place = (this.#place + Math.imul(this.#spec.place.factors[factor], half)) | 0;
    this.#tag = (this.#tag + Math.imul(this.#spec.tag.factors[factor], half)) | 0;
  }

  #end(): void {
    this.#place = mix(this.#place | 0) & (this.#spec.buckets - 1);
    if (this.#tag === 0) this.#tag = 1;
  }

  #put(): void {
    const tags = this.#tags;
    const first = this.#place * BUCKET_WORDS;
    let free = -1;
    for (let i = first; i < first + TAGS; i++) {
      if (tags[i] === this.#tag) return;
      if (tags[i] === 0 && free < 0) free = i;
    }
    if (free < 0) {
      this.#turn = (this.#turn + 1) % TAGS;
      free = first + this.#turn;
    }
    tags[free] = this.#tag;
  }
}
