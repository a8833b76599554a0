// A dialect between a client and a real server of either family, and what its packets become; the table of
// all of them.
import { pattern } from '../packets/bytes.ts';
import type { Form, Uoa } from '../packets/uoa-builder.ts';
import type { Expected } from './expected.ts';
import { EMPTY, type Fields, PAIRS, type Pair } from './pair.ts';
import type { Counts, PlanChange, ServiceChange } from './rig.ts';
import type { PacketStep } from './rows.ts';

/** What a service can send: the dialects, unified with either type. */
type Sent = Exclude<Form, 'type29'>;
const SENT: readonly Sent[] = ['ipo', 'opp', 'elb', 'unified', 'type30'];

export const FIRST = { sessionsCreated: 1, sessionsOneway: 1 };
export const INSERTED = { uoaInserted: 1 };
export const CARRIED = { uoaCarrier: 1 };

function speaks(sent: Sent): ServiceChange {
  return sent === 'type30' ? { dialect: 'unified', unifiedType: 30 } : { dialect: sent };
}

/** A dialect between two families; opp over IPv6 is never inserted. */
export class Combination {
  readonly name: string;
  readonly inserts: boolean;
  readonly sent: Sent;
  readonly pair: Pair;

  constructor(sent: Sent, over: Pair) {
    this.name = `${sent === 'type30' ? 'unified with type 30' : sent}, ${over.name}`;
    this.inserts = sent !== 'opp' || over.server === 4;
    this.sent = sent;
    this.pair = over;
  }

  plan(change: ServiceChange = {}): PlanChange {
    return { service: { ...this.pair.service, ...speaks(this.sent), ...change } };
  }

  get uoa(): Uoa {
    return this.pair.uoa(this.sent);
  }

  /** Bytes that the UOA adds. */
  get size(): number {
    return this.pair.toRealServer({}, this.uoa).length - this.pair.toRealServer().length;
  }

  /** A payload that makes a packet of `length` bytes towards the real server. */
  filling(length: number): Uint8Array {
    return pattern(length - this.pair.toRealServer({ payload: EMPTY }).length);
  }

  carried(change: Fields = {}): Expected[] {
    return [this.pair.carrier(this.sent, change), this.pair.atRealServer(change)];
  }

  /** What a packet with room for the UOA becomes: one packet with it, or a carrier and the packet. */
  brought(change: Fields = {}): Expected[] {
    return this.inserts ? [this.pair.atRealServer(change, this.uoa)] : this.carried(change);
  }

  get counted(): Counts {
    return this.inserts ? INSERTED : CARRIED;
  }

  /** A client's packet that brings the UOA. */
  trial(change: Partial<PacketStep> = {}): PacketStep {
    return {
      wan: this.pair.fromClient(),
      verdict: 'forward',
      sent: this.brought(),
      changed: this.counted,
      ...change,
    };
  }

  /** A client's packet that brings none. */
  plain(change: Partial<PacketStep> = {}): PacketStep {
    return {
      wan: this.pair.fromClient(),
      verdict: 'forward',
      sent: [this.pair.atRealServer()],
      changed: {},
      ...change,
    };
  }
}

export const COMBINATIONS = SENT.flatMap((sent) =>
  PAIRS.filter(({ server }) => sent !== 'ipo' || server === 4).map((over) => new Combination(sent, over)),
);
