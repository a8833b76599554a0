// With uoa.carriage auto: whether a real server's packets with a UOA inside come through is tried on a
// client's datagram, the first of a session, of which a copy is kept. Answered, it shows that they do; else
// the copy goes on, without UOA, before the session's next packet or half a second later. So where a path
// drops packets with IP options no datagram is lost, one waits. Where the real server answers the copy, that
// is the sign of such a path. One at a time; only real servers that answer first packets at once are tried,
// because others would have both, the datagram and its copy.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { HANDSHAKE } from '../session/session.ts';
import { ANSWERED, answeredTo, onlyTrialMs } from '../uoa/handshake.ts';
import type { UoaReceiver } from '../uoa/receiver.ts';
import { copyBytes, Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import type { Packet } from '../wire/packet.ts';
import type { Departures } from './departures.ts';
import type { DatapathMemory } from './memory.ts';
import { SERVER_COUNTER, serverRow } from './server-cells.ts';

/** So soon a real server must answer first packets to be tried. */
const PROMPT_MS = 100;
/** An attempt is given up when there was no answer for so long. */
const ANSWER_MS = 500;
/** Longest packet of which there is an attempt. */
const LEN_MAX = 2_048;
const NONE = -1;

export class Attempts {
  readonly #departures: Departures;
  readonly #memory: DatapathMemory;
  readonly #copy = new Frame(Buffer.alloc(HEADROOM + LEN_MAX));
  #len = 0;
  #serviceIndex = 0;
  /** Of the session that the attempt is of. */
  #base = NONE;
  #receiver: UoaReceiver | undefined;
  #choice = 0;
  #serverRow = 0;
  #sentAt = 0;
  /** Of the session whose copy was sent last, and when. */
  #copiedBase = NONE;
  #copiedAt = 0;

  constructor(departures: Departures, memory: DatapathMemory) {
    this.#departures = departures;
    this.#memory = memory;
  }

  /** Whether an attempt of the session waits for its answer. */
  isOf(base: number): boolean {
    return this.#base === base;
  }

  /**
   * Whether the packet, rewritten and without UOA, may go with it inside: its copy is kept. It is the first
   * of its session.
   */
  begin(
    frame: Frame,
    packet: Packet,
    base: number,
    service: Service,
    leg: Leg,
    choice: number,
    nowMs: number,
  ): boolean {
    if (this.#base !== NONE || packet.totalLen > LEN_MAX) return false;
    const { realServerIndex, receiver } = leg;
    if (!receiver.mayAttempt(choice, nowMs)) return false;
    receiver.attempted(choice, nowMs);
    if (packet.family === 4) ipv4.fillChecksum(frame.view, packet.off);
    copyBytes(this.#copy, HEADROOM, frame, packet.off, packet.totalLen);
    this.#len = packet.totalLen;
    this.#serviceIndex = service.index;
    this.#base = base;
    this.#receiver = receiver;
    this.#choice = choice;
    this.#serverRow = serverRow(realServerIndex);
    this.#sentAt = nowMs;
    if (this.#copiedBase === base) this.#copiedBase = NONE;
    return true;
  }

  /** It was not sent. */
  cancel(): void {
    this.#base = NONE;
  }

  /** The copy goes on, if it is still needed: before another packet of the session, or when it ends. */
  giveUp(nowMs: number): void {
    if (this.#base === NONE) return;
    this.#copiedBase = hasPassed(nowMs, this.#sentAt) ? this.#base : NONE;
    this.#copiedAt = nowMs;
    this.#base = NONE;
    this.#departures.repeated(this.#copy, HEADROOM, this.#len, this.#serviceIndex);
  }

  tick(nowMs: number): void {
    if (this.#base !== NONE && hasPassed(nowMs, this.#sentAt)) this.giveUp(nowMs);
  }

  /** The session at `base` is there no more. */
  ended(base: number): void {
    if (this.#base === base) this.giveUp(this.#sentAt);
    if (this.#copiedBase === base) this.#copiedBase = NONE;
  }

  /** The first answer of a session, or an echo ACK in one that has none yet. */
  answered(base: number, { receiver, realServerIndex }: Leg, choice: number, nowMs: number): void {
    const { records, servers } = this.#memory;
    const row = serverRow(realServerIndex);
    if (this.#base === base) {
      this.#base = NONE;
      this.#receiver!.prove(this.#choice);
      servers[this.#serverRow + SERVER_COUNTER.uoaAnswered]++;
      return;
    }
    if (this.#copiedBase === base) {
      this.#copiedBase = NONE;
      if (!hasPassed(nowMs, this.#copiedAt)) servers[row + SERVER_COUNTER.uoaUnanswered]++;
      return;
    }
    const words = base + HANDSHAKE;
    const to = answeredTo(records, words);
    if (to !== ANSWERED.both) {
      const isWithUoa = to === ANSWERED.toUoa;
      servers[row + (isWithUoa ? SERVER_COUNTER.uoaAnswered : SERVER_COUNTER.uoaUnanswered)]++;
      receiver.noteInserted(choice, isWithUoa);
    }
    const trialMs = onlyTrialMs(records, words, nowMs);
    receiver.noteAnswer(choice, trialMs >= 0 && trialMs <= PROMPT_MS);
  }
}

const hasPassed = (nowMs: number, sinceMs: number): boolean => ((nowMs - sinceMs) | 0) >= ANSWER_MS;
