// What the fuzzer knows of the sessions, from what arrived and what was sent alone: whose LIP:lport is whose,
// which fragments are held, what may be told to which real server.
import assert from 'node:assert/strict';
import { type Family, familyOf, hex } from '../packets/bytes.ts';
import type { Form, Named } from '../packets/uoa-builder.ts';
import type { World } from './input.ts';
import { AT, VPORT } from './plan.ts';
import { join, read, type Seen } from './reader.ts';
import type { Outcome } from './twin.ts';

/** How a header of PROXY protocol begins, and what a program may take for one. */
const SIGNATURE = '0d0a0d0a000d0a515549540a';

export interface Client {
  ip: string;
  port: number;
}

/** A datagram that was sent to a real server, and for whom. */
export interface Delivery {
  client: Client;
  /** Whole, as it was sent. */
  packet: Uint8Array;
  form?: Form;
}

export class Model {
  readonly world: World;
  /** Of the fragments that were held, how many went out of the world again with their datagram. */
  piecesHeld = 0;
  piecesUsed = 0;
  piecesDropped = 0;
  /** The last datagram to a real server, the last with a UOA, and the last to a client. */
  delivery: Delivery | undefined;
  told: Delivery | undefined;
  answer: Uint8Array | undefined;
  readonly #clientOf = new Map<string, Client>();
  readonly #lportOf = new Map<string, string>();
  readonly #trialsOf = new Map<string, number>();
  readonly #held = new Map<string, Seen[]>();
  readonly #refused = new Set<Family>();
  #wasClosed = false;

  constructor(world: World) {
    this.world = world;
  }

  /** What may be told to the real server of a family: the dialect, once it was refused also the fallback. */
  formsTowards(family: Family): Form[] {
    const { dialect4, dialect6, onUnsupported, maxTrials } = this.world;
    const dialect = family === 4 ? dialect4 : dialect6;
    if (dialect === null || dialect === 'none' || dialect === 'proxy-v2' || maxTrials === 0) return [];
    const spoken =
      this.#refused.has(family) && onUnsupported !== 'plain' ? [dialect, onUnsupported] : [dialect];
    const { unifiedType } = this.world;
    return spoken.map((one) => (one === 'unified' && unifiedType === 30 ? 'type30' : one));
  }

  /** Whether a datagram with this payload brings a header of PROXY protocol to a family's real server. */
  headerTowards(family: Family, payload: Uint8Array): 'always' | 'perhaps' | 'never' {
    const { dialect4, dialect6, proxyV2 = 'every' } = this.world;
    if ((family === 4 ? dialect4 : dialect6) !== 'proxy-v2') return 'never';
    return proxyV2 === 'every' || hex(payload).startsWith(SIGNATURE) ? 'always' : 'perhaps';
  }

  hasRealServer(family: Family): boolean {
    return (family === 4 ? this.world.dialect4 : this.world.dialect6) !== null;
  }

  named({ ip, port }: Client): Named {
    return { cip: ip, cport: port, vip: AT[familyOf(ip)].vip, vport: VPORT };
  }

  /** `family` is the real server's. */
  clientOf(family: Family, lport: number): Client | undefined {
    return this.#clientOf.get(`${family} ${lport}`);
  }

  /** The client's datagram was sent from this lport. A client keeps it while no session ends. */
  noteInbound(client: Client, family: Family, lport: number, { changed }: Outcome): void {
    const name = `${client.ip} ${client.port}`;
    const key = `${family} ${lport}`;
    if (changed.sessionsCreated === undefined)
      assert.equal(this.#lportOf.get(name), key, 'a client keeps its LIP:lport as long as its session');
    this.#lportOf.set(name, key);
    this.#clientOf.set(key, client);
  }

  /** A UOA is sent `maxTrials` times to a session, unless something starts it again. */
  noteTrials(client: Client, trials: number, { changed }: Outcome): void {
    const name = `${client.ip} ${client.port}`;
    const all = (changed.sessionsCreated ? 0 : (this.#trialsOf.get(name) ?? 0)) + trials;
    this.#trialsOf.set(name, all);
    const { refreshMs, idleRefreshMs, maxTrials } = this.world;
    const isOneRound = refreshMs === 0 && idleRefreshMs === 0 && this.#refused.size === 0 && !this.#wasClosed;
    if (isOneRound) assert.ok(all <= maxTrials, `${all} trials`);
  }

  /** A real server whose port was closed is told again when it is back. */
  noteError({ family, src, icmp }: Seen): void {
    const closed = family === 4 ? '3/3' : '1/4';
    if (src === AT[family].rip && `${icmp!.type}/${icmp!.code}` === closed) this.#wasClosed = true;
  }

  noteRefusal(family: Family): void {
    this.#refused.add(family);
  }

  /**
   * Follows a fragment that arrived; those of one side make no datagram with those of the other. Returns the
   * datagram that it completed, if it did.
   */
  noteFragment(seen: Seen, from: 'wan' | 'lan', { verdict, changed, drops }: Outcome): Seen | undefined {
    const { src, dst, proto, fragment } = seen;
    const key = `${from} ${src} ${dst} ${proto} ${fragment!.id}`;
    const held = this.#held.get(key) ?? [];
    if (verdict === 'held') {
      this.#held.set(key, [...held, seen]);
      this.piecesHeld++;
      return undefined;
    }
    if (changed.datagramsReassembled !== 1) {
      const reason = verdict.replace('drop:', '');
      if (changed.fragmentsReceived === 1) {
        // as long as it can only be too large with its header
        assert.equal(reason, 'bad_fragment', 'a fragment is taken in and held, or completes its datagram');
      }
      if ((drops[reason] ?? 0) > 1) this.#held.delete(key);
      return undefined;
    }
    // Older pieces may have been given up meanwhile: some of the latest make the datagram.
    for (let first = held.length; first >= 0; first--) {
      const latest = held.slice(first);
      const whole = join([...latest, seen]);
      if (!whole) continue;
      this.#held.delete(key);
      this.piecesUsed += latest.length;
      return read(whole);
    }
    return assert.fail('a datagram was made of fragments that do not make one');
  }
}
