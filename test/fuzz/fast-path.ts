// The fast path against the datapath. Two proxies of one plan get the same packets: one is a datapath alone,
// the other has the fast path in front (the real program by BPF_PROG_TEST_RUN, over the real maps, with the
// real choice of hot sessions), and its datapath sees only what the program leaves to it. What leaves must be
// the same bytes, in the same order of events, and at the end both must have counted the same.
import assert from 'node:assert/strict';
import { COUNTER, type CounterName } from '../../src/datapath/counters.ts';
import type { FastPathKind } from '../../src/fast/attachment.ts';
import type { HopLookUp } from '../../src/fast/hops.ts';
import { GENERATION_IDLE, ROW_WORDS, SEEN } from '../../src/fast/hot-records.ts';
import { HotSessions } from '../../src/fast/hot-sessions.ts';
import { FAST_PATH_REASONS, nowTick, TICK_MS } from '../../src/fast/layout.ts';
import {
  DIRECTIONS,
  frameOf,
  KINDS,
  leavingFrame,
  openRig,
  type Ran,
  type Rig,
  ROW,
  TO_CLIENT,
  TO_SERVER,
} from '../fast/rig.ts';
import type { Cleanup } from '../io/namespaces.ts';
import { concat, type Family, hex, pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';
import { HotPackets } from './hot-packets.ts';
import type { Input, Step, World } from './input.ts';
import { judge } from './judge.ts';
import { Model } from './model.ts';
import { AT, FAMILIES, NORMAL_MS, planOf, VPORT } from './plan.ts';
import { react } from './reaction.ts';
import { read, repaired } from './reader.ts';
import { type Reached, Violation } from './sequence.ts';
import { assertSameReaction, Half, type Outcome, Twin } from './twin.ts';

const SESSIONS = 64;
/** What the datapath does twice as often is a hot session's; both directions count. */
const BUSY_ROUNDS = 5;
/** Sessions are made busy anew after so many steps. */
const BUSY_EACH = 12;
const CLIENTS = 3;
/** Of each family, and their answers, each time that one is busy. */
const HOT_PACKETS = 16;
const ETHERNET_LEN = 14;
const ETHERNET_EACH = 31;
const HINDERED_EACH = 37;
const FRAME_MAX = 3300;
const LINK_MTU = 1500;
const PORT = { wan: 0, lan: 1 };
/**
 * Time passes in such steps, of which no sum is close to a timeout: the program knows its packets' time by
 * ticks. No life of two proxies is so long that answered sessions end, which need not be in the same order.
 */
const PACE_MS = 1250;
const LIFE_MS = 5000;
const TICK_EACH_MS = 250;
/** A step during which the machine stood still so long says nothing: silence is the kernel's real time. */
const STILL_MS = 150;
const STILL_TRIES = 30;
/** Counters of the fast path itself, which the datapath alone has not. */
const OF_FAST_PATH: readonly CounterName[] = ['inboundFast', 'outboundFast', 'sessionsHot'];

type Fields = Partial<EitherFields>;

class StoodStill extends Error {}

/** What a run showed, with what the program did: kind, family and direction, or the reason. */
export type FastPathRun = (input: Input) => Reached;

/**
 * What no packet of a search showed: of both kinds each family and direction, and each reason why a packet is
 * left, of any family. At tc none is left as unfinished.
 */
export function unseen(verdicts: ReadonlyMap<string, number>): string[] {
  return KINDS.flatMap((kind) => {
    const has = (family: number, what: string) => verdicts.has(`${kind} ${family} ${what}`);
    const ways = FAMILIES.flatMap((family) =>
      ['inbound', 'outbound'].filter((way) => !has(family, way)).map((way) => `${kind} ${family} ${way}`),
    );
    const reasons = FAST_PATH_REASONS.filter(
      (reason) =>
        !FAMILIES.some((family) => has(family, reason)) && (kind === 'xdp' || reason !== 'unfinished'),
    );
    return [...ways, ...reasons.map((reason) => `${kind} ${reason}`)];
  });
}

/** Programs and maps for any number of runs, until `t` ends. */
export function openFastPath(t: Cleanup): FastPathRun {
  const rig = openRig(t, SESSIONS);
  const oneLife = (input: Input, first: number, kind: FastPathKind): Run => {
    for (let tries = 1; ; tries++) {
      try {
        const life = new Run(input, first, kind, rig);
        life.all();
        return life;
      } catch (error) {
        const isStill = error instanceof Violation && error.cause instanceof StoodStill;
        if (!isStill || tries === STILL_TRIES) throw error;
      } finally {
        rig.clear();
      }
    }
  };
  return (input) => {
    const all: Reached[] = [];
    for (const kind of KINDS) {
      for (let first = 0; first < input.steps.length; ) {
        const life = oneLife(input, first, kind);
        all.push(life.reached);
        first = life.next;
      }
    }
    return merged(all);
  };
}

function merged(all: readonly Reached[]): Reached {
  const verdicts = new Map<string, number>();
  for (const one of all)
    for (const [name, times] of one.verdicts) verdicts.set(name, (verdicts.get(name) ?? 0) + times);
  return {
    verdicts,
    signatures: new Set(all.flatMap(({ signatures }) => [...signatures])),
    features: new Set(all.flatMap(({ features }) => [...features])),
    packets: all.reduce((sum, { packets }) => sum + packets, 0),
  };
}

/** What passes where an input lets time pass: in whole steps, and what is short takes none. */
const pacedMs = (wait: number): number =>
  wait < 400 ? 0 : Math.min(LIFE_MS, Math.ceil(wait / PACE_MS) * PACE_MS);

/** Sessions that can be hot, in a world that stays as it was drawn in all else. */
const worldOf = (world: World): World => ({ ...world, maxSessions: SESSIONS, lports: 20, refreshMs: 0 });

class Run {
  readonly reached: Reached = {
    verdicts: new Map(),
    signatures: new Set(),
    features: new Set(),
    packets: 0,
  };
  /** The step that is next: at the end the first that it did not live to see. */
  next: number;
  readonly #steps: readonly Step[];
  readonly #world: World;
  readonly #kind: FastPathKind;
  readonly #rig: Rig;
  readonly #model: Model;
  /** The datapath alone, and that behind the fast path. */
  readonly #alone: Twin;
  readonly #behind: Half;
  readonly #fast: HotSessions;
  readonly #linkMtu: number;
  readonly #startMs: number;
  readonly #startTick = nowTick();
  #nowMs: number;
  #shifted = 0;
  readonly #hotPackets: HotPackets;
  #packets = 0;
  /** Words of generations that are others for this packet. */
  readonly #ended: number[] = [];
  #outcome: Outcome | undefined;

  constructor({ world, steps }: Input, first: number, kind: FastPathKind, rig: Rig) {
    this.#world = worldOf(world);
    this.#steps = steps;
    this.next = first;
    this.#kind = kind;
    this.#rig = rig;
    this.#model = new Model(this.#world);
    const plan = planOf(this.#world);
    this.#alone = new Twin(plan);
    const { dialect4, dialect6, mtu4, mtu6, wanMtu } = this.#world;
    const mtus = [LINK_MTU, wanMtu, ...(dialect4 ? [mtu4] : []), ...(dialect6 ? [mtu6] : [])];
    this.#linkMtu = Math.min(...mtus);
    this.#hotPackets = new HotPackets(steps.length, this.#linkMtu);
    for (const hop of [TO_SERVER, TO_CLIENT]) this.#setHop(hop);
    this.#fast = new HotSessions(rig.records, rig.hot, this.#hopRows(), SESSIONS, 0);
    this.#behind = new Half(plan, 0xa5, 46, {
      events: this.#fast,
      onForwarded: (base, isFromItsSide) => this.#fast.note(base, isFromItsSide),
    });
    this.#nowMs = this.#startMs = world.startMs;
    this.#fast.follow(this.#behind.datapath.sessions, this.#nowMs);
  }

  #hopRows(): HopLookUp {
    return {
      version: 1,
      rowOf: (addresses) => (this.#isToRealServer(addresses) ? TO_SERVER : TO_CLIENT),
      takeOver: () => false,
      use: () => {},
      mtuOf: () => this.#linkMtu,
      isWhole: () => true,
      update: () => {},
    };
  }

  #isToRealServer(addresses: Int32Array): boolean {
    const { legs } = this.#behind.datapath.sessions.directory;
    return legs.some((leg) => leg?.towards.every((word, at) => word === addresses[at]));
  }

  all(): void {
    const { length } = this.#steps;
    try {
      for (let n = 0; this.next < length; n++, this.next++) {
        const step = this.#steps[this.next];
        if (this.#ageMs() + pacedMs(step.wait) > LIFE_MS) break;
        if (n % BUSY_EACH === 0) this.#beBusy(n / BUSY_EACH);
        this.#step(step);
      }
      this.#end();
    } catch (cause) {
      throw new Violation(this.next, this.#outcome, cause);
    }
  }

  #ageMs(): number {
    return (this.#nowMs - this.#startMs) | 0;
  }

  /** A client of each family who was not known before, or not busy, is from now on. */
  #beBusy(nth: number): void {
    for (const family of FAMILIES) {
      const ask = (change: Fields = {}) => this.#ask(family, nth, change);
      for (let round = 0; round < BUSY_ROUNDS; round++) {
        ask();
        this.#react('ack');
        this.#react('reply');
      }
      this.#pass(0);
      for (let n = 0; n < HOT_PACKETS; n++) {
        const change = this.#hotPackets.next();
        ask(change);
        this.#answer(change);
        if (n === HOT_PACKETS >> 1 && nth % CLIENTS === 1) this.#react('tooBig');
      }
      // Its session is not hot any more then.
      if (nth % CLIENTS === 2) this.#ask(family, nth, {}, 'lan');
    }
  }

  #ask(family: Family, nth: number, change: Fields, by: 'wan' | 'lan' = 'wan'): void {
    const { cip, cport, vip } = AT[family];
    const ends = { src: cip, sport: cport + (nth % CLIENTS), dst: vip, dport: VPORT };
    this.#arrive(udp({ ...ends, payload: pattern(9), ...change }), by, 0);
  }

  /** What the real server that got the last datagram says. */
  #answer(change: Fields): void {
    const { delivery } = this.#model;
    if (!delivery) return;
    const { src, sport, dst, dport } = dissect(delivery.packet);
    const ends = { src: dst, sport: dport, dst: src, dport: sport };
    this.#arrive(udp({ ...ends, payload: pattern(11), ...change }), 'lan', 0);
  }

  #step({ wait, what, packet, refuse }: Step): void {
    if (pacedMs(wait) > 0) this.#pass(pacedMs(wait));
    if (what === 'tick') return;
    const isArrival = what === 'wan' || what === 'lan';
    if (isArrival) this.#arrive(packet, what, refuse);
    else this.#react(what, refuse);
  }

  #react(what: Parameters<typeof react>[0], refuse = 0): void {
    const reaction = react(what, this.#model);
    if (reaction) this.#arrive(reaction.packet, reaction.from, refuse);
  }

  /** Lets so much time pass, or none but what a tick brings. */
  #pass(ms: number): void {
    let passedMs = 0;
    do {
      const began = performance.now();
      const stepMs = Math.min(TICK_EACH_MS, ms - passedMs);
      passedMs += stepMs;
      this.#nowMs = (this.#nowMs + stepMs) | 0;
      this.#keepTime();
      this.#fast.tick(this.#nowMs);
      const alone = this.#alone.tick(this.#nowMs);
      assertSameReaction(
        alone,
        this.#behind.tick(this.#nowMs),
        'a tick does something else behind the fast path',
      );
      this.#model.piecesDropped += alone.drops.fragment_timeout ?? 0;
      if (performance.now() - began > STILL_MS) throw new StoodStill();
    } while (passedMs < ms);
  }

  /** What the program did becomes as long ago as it is by our clock, not by the kernel's. */
  #keepTime(): void {
    const ours = Math.floor(this.#ageMs() / TICK_MS);
    const wanted = ((nowTick() - this.#startTick) | 0) - ours;
    const change = wanted - this.#shifted;
    this.#shifted = wanted;
    if (change === 0) return;
    const { words } = this.#rig.records;
    for (let seen = SEEN; seen < words.length; seen += ROW_WORDS)
      for (const direction of DIRECTIONS) words[seen + direction] += change;
  }

  #arrive(packet: Uint8Array, from: 'wan' | 'lan', refuse: number): void {
    const began = performance.now();
    this.reached.packets++;
    const frame = this.#frameOf(packet);
    this.#keepTime();
    this.#rig.face(from === 'wan', from === 'lan');
    this.#hinder();
    const ran = isRunnable(frame) ? this.#run(frame) : undefined;
    for (const hop of [TO_SERVER, TO_CLIENT]) this.#setHop(hop);
    for (const generation of this.#ended.splice(0)) this.#rig.records.words[generation]! ^= 1;
    if (performance.now() - began > STILL_MS) throw new StoodStill();
    const arrived = frame.subarray(ETHERNET_LEN);
    const isOurs = hex(frame.subarray(0, ETHERNET_LEN)) === hex(frameOf(arrived).subarray(0, ETHERNET_LEN));
    if (ran?.did === 'redirect') this.#judgeForwarded(arrived, ran, from);
    else if (isOurs) this.#judgeLeft(arrived, from, refuse);
    // Other hot sessions of a real server that refused a UOA learn it within a second.
    if (this.#outcome?.changed.uoaUnsupported) this.#pass(PACE_MS);
  }

  /** Mostly as the next router sends it, padded or not; a few are no packets of ours. */
  #frameOf(packet: Uint8Array): Uint8Array {
    const turn = ++this.#packets;
    const padding = turn % 3 === 0 ? pattern(turn % 46) : new Uint8Array(0);
    const frame = concat(frameOf(packet), padding);
    switch (turn % ETHERNET_EACH) {
      case 7:
        return concat(frame.subarray(0, 12), unhex('8100 0005'), frame.subarray(12));
      case 14:
        return concat(unhex('0200000000fe'), frame.subarray(6));
      case 21:
        return concat(frame.subarray(0, 12), unhex('0806'), frame.subarray(14));
      default:
        return frame;
    }
  }

  /** Whatever comes next, the program is not to forward it now and then. */
  #hinder(): void {
    const { hops, ports } = this.#rig;
    switch (this.#packets % HINDERED_EACH) {
      case 5:
        ports.switchOff(ROW);
        break;
      case 11:
        ports.switchOn(ROW, nowTick() - 1);
        break;
      case 17:
        for (const hop of [TO_SERVER, TO_CLIENT]) hops.clear(hop);
        break;
      case 23:
        for (const hop of [TO_SERVER, TO_CLIENT]) hops.confirmAt(hop, nowTick() - 1);
        break;
      case 29:
        this.#endAll();
        break;
    }
  }

  /** For a moment, as if all were being taken out just now. */
  #endAll(): void {
    const { records } = this.#rig;
    for (let session = 0; session < SESSIONS; session++) {
      if (!records.isHot(session)) continue;
      const generation = session * ROW_WORDS + GENERATION_IDLE;
      records.words[generation]! ^= 1;
      this.#ended.push(generation);
    }
  }

  #setHop(hop: number): void {
    this.#rig.hops.set(hop, this.#rig.way(hop, { mtu: this.#linkMtu }));
  }

  #run(frame: Uint8Array): Ran {
    const ran = this.#rig.run(this.#kind, frame);
    if (ran.did !== 'redirect') assert.equal(hex(ran.frame), hex(frame), `${ran.did}: as it came`);
    this.#note(ran, frame);
    return ran;
  }

  #note({ did }: Ran, frame: Uint8Array): void {
    const { verdicts, features, signatures } = this.reached;
    const family = frame[12] === 0x86 ? 6 : 4;
    const direction = this.#rig.facesClients ? 'inbound' : 'outbound';
    const feature =
      did === 'redirect' ? `${this.#kind} ${family} ${direction}` : `${this.#kind} ${family} ${did}`;
    verdicts.set(feature, (verdicts.get(feature) ?? 0) + 1);
    features.add(feature);
    signatures.add(`${feature} ${this.#world.dialect4} ${this.#world.dialect6}`);
  }

  #judgeForwarded(packet: Uint8Array, { frame: left }: Ran, from: 'wan' | 'lan'): void {
    const direction = from === 'wan' ? TO_SERVER : TO_CLIENT;
    assert.equal(
      hex(left.subarray(0, ETHERNET_LEN)),
      hex(leavingFrame(direction, packet).subarray(0, ETHERNET_LEN)),
      'the Ethernet header',
    );
    const seen = read(packet);
    assert.ok(seen?.udp, 'what is forwarded is a whole datagram');
    const { length } = seen.packet;
    const behind = hex(left.subarray(ETHERNET_LEN + length));
    assert.equal(behind, hex(packet.subarray(length)), 'what stands behind the packet');
    // The program does not verify checksums: the datapath gets the packet with a right one.
    const isWrong = seen.udp.sum === 'wrong' || seen.udp.sum === 'partial';
    const good = isWrong ? repaired(seen.packet) : packet;
    const outcome = this.#receiveAlone(good, from, 0);
    assert.equal(outcome.verdict, 'forward', 'the program forwards, and the datapath does not');
    assert.equal(outcome.attempts.length, 1, 'the program forwards, and the datapath sends more');
    const wanted = outcome.attempts[0]!.packet.slice();
    const sent = left.subarray(ETHERNET_LEN, ETHERNET_LEN + length);
    if (isWrong) {
      const at = seen.udp.off + 6;
      assert.equal(errorOf(sent, wanted, at), errorOf(seen.packet, good, at), 'as wrong as it came');
      wanted.set(sent.subarray(at, at + 2), at);
    }
    assert.equal(hex(sent), hex(wanted), 'the program sends something else than the datapath');
  }

  #judgeLeft(packet: Uint8Array, from: 'wan' | 'lan', refuse: number): void {
    const alone = this.#receiveAlone(packet, from, refuse);
    const behind = this.#behind.receive(packet, PORT[from], this.#nowMs, refuse);
    assertSameReaction(alone, behind, 'the datapath does something else behind the fast path');
  }

  #receiveAlone(packet: Uint8Array, from: 'wan' | 'lan', refuse: number): Outcome {
    const outcome = this.#alone.receive(packet, PORT[from], this.#nowMs, refuse);
    this.#outcome = outcome;
    judge(this.#model, packet, from, outcome);
    return outcome;
  }

  /** All sessions end. */
  #end(): void {
    this.#outcome = undefined;
    this.#pass(PACE_MS); // what the program counted last is told
    this.#pass(NORMAL_MS + PACE_MS);
    assert.equal(this.#behind.datapath.sessionCount, 0, 'sessions outlive their timeouts');
    assert.equal(this.#fast.count, 0, 'hot sessions outlive their timeouts');
    for (let session = 0; session < SESSIONS; session++)
      assert.ok(!this.#rig.records.isHot(session), 'a row outlives its session');
    for (const name of Object.keys(COUNTER) as CounterName[]) {
      if (OF_FAST_PATH.includes(name)) continue;
      assert.equal(this.#behind.total(name), this.#alone.total(name), name);
    }
    assert.equal(this.#behind.total('sessionsHot'), 0);
  }
}

/** A test run takes no more than a page, and at tc nothing that ends within its IP header. */
function isRunnable(frame: Uint8Array): boolean {
  const headerLen = frame[12] === 0x86 ? 40 : 20;
  return frame.length >= ETHERNET_LEN + headerLen && frame.length <= FRAME_MAX;
}

/** How far off a checksum is, as a ones' complement number. */
function errorOf(packet: Uint8Array, right: Uint8Array, at: number): number {
  const word = (bytes: Uint8Array) => (bytes[at]! << 8) | bytes[at + 1]!;
  return (word(packet) + 0xffff - word(right)) % 0xffff;
}
