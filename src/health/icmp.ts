// Check by ICMP echo. All checks of a family share one raw socket, which is open while one of them waits:
// with a socket each, the kernel would give a copy of every reply to every one.
import { randomBytes, randomInt } from 'node:crypto';
import { openPingSocket, type PingSocket } from '../sys/ping-socket.ts';
import { canonicalAddress, type Family, familyOf } from '../wire/address.ts';
import { type Attempt, attempt, CannotCheck } from './attempt.ts';
import type { HealthConfig, Probe } from './probe.ts';

/** What a reply must bring back, so that nobody who has not seen the request can answer it. */
const TOKEN_LEN = 16;
const SEQUENCES = 0x10000;
/** Replies taken in per turn of the event loop. */
const TURN_MAX = 256;

export function icmpProbe({ timeout }: HealthConfig): Probe {
  return ({ ip }, signal) =>
    attempt({ timeoutMs: timeout, signal }, (given) => echoes[familyOf(ip)].ask(ip, given));
}

interface Question {
  ip: string;
  token: Buffer;
  attempt: Attempt;
}

class Echoes {
  readonly #family: Family;
  readonly #waiting = new Map<number, Question>();
  #socket: PingSocket | undefined;
  #sequence = 0;

  constructor(family: Family) {
    this.#family = family;
  }

  /** Sends a request and returns how to forget it. */
  ask(ip: string, given: Attempt): () => void {
    if (this.#waiting.size === SEQUENCES) throw new CannotCheck('too many echo requests wait for a reply');
    do this.#sequence = (this.#sequence + 1) % SEQUENCES;
    while (this.#waiting.has(this.#sequence));
    const sequence = this.#sequence;
    const question = { ip: canonicalAddress(ip), token: randomBytes(TOKEN_LEN), attempt: given };
    this.#socket ??= this.#open();
    this.#waiting.set(sequence, question);
    const forget = () => {
      if (!this.#waiting.delete(sequence) || this.#waiting.size > 0) return;
      this.#socket?.close();
      this.#socket = undefined;
    };
    try {
      this.#socket.send(ip, sequence, question.token);
    } catch (error) {
      forget();
      throw error;
    }
    return forget;
  }

  #open(): PingSocket {
    try {
      return openPingSocket(this.#family, randomInt(SEQUENCES), () => this.#take());
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const hint = code === 'EPERM' ? ': health.type icmp needs CAP_NET_RAW' : '';
      throw new CannotCheck(`no socket for echo requests (${message})${hint}`, { cause: error });
    }
  }

  #take(): void {
    try {
      for (let taken = 0; taken < TURN_MAX && this.#socket !== undefined; taken++) {
        const reply = this.#socket.receive();
        if (reply === undefined) return;
        const question = this.#waiting.get(reply.sequence);
        if (question?.ip === reply.ip && question.token.equals(reply.data)) question.attempt.succeed();
      }
    } catch (error) {
      for (const question of [...this.#waiting.values()]) question.attempt.error(error as Error);
    }
  }
}

const echoes: Record<Family, Echoes> = { 4: new Echoes(4), 6: new Echoes(6) };
