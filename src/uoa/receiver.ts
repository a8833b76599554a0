// What one real server of a service is told its clients' addresses in, and in which packets: the configured
// dialect; after it said that it cannot read that (an ICMP error about a packet with UOA), for a while the
// fallback or nothing. Then what it refused is tried again, at first only with carriers, so that no client's
// datagram is lost with it. By the same reason `auto` begins with carriers: until the real server has
// acknowledged one, or has answered a datagram that it was sent as an attempt (datapath/attempts.ts).
import type { Frame } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import type { Carriage } from './dialect.ts';
import { matchesUoa, type UoaForms } from './form.ts';
import type { Origin } from './origin.ts';

/** How long a dialect that the real server refused is not sent. */
const REFUSED_MS = 60_000;
/** A dialect that was refused, is sent again, and for so long not refused, can be read. */
const ACCEPTED_MS = 10_000;
/** So many sessions in a row must have had their first answer soon before there is an attempt. */
const PROMPT_ANSWERS = 3;
/** So many sessions in a row are answered only without it by no accident. */
const DOUBTS = 3;
/** Between two attempts that were not answered, at first; twice as long each time, up to: */
const ATTEMPT_MS = 1_000;
const ATTEMPT_MAX_MS = 600_000;

interface Choice {
  readonly forms: UoaForms;
  isRefused: boolean;
  refusedAt: number;
  /** It is tried again after a refusal, with carriers, since `triedAt`. */
  isOnTrial: boolean;
  triedAt: number;
  /** A datagram with it inside was answered, or a UOA of it acknowledged. */
  isProven: boolean;
  /** Sessions in a row that were answered only without it. */
  doubts: number;
  promptAnswers: number;
  attemptedAt: number;
  /** Since then there is none for so long. */
  restMs: number;
}

const newChoice = (forms: UoaForms): Choice => ({
  forms,
  isRefused: false,
  refusedAt: 0,
  isOnTrial: false,
  triedAt: 0,
  isProven: false,
  doubts: 0,
  promptAnswers: 0,
  attemptedAt: 0,
  restMs: 0,
});

export class UoaReceiver {
  /** Best first: the dialect, then the fallback. */
  readonly #choices: readonly Choice[];
  readonly #carriage: Carriage;

  /** Without forms no UOA is sent. */
  constructor(first: UoaForms | undefined, fallback: UoaForms | undefined, carriage: Carriage) {
    this.#choices = [first, fallback].filter((forms) => forms !== undefined).map(newChoice);
    this.#carriage = carriage;
  }

  /** Whether it is ever told anything. */
  get isTold(): boolean {
    return this.#choices.length > 0;
  }

  /** What is sent now, as an index for `formsOf`; -1: no UOA. A refused one is on trial with it. */
  choice(nowMs: number): number {
    const index = this.choiceAt(nowMs);
    if (index < 0) return index;
    const choice = this.#choices[index];
    if (choice.isRefused) {
      choice.isRefused = false;
      choice.isOnTrial = true;
      choice.triedAt = nowMs;
    }
    return index;
  }

  /** What `choice` is, for who sends nothing by it. */
  choiceAt(nowMs: number): number {
    for (let index = 0; index < this.#choices.length; index++) {
      const choice = this.#choices[index];
      if (!choice.isRefused || isOver(choice.refusedAt, REFUSED_MS, nowMs)) return index;
    }
    return -1;
  }

  formsOf(index: number): UoaForms {
    return this.#choices[index].forms;
  }

  /** Whether no client's datagram may be risked with it. */
  carriersOnly(index: number, nowMs: number): boolean {
    const choice = this.#choices[index];
    if (choice.isOnTrial && isOver(choice.triedAt, ACCEPTED_MS, nowMs)) choice.isOnTrial = false;
    return choice.isOnTrial || (this.#carriage === 'inserted' ? false : !choice.isProven);
  }

  /** Where carriersOnly: whether a datagram may be sent with it all the same, of which a copy is kept. */
  mayAttempt(index: number, nowMs: number): boolean {
    const { isOnTrial, isProven, promptAnswers, attemptedAt, restMs } = this.#choices[index];
    return (
      this.#carriage === 'auto' &&
      !isOnTrial &&
      !isProven &&
      promptAnswers >= PROMPT_ANSWERS &&
      (restMs === 0 || isOver(attemptedAt, restMs, nowMs))
    );
  }

  attempted(index: number, nowMs: number): void {
    const choice = this.#choices[index];
    choice.attemptedAt = nowMs;
    choice.restMs = Math.min(ATTEMPT_MAX_MS, Math.max(ATTEMPT_MS, 2 * choice.restMs));
  }

  /**
   * A session of it had its first answer; `isPrompt`: soon behind the first packet, and before the second.
   */
  noteAnswer(index: number, isPrompt: boolean): void {
    const choice = this.#choices[index];
    choice.promptAnswers = isPrompt ? Math.min(PROMPT_ANSWERS, choice.promptAnswers + 1) : 0;
  }

  /** The real server answered a datagram with it. */
  prove(index: number): void {
    const choice = this.#choices[index];
    if (this.#carriage === 'carrier') return;
    choice.isProven = true;
    choice.doubts = 0;
    choice.restMs = 0;
  }

  /** A session had its first answer: to datagrams with it, or to the first one without it behind such. */
  noteInserted(index: number, isAnswered: boolean): void {
    const choice = this.#choices[index];
    choice.doubts = isAnswered ? 0 : choice.doubts + 1;
    if (choice.doubts < DOUBTS) return;
    choice.isProven = false;
    choice.doubts = 0;
  }

  /** Which choice's UOA for `origin` the parsed packet carries; -1 for none. */
  choiceIn(frame: Frame, packet: Packet, origin: Origin): number {
    for (let index = 0; index < this.#choices.length; index++) {
      if (matchesUoa(this.#choices[index].forms[origin.family], frame, packet, origin)) return index;
    }
    return -1;
  }

  /** The real server cannot read it. */
  refuse(index: number, nowMs: number): void {
    const choice = this.#choices[index];
    choice.isRefused = true;
    choice.refusedAt = nowMs;
    choice.isOnTrial = false;
    choice.isProven = false;
  }

  /** The real server confirmed it by an echo ACK. */
  accept(index: number): void {
    this.#choices[index].isOnTrial = false;
    this.prove(index);
  }
}

/** The clock wraps: what seems to lie ahead is long over. */
function isOver(sinceMs: number, durationMs: number, nowMs: number): boolean {
  const elapsedMs = (nowMs - sinceMs) | 0;
  return elapsedMs < 0 || elapsedMs >= durationMs;
}
