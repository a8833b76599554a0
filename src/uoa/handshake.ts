// Progress of one session's UOA: trials are sent until an echo ACK arrives or maxTrials is reached ("a
// round"), and rounds start again after `refresh`, an idle gap or an announcement. State is HANDSHAKE_WORDS
// int32 words inside the session record; times are int32 milliseconds, compared with wrap-around.

import { age } from '../wire/age.ts';

export const HANDSHAKE_WORDS = 6;

const PROGRESS = 0; // trials sent in this round | DONE | EXHAUSTED | GOES_ON | FOLLOWED | telling << ..
const UOA_SENT_AT = 1;
const LAST_INBOUND = 2;
const CARRIERS = 3; // sending times of the last carriers not yet answered by an empty reply; 0 = none
const CARRIER_SLOTS = 3; // the default maxTrials; of more carriers within a second the oldest are forgotten

const SENT_MASK = 0xff;
const DONE = 0x100;
const EXHAUSTED = 0x200;
/** Exhausted, but with a trial left after all, or once more. */
const GOES_ON = 0x400;
/** A second packet without UOA went since the round was exhausted. */
const FOLLOWED = 0x800;
const TELLING_SHIFT = 12;
/** Of a telling: its announcement asks for a UOA in each packet. */
const IN_EACH = 2;
/** Numbers of announcements have so many bits. */
export const ANNOUNCEMENT_BITS = 18;

const CARRIER_REPLY_MS = 1000;

export interface UoaPolicy {
  /** UOA packets per round; 0 turns UOA off. */
  readonly maxTrials: number;
  /** Start a new round this long after the last UOA of a finished one; 0 = never. */
  readonly refreshMs: number;
  /** Also of one that an echo ACK ended. */
  readonly refreshesAcked: boolean;
  /** Start a new round when the client was silent for longer; 0 = never. */
  readonly idleRefreshMs: number;
}

export const UOA_NOT_DUE = 0;
export const UOA_DUE = 1;
/** Not due, and this packet is the first to find its round's trials used up without an ACK. */
export const UOA_EXHAUSTED = 2;
/** Due, and this packet begins a round where the one before was over, or goes on with it. */
export const UOA_DUE_AGAIN = 3;
/** As UOA_EXHAUSTED, of a round that was exhausted before and went on, or was refreshed. */
export const UOA_EXHAUSTED_AGAIN = 4;

/**
 * How a real server is told: `choice` (0 or 1) is what in, `announcement` since when. Where it is another
 * than that of the present round, the next packet begins one; an odd announcement begins one with each.
 */
export const tellingOf = (choice: number, announcement: number): number => (announcement << 1) | choice;

export function startHandshake(words: Int32Array, at: number, nowMs: number): void {
  words.fill(0, at, at + HANDSHAKE_WORDS);
  words[at + LAST_INBOUND] = nowMs;
}

/** The real server is told in another way from now on: a new round, with what is remembered of the client. */
export function restartHandshake(words: Int32Array, at: number): void {
  words[at + PROGRESS] = 0;
}

/**
 * Called once for each inbound packet that will be forwarded while some UOA is sent: whether it should bring
 * one. `telling` as tellingOf says.
 */
export function onInbound(
  words: Int32Array,
  at: number,
  policy: UoaPolicy,
  telling: number,
  nowMs: number,
): number {
  const idleMs = age(nowMs, words[at + LAST_INBOUND]);
  words[at + LAST_INBOUND] = nowMs;
  const progress = words[at + PROGRESS];
  const { maxTrials } = policy;
  if (isStale(words, at, policy, telling, idleMs, nowMs)) {
    const isRefresh = isExhausted(progress) && isToldAs(words, at, telling) && !isIdle(policy, idleMs);
    words[at + PROGRESS] = (telling << TELLING_SHIFT) | (isRefresh ? EXHAUSTED | GOES_ON : 0);
    if (maxTrials === 0) return UOA_NOT_DUE;
    return isOver(progress, maxTrials) ? UOA_DUE_AGAIN : UOA_DUE;
  }
  if ((progress & DONE) !== 0 || maxTrials === 0) return UOA_NOT_DUE;
  if ((progress & SENT_MASK) < maxTrials) return resumeHandshake(words, at, policy) ? UOA_DUE_AGAIN : UOA_DUE;
  if (isOver(progress, maxTrials)) {
    if ((progress & FOLLOWED) === 0) words[at + PROGRESS] = progress | FOLLOWED;
    return UOA_NOT_DUE;
  }
  words[at + PROGRESS] = (progress & ~GOES_ON) | EXHAUSTED;
  return (progress & EXHAUSTED) === 0 ? UOA_EXHAUSTED : UOA_EXHAUSTED_AGAIN;
}

