// Steps of rows about when a real server is told: a session's packets with and without UOA, its real server's
// answers, acknowledgements and errors, for each dialect and pair of families.
import { CARRIED, COMBINATIONS, Combination, FIRST } from './combination.ts';
import { errorAbout } from './errors.ts';
import { pair } from './pair.ts';
import type { Message } from './rfc7915.ts';
import type { PacketStep, Row } from './rows.ts';

/** Sessions that last, whose rounds end by nothing else. */
export const LONG = { onewayMs: 3_600_000, normalMs: 3_600_000, idleRefreshMs: 0 };

export class Told {
  readonly it: Combination;

  constructor(it: Combination) {
    this.it = it;
  }

  plan(change: Parameters<Combination['plan']>[0]) {
    return this.it.plan(change);
  }

  /** The first of the session. */
  first = (at: number): PacketStep => this.it.trial({ at, changed: { ...FIRST, ...this.it.counted } });
  uoa = (at: number): PacketStep => {
    const { changed: _, ...trial } = this.it.trial({ at });
    return trial;
  };
  plain = (at: number): PacketStep => {
    const { changed: _, ...plain } = this.it.plain({ at });
    return plain;
  };
  exhausted = (at: number): PacketStep => this.it.plain({ at, changed: { uoaExhausted: 1 } });
  acked = (at: number): PacketStep => ({
    at,
    lan: this.it.pair.echoAck(this.it.sent),
    verdict: 'consumed',
    changed: { uoaAcked: 1 },
  });
  answer = (at: number): PacketStep => ({
    at,
    lan: this.it.pair.fromRealServer(),
    verdict: 'forward',
    sent: [this.it.pair.atClient()],
  });

  /** An error about a packet of the session. */
  error(at: number, message: Message, src = this.it.pair.rip): PacketStep {
    return { at, lan: errorAbout(this.it.pair.toRealServer(), message, { src }), verdict: 'forward' };
  }

  unreachable = (at: number): PacketStep =>
    this.error(at, this.it.pair.server === 4 ? { type: 3, code: 3, rest: 0 } : { type: 1, code: 4, rest: 0 });

  /** Another client's first packet, with the UOA; to the same real server, or to the next one. */
  second = (at: number): PacketStep => ({
    at,
    wan: this.it.pair.fromClient({ sport: 7777 }),
    verdict: 'forward',
    changed: { ...FIRST, ...this.it.counted },
  });
  secondToOther = this.second;
  secondUoa = (at: number): PacketStep => ({
    ...this.second(at),
    changed: this.it.inserts ? { uoaInserted: 1 } : CARRIED,
  });
}

export const each = (row: (told: Told) => Omit<Row, 'name'>): Row[] =>
  COMBINATIONS.map((it) => ({ name: it.name, ...row(new Told(it)) }));

/** ipo, IPv4 on both sides. */
export const told = new Told(new Combination('ipo', pair(4, 4)));
