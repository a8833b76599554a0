// What one packet with a UOA says, and what it is in its session: the UOA inserted into a datagram, a
// carrier, or the echo ACK to one of them. The last two look alike, so the sides of a session are remembered.
import type { CapturedPacket } from './captured-packet.ts';
import { inspect } from './dissect.ts';
import { type Endpoint, endpointName, type SeenDialect, type Uoa } from './uoa-option.ts';

/** `malformed`: no receiver can be trusted to read it, or it was not captured whole. */
export const KINDS = ['inserted', 'carrier', 'ack', 'malformed'] as const;
export type Kind = (typeof KINDS)[number];

export interface Sighting {
  device: string;
  timeUs: number;
  kind: Kind;
  /** Undefined when it is too malformed to tell. */
  dialect: SeenDialect | undefined;
  optionType: number | undefined;
  client: Endpoint | undefined;
  /** Where the client sent to: only dialects unified and proxy-v2 tell. */
  virtual: Endpoint | undefined;
  /** The packet's own; port 0 when it has none. */
  src: Endpoint;
  dst: Endpoint;
  payloadLen: number | undefined;
  /** It is the first fragment of its datagram. */
  isFragment: boolean;
  /** Why it is malformed. */
  fault: string | undefined;
}

/** Sessions that are remembered; then the oldest is forgotten. */
const SESSIONS_MAX = 1 << 16;

interface Session {
  /** What the packets with UOA come from. */
  local: string;
  /** One with payload came from there, so it is no echo ACK that was seen first. */
  isSure: boolean;
}

export class Observer {
  /** By its UOA and its two ends, in either direction. */
  readonly #sessions = new Map<string, Session>();
  readonly #lips: ReadonlySet<string>;

  /** `lips`: addresses that are known to be the proxy's towards real servers. */
  constructor(lips: readonly string[] = []) {
    this.#lips = new Set(lips);
  }

  /** Undefined for a packet without UOA. To be called in the order of the packets. */
  observe({ device, timeUs, wireLen, bytes }: CapturedPacket): Sighting | undefined {
    const seen = inspect(bytes, wireLen);
    if (seen === undefined) return undefined;
    const { srcIp, dstIp, uoa, fault, ports, isFragment } = seen;
    const src = { ip: srcIp, port: ports?.sport ?? 0 };
    const dst = { ip: dstIp, port: ports?.dport ?? 0 };
    const isRight = uoa !== undefined && ports !== undefined && fault === undefined;
    return {
      device,
      timeUs,
      kind: isRight ? this.#kindOf(src, dst, ports.payloadLen, uoa) : 'malformed',
      dialect: uoa?.dialect,
      optionType: uoa?.optionType,
      client: uoa?.client,
      virtual: uoa?.virtual,
      src,
      dst,
      payloadLen: ports?.payloadLen,
      isFragment,
      fault: isRight ? undefined : (fault ?? 'no UDP header'),
    };
  }

  #kindOf(src: Endpoint, dst: Endpoint, payloadLen: number, { dialect, bytes }: Uoa): Kind {
    // Before an empty datagram too.
    if (dialect === 'proxy-v2') return 'inserted';
    const from = endpointName(src);
    const session = this.#sessionOf(from, endpointName(dst), bytes);
    if (payloadLen > 0) {
      if (!session.isSure) session.local = from;
      session.isSure = true;
      return 'inserted';
    }
    if (this.#lips.has(src.ip)) return 'carrier';
    if (this.#lips.has(dst.ip)) return 'ack';
    return session.local === from ? 'carrier' : 'ack';
  }

  #sessionOf(from: string, to: string, uoa: Uint8Array): Session {
    const ends = from < to ? `${from} ${to}` : `${to} ${from}`;
    const key = `${ends} ${Buffer.from(uoa).toString('latin1')}`;
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = { local: from, isSure: false };
      this.#sessions.set(key, session);
      const [oldest] = this.#sessions.keys();
      if (this.#sessions.size > SESSIONS_MAX && oldest !== undefined) this.#sessions.delete(oldest);
    }
    return session;
  }
}