/** Whether the packet begins a round of its own. */
function isStale(
  words: Int32Array,
  at: number,
  policy: UoaPolicy,
  telling: number,
  idleMs: number,
  nowMs: number,
): boolean {
  const progress = words[at + PROGRESS];
  const { maxTrials } = policy;
  const isFinished = (progress & DONE) !== 0 || (progress & SENT_MASK) >= maxTrials;
  return (
    progress >> TELLING_SHIFT !== telling ||
    (telling & IN_EACH) !== 0 ||
    isIdle(policy, idleMs) ||
    (isFinished && isRefreshDue(words, at, policy, nowMs))
  );
}

const isIdle = ({ idleRefreshMs }: UoaPolicy, idleMs: number): boolean =>
  idleRefreshMs > 0 && idleMs > idleRefreshMs;

/** Whether for onInbound the next packet would be nothing but one more. */
export function staysQuiet(
  words: Int32Array,
  at: number,
  policy: UoaPolicy,
  telling: number,
  nowMs: number,
): boolean {
  const { maxTrials } = policy;
  const progress = words[at + PROGRESS];
  const isUsedUp = (progress & DONE) !== 0 || maxTrials === 0 || (progress & SENT_MASK) >= maxTrials;
  const idleMs = age(nowMs, words[at + LAST_INBOUND]);
  return isUsedUp && isOver(progress, maxTrials) && !isStale(words, at, policy, telling, idleMs, nowMs);
}

/** Counts one trial; taken back by onUoaRefused when it was not sent. */
export function onUoaSent(words: Int32Array, at: number, nowMs: number): void {
  words[at + PROGRESS]++;
  words[at + UOA_SENT_AT] = nowMs;
}

/** Remembers that a carrier was sent, which an echoing program may answer with an empty datagram. */
export function onCarrierSent(words: Int32Array, at: number, nowMs: number): void {
  const first = at + CARRIERS;
  let oldest = first;
  for (let slot = first; slot < first + CARRIER_SLOTS; slot++) {
    if (words[slot] === 0) {
      oldest = slot;
      break;
    }
    if (age(nowMs, words[slot]) > age(nowMs, words[oldest])) oldest = slot;
  }
  words[oldest] = nowMs || 1;
}

/**
 * A trial of `sentAtMs` was not sent after all. Without effect when the words begin another round since then.
 * A carrier that nobody got has no reply.
 */
export function onUoaRefused(words: Int32Array, at: number, sentAtMs: number, isCarrier: boolean): void {
  if (words[at + UOA_SENT_AT] === sentAtMs && (words[at + PROGRESS] & SENT_MASK) > 0) words[at + PROGRESS]--;
  if (!isCarrier) return;
  for (let slot = at + CARRIERS; slot < at + CARRIERS + CARRIER_SLOTS; slot++) {
    if (words[slot] !== (sentAtMs || 1)) continue;
    words[slot] = 0;
    return;
  }
}

/**
 * Whether an empty reply answers a carrier of the last second: then it is not the client's. Each carrier
 * takes one.
 */
export function takesEmptyReply(words: Int32Array, at: number, nowMs: number): boolean {
  let taker = -1;
  for (let slot = at + CARRIERS; slot < at + CARRIERS + CARRIER_SLOTS; slot++) {
    if (words[slot] === 0) continue;
    if (age(nowMs, words[slot]) > CARRIER_REPLY_MS) words[slot] = 0;
    else if (taker < 0 || age(nowMs, words[slot]) > age(nowMs, words[taker])) taker = slot;
  }
  if (taker < 0) return false;
  words[taker] = 0;
  return true;
}

/** Whether an empty reply may answer a carrier, as takesEmptyReply. */
export function awaitsEmptyReply(words: Int32Array, at: number, nowMs: number): boolean {
  for (let slot = at + CARRIERS; slot < at + CARRIERS + CARRIER_SLOTS; slot++)
    if (words[slot] !== 0 && age(nowMs, words[slot]) <= CARRIER_REPLY_MS) return true;
  return false;
}

/** Whether the next packet of a client whose round is over begins another one, for its age. */
export const isRefreshDue = (
  words: Int32Array,
  at: number,
  { refreshMs, refreshesAcked }: UoaPolicy,
  nowMs: number,
): boolean =>
  refreshMs > 0 &&
  (refreshesAcked || (words[at + PROGRESS] & DONE) === 0) &&
  age(nowMs, words[at + UOA_SENT_AT]) >= refreshMs;

/** Whether the present round is told like this: else the next packet begins one. */
export const isToldAs = (words: Int32Array, at: number, telling: number): boolean =>
  words[at + PROGRESS] >> TELLING_SHIFT === telling && (telling & IN_EACH) === 0;

