// Puts datagrams together from their fragments, in whatever order they come. The whole datagram is then
// judged and forwarded like any other: so its checksum, its length and its UOA are seen, and nothing but
// whole datagrams reaches a real server. Bounded: 256 datagrams at a time for 5 s, of 64 fragments and 65,535
// bytes. When all places are taken, the datagram begun longest ago gives way, so that a flood of pieces does
// not keep out datagrams that come in one go.
import { hashTuple } from '../session/tuple-hash.ts';
import { copyBytes, Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import type { Packet } from '../wire/packet.ts';
import { UDP_HEADER_LEN } from '../wire/udp.ts';
import { COUNTER, counterRow, dropColumn } from './counters.ts';
import { DROP, VERDICT, type Verdict } from './verdict.ts';

const SLOTS = 256;
const FRAGMENTS_MAX = 64;
const TIMEOUT_MS = 5_000;
const DATA_MAX = 0xffff;
/** What a first fragment that is not the last brings at least: RFC 791's smallest packet has room for it. */
const FIRST_DATA_MIN = UDP_HEADER_LEN + 40;

/** A datagram's data stand behind room for the longest IP header and for what the datapath puts before it. */
const DATA_OFF = HEADROOM + ipv4.IPV4_MAX_HEADER_LEN + 4; // a multiple of 4
const SLOT_BYTES = DATA_OFF + DATA_MAX + 1;

// A slot's state, int32 words.
const HASH = 0;
const ADDRESSES = 1;
const ID = ADDRESSES + 8;
/** Protocol inside, family and side: fragments of another kind are of another datagram. */
const KIND = ID + 1;
const STARTED = KIND + 1;
/** Counts datagrams: of two, the one begun earlier has the lower number. */
const ORDER = STARTED + 1;
/** Fragments that are there; 0: the slot is free. */
const COUNT = ORDER + 1;
const BYTES = COUNT + 1;
/** Bytes of the whole datagram, -1 until the last fragment is there. */
const LENGTH = BYTES + 1;
/** Bytes of IP header before the data, 0 until the first fragment is there. */
const HEADER_LEN = LENGTH + 1;
const LARGEST = HEADER_LEN + 1;
/** 1: some fragment met congestion (ECN CE, RFC 3168, 5.3). */
const CONGESTED = LARGEST + 1;
/** 1: the first fragment carried a UOA in what does not go on. */
const FORGED = CONGESTED + 1;
const SLOT_WORDS = FORGED + 1;

const ECN_CE = 3;

/** Made when its slot is first used, and used again: most proxies never see a fragment. */
class Room {
  readonly frame = new Frame(new Uint8Array(SLOT_BYTES));
  /** First byte and end of each fragment in its datagram. */
  readonly ranges = new Int32Array(FRAGMENTS_MAX * 2);
}

const NO_FRAME = new Frame(new Uint8Array(0));

export class Reassembler {
  /** The datagram that `add` completed is the IP packet at frame.bytes[off, end), until the next fragment. */
  frame = NO_FRAME;
  off = 0;
  end = 0;
  /** The largest piece that it came in, bytes of data. */
  largest = 0;
  /** UOA options that stood before an IPv6 fragment header. */
  forged = 0;
  readonly #slots = new Int32Array(SLOTS * SLOT_WORDS);
  /** Of as many slots as were in use at once. */
  readonly #rooms: Room[] = [];
  readonly #counters: Float64Array;
  readonly #key0: number;
  readonly #key1: number;
  #begun = 0;

  constructor(counters: Float64Array, [key0, key1]: readonly [number, number]) {
    this.#counters = counters;
    this.#key0 = key0;
    this.#key1 = key1;
  }

  /**
   * Takes in a packet that was parsed as a fragment. Those from one side never complete a datagram of the
   * other. VERDICT.forward: its datagram is whole now.
   */
  add(packet: Packet, frame: Frame, side: number, nowMs: number): Verdict {
    const { dataLen, offset, more } = packet.fragment;
    const dataEnd = offset + dataLen;
    if (dataLen === 0 || (more && (dataLen & 7) !== 0) || dataEnd > DATA_MAX) return DROP.bad_fragment;
    if (offset === 0 && dataLen < FIRST_DATA_MIN) return DROP.fragment_tiny_first;
    const slot = this.#find(packet, side) ?? this.#open(packet, side, nowMs);
    const fault = this.#place(slot, offset, dataEnd, more);
    if (fault !== VERDICT.held) return fault;
    this.#counters[counterRow(-1) + COUNTER.fragmentsReceived]++;
    this.#copy(slot, packet, frame);
    return this.#isWhole(slot) ? this.#finish(slot, packet) : VERDICT.held;
  }

  /** Gives up datagrams that were not whole in time. */
  tick(nowMs: number): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = slot * SLOT_WORDS;
      if (this.#slots[at + COUNT] === 0 || ((nowMs - this.#slots[at + STARTED]) | 0) < TIMEOUT_MS) continue;
      this.#abandon(slot, DROP.fragment_timeout);
    }
  }

  #find(packet: Packet, side: number): number | undefined {
    const slots = this.#slots;
    const { addresses, fragment } = packet;
    const hash = this.#hash(packet);
    const kind = kindOf(packet, side);
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = slot * SLOT_WORDS;
      if (slots[at + HASH] !== hash || slots[at + COUNT] === 0) continue;
      if (slots[at + ID] !== fragment.id || slots[at + KIND] !== kind) continue;
      let same = 0;
      while (same < 8 && slots[at + ADDRESSES + same] === addresses[same]) same++;
      if (same === 8) return slot;
    }
    return undefined;
  }

  #open(packet: Packet, side: number, nowMs: number): number {
    const slots = this.#slots;
    const slot = this.#freeOrOldest();
    if (slot === this.#rooms.length) this.#rooms.push(new Room());
    const at = slot * SLOT_WORDS;
    if (slots[at + COUNT] !== 0) this.#abandon(slot, DROP.fragment_evicted);
    slots[at + HASH] = this.#hash(packet);
    for (let i = 0; i < 8; i++) slots[at + ADDRESSES + i] = packet.addresses[i];
    slots[at + ID] = packet.fragment.id;
    slots[at + KIND] = kindOf(packet, side);
    slots[at + STARTED] = nowMs;
    this.#begun = (this.#begun + 1) | 0;
    slots[at + ORDER] = this.#begun;
    slots[at + BYTES] = 0;
    slots[at + LENGTH] = -1;
    slots[at + HEADER_LEN] = 0;
    slots[at + LARGEST] = 0;
    slots[at + CONGESTED] = 0;
    slots[at + FORGED] = 0;
    return slot;
  }

  /** The first that is free, so that none is left out. */
  #freeOrOldest(): number {
    const slots = this.#slots;
    let oldest = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = slot * SLOT_WORDS;
      if (slots[at + COUNT] === 0) return slot;
      if (((slots[at + ORDER] - slots[oldest * SLOT_WORDS + ORDER]) | 0) < 0) oldest = slot;
    }
    return oldest;
  }

  /** Notes the range of a new fragment: VERDICT.held, or why it cannot be. */
  #place(slot: number, offset: number, dataEnd: number, more: boolean): Verdict {
    const slots = this.#slots;
    const { ranges } = this.#rooms[slot];
    const at = slot * SLOT_WORDS;
    const count = slots[at + COUNT];
    const last = count * 2;
    let highest = dataEnd;
    for (let range = 0; range < last; range += 2) {
      if (ranges[range] === offset && ranges[range + 1] === dataEnd) return DROP.fragment_duplicate;
      // RFC 5722 for IPv6; nothing honest overlaps over IPv4 either.
      if (offset < ranges[range + 1] && ranges[range] < dataEnd)
        return this.#abandonWith(slot, DROP.fragment_overlap);
      highest = Math.max(highest, ranges[range + 1]);
    }
    const length = more ? slots[at + LENGTH] : dataEnd;
    const isSecondEnd = !more && slots[at + LENGTH] >= 0;
    if (isSecondEnd || (length >= 0 && highest > length)) return this.#abandonWith(slot, DROP.bad_fragment);
    if (count === FRAGMENTS_MAX) return this.#abandonWith(slot, DROP.fragment_too_many);
    ranges[last] = offset;
    ranges[last + 1] = dataEnd;
    slots[at + COUNT] = count + 1;
    slots[at + BYTES] += dataEnd - offset;
    slots[at + LENGTH] = length;
    return VERDICT.held;
  }

  #copy(slot: number, packet: Packet, from: Frame): void {
    const slots = this.#slots;
    const { view } = from;
    const to = this.#rooms[slot].frame;
    const at = slot * SLOT_WORDS;
    const { family, off } = packet;
    const { dataOff, dataLen, offset } = packet.fragment;
    copyBytes(to, DATA_OFF + offset, from, dataOff, dataLen);
    slots[at + LARGEST] = Math.max(slots[at + LARGEST], dataLen);
    const tos = family === 4 ? ipv4.tos(view, off) : ipv6.trafficClass(view, off);
    if ((tos & ECN_CE) === ECN_CE) slots[at + CONGESTED] = 1;
    if (offset !== 0) return;
    // IPv6: what stands between the fixed header and the data is for those on the way, and ends here.
    const headerLen = family === 4 ? packet.headerLen : ipv6.IPV6_HEADER_LEN;
    slots[at + HEADER_LEN] = headerLen;
    slots[at + FORGED] = family === 6 ? packet.options.uoaCount : 0;
    copyBytes(to, DATA_OFF - headerLen, from, off, headerLen);
  }

  #isWhole(slot: number): boolean {
    const at = slot * SLOT_WORDS;
    return this.#slots[at + BYTES] === this.#slots[at + LENGTH] && this.#slots[at + HEADER_LEN] !== 0;
  }

  #finish(slot: number, packet: Packet): Verdict {
    const slots = this.#slots;
    const { frame } = this.#rooms[slot];
    const { view } = frame;
    const at = slot * SLOT_WORDS;
    const headerLen = slots[at + HEADER_LEN];
    const length = slots[at + LENGTH];
    const off = DATA_OFF - headerLen;
    if (packet.family === 4 && headerLen + length > DATA_MAX) {
      slots[at + COUNT]--; // the last one is the caller's verdict
      return this.#abandonWith(slot, DROP.bad_fragment);
    }
    const isCongested = slots[at + CONGESTED] !== 0;
    if (packet.family === 4) {
      if (isCongested) ipv4.setTos(view, off, ipv4.tos(view, off) | ECN_CE);
      ipv4.setTotalLen(view, off, headerLen + length);
      ipv4.setFragment(view, off, packet.fragment.id, 0, false);
      ipv4.fillChecksum(view, off);
    } else {
      if (isCongested) ipv6.setTrafficClass(view, off, ipv6.trafficClass(view, off) | ECN_CE);
      ipv6.setPayloadLen(view, off, length);
      ipv6.setNextHeader(view, off, packet.protocol);
    }
    this.frame = frame;
    this.off = off;
    this.end = off + headerLen + length;
    this.largest = slots[at + LARGEST];
    this.forged = slots[at + FORGED];
    this.#counters[counterRow(-1) + COUNTER.fragmentsJoined] += slots[at + COUNT];
    this.#counters[counterRow(-1) + COUNTER.datagramsReassembled]++;
    slots[at + COUNT] = 0;
    return VERDICT.forward;
  }

  /** Drops all that the slot holds because of the fragment under way, which the caller's verdict counts. */
  #abandonWith(slot: number, reason: Verdict): Verdict {
    this.#abandon(slot, reason);
    return reason;
  }

  #abandon(slot: number, reason: Verdict): void {
    const at = slot * SLOT_WORDS;
    this.#counters[counterRow(-1) + dropColumn(reason)] += this.#slots[at + COUNT];
    this.#slots[at + COUNT] = 0;
  }

  #hash({ addresses, family, fragment }: Packet): number {
    return hashTuple(this.#key0, this.#key1, addresses, family, fragment.id);
  }
}

const kindOf = ({ protocol, family }: Packet, side: number): number =>
  (side << 16) | (family << 8) | protocol;
