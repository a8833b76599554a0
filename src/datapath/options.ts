// What a datapath may be given besides its plan, its memory and the way out.
import type { SessionEvents } from '../session/events.ts';
import type { Frame, SendSuper } from '../wire/frame.ts';
import type { DatapathMemory } from './memory.ts';

export interface DatapathOptions {
  /** Keys the session index, among others; must be random where packets are hostile. */
  readonly seed?: readonly [number, number];
  readonly siblings?: Siblings | undefined;
  /** Without it all clients are reached as the plan says. */
  readonly routing?: Routing | undefined;
  /** The way out of super packets; without it none is accepted. */
  readonly sendSuper?: SendSuper;
  /** Told of each client that a real server answered for the first time in a session. */
  readonly onAnswered?: OnAnswered;
  /**
   * Says with which of how many lports the pool of a leg begins; random, or the first sessions after a
   * restart get the lports of the first ones before it.
   */
  readonly drawLport?: (count: number) => number;
  /** It goes on with the sessions in its memory only when `goOn` is called: they are not there yet. */
  readonly isWaiting?: boolean | undefined;
  /**
   * Told of each packet that was forwarded in a session that was there before it; `isFromItsSide`: it came by
   * an interface that faces who sends such packets.
   */
  readonly onForwarded?: OnForwarded;
  /** Told of sessions from the first one that is restored on, before the datapath is made. */
  readonly events?: SessionEvents;
}

export type OnForwarded = (base: number, isFromItsSide: boolean) => void;

/** The client's address, four words at `at`, and port. */
export type OnAnswered = (words: Int32Array, at: number, cport: number) => void;

/** The other datapaths of the same services, when there are any: each session belongs to one of them. */
export interface Siblings {
  readonly self: number;
  /** Of all datapaths, by number. */
  readonly memories: readonly DatapathMemory[];
  /**
   * Whose the datagram with these addresses (eight words) and ports is; for an ICMP error those of the answer
   * to the packet that it embeds.
   */
  ownerOf(addresses: Int32Array, sport: number, dport: number): number;
  /** Passes the IP packet at frame.bytes[off, end) on; false: it could not. */
  handOver(
    worker: number,
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    largestFragment: number,
  ): boolean;
}

/** Where packets from from[fromAt..+3] to to[toAt..+3] go, as the host's routes are at the moment. */
export interface Routing {
  /** IP packets of up to so many bytes go anywhere: nothing need be asked for them. */
  readonly leastMtu: number;
  /** Largest IP packet that goes there, bytes; 0: there is no route. */
  mtuTowards(to: Int32Array, toAt: number, from: Int32Array, fromAt: number): number;
  /** Index of the port that they leave by; -1: none of the plan's. */
  portTowards(to: Int32Array, toAt: number, from: Int32Array, fromAt: number): number;
}