/** Since the client's last packet. */
export const silenceOfClient = (words: Int32Array, at: number, nowMs: number): number =>
  age(nowMs, words[at + LAST_INBOUND]);

/** A packet of the client was forwarded elsewhere, at this time. */
export function noteInbound(words: Int32Array, at: number, atMs: number): void {
  if (((atMs - words[at + LAST_INBOUND]) | 0) > 0) words[at + LAST_INBOUND] = atMs;
  if (isExhausted(words[at + PROGRESS])) words[at + PROGRESS] |= FOLLOWED;
}

/** An echo ACK came. True when it ended the round; false when it was a repetition. */
export function onEchoAck(words: Int32Array, at: number): boolean {
  if ((words[at + PROGRESS] & DONE) !== 0) return false;
  words[at + PROGRESS] |= DONE;
  return true;
}

/**
 * Goes on with an exhausted round that has trials left after all: another plan allows more, or one was
 * refused later. True when there is one.
 */
export function resumeHandshake(words: Int32Array, at: number, { maxTrials }: UoaPolicy): boolean {
  const progress = words[at + PROGRESS];
  if (!isExhausted(progress) || (progress & SENT_MASK) >= maxTrials) return false;
  words[at + PROGRESS] = progress | GOES_ON;
  return true;
}

/** Whether no packet brings a UOA until another round begins. */
export const isHandshakeOver = (words: Int32Array, at: number, { maxTrials }: UoaPolicy): boolean =>
  isOver(words[at + PROGRESS], maxTrials);

const isOver = (progress: number, maxTrials: number): boolean =>
  maxTrials === 0 || (progress & DONE) !== 0 || isExhausted(progress);

const isExhausted = (progress: number): boolean => (progress & (EXHAUSTED | GOES_ON)) === EXHAUSTED;

/** Trials sent in the present round. */
export const trialsSent = (words: Int32Array, at: number): number => words[at + PROGRESS] & SENT_MASK;

export function handshakeState(words: Int32Array, at: number): 'sending' | 'acked' | 'exhausted' {
  if ((words[at + PROGRESS] & DONE) !== 0) return 'acked';
  return isExhausted(words[at + PROGRESS]) ? 'exhausted' : 'sending';
}

/** progressOf has 12 bits: how far the round is, and the choice; the announcement is another process's. */
const PROGRESS_BITS = 12;
export const PROGRESS_MASK = (1 << PROGRESS_BITS) - 1;
const ROUND_BITS = 11;
const ROUND_MASK = (1 << ROUND_BITS) - 1;

/** The present round in 12 bits, and when a UOA was sent last, for resumeProgress in another process. */
export const progressOf = (words: Int32Array, at: number): number =>
  (words[at + PROGRESS] & ROUND_MASK) | (((words[at + PROGRESS] >> TELLING_SHIFT) & 1) << ROUND_BITS);
export const uoaSentAt = (words: Int32Array, at: number): number => words[at + UOA_SENT_AT];

/** Goes on where another process was; no reply to a carrier is awaited. */
export function resumeProgress(
  words: Int32Array,
  at: number,
  progress: number,
  uoaSentAtMs: number,
  lastInboundMs: number,
): void {
  startHandshake(words, at, lastInboundMs);
  words[at + PROGRESS] = (progress & ROUND_MASK) | (((progress >> ROUND_BITS) & 1) << TELLING_SHIFT);
  words[at + UOA_SENT_AT] = uoaSentAtMs;
}

/** What a session that is answered for the first time had been sent until then. */
export const ANSWERED = { both: 0, toUoa: 1, toPlain: 2 } as const;

/**
 * To what the session's first answer is: packets that all had a UOA inside, or the first one without it
 * behind such; `both` where carriers or more packets make it uncertain.
 */
export function answeredTo(words: Int32Array, at: number): number {
  for (let slot = at + CARRIERS; slot < at + CARRIERS + CARRIER_SLOTS; slot++)
    if (words[slot] !== 0) return ANSWERED.both;
  const progress = words[at + PROGRESS];
  if ((progress & SENT_MASK) === 0) return ANSWERED.both;
  if ((progress & (EXHAUSTED | DONE)) === 0) return ANSWERED.toUoa;
  return (progress & (EXHAUSTED | GOES_ON | FOLLOWED)) === EXHAUSTED ? ANSWERED.toPlain : ANSWERED.both;
}

/**
 * How long ago, ms, the only packet was that a session had, which was not answered yet; -1: it had others.
 */
export function onlyTrialMs(words: Int32Array, at: number, nowMs: number): number {
  const progress = words[at + PROGRESS];
  if ((progress & (SENT_MASK | EXHAUSTED)) !== 1 || words[at + LAST_INBOUND] !== words[at + UOA_SENT_AT])
    return -1;
  return age(nowMs, words[at + UOA_SENT_AT]);
}
