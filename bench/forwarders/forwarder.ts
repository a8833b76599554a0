// What is measured: something in the lb namespace of a network that sends VIP:port on to the one real server,
// from a LIP, and the answers back.
import type { Network } from '../network.ts';

export interface Forwarder {
  readonly name: string;
  /** What a reader must know to judge the figures. */
  readonly note: string;
  /** Where the load must be sent when it is not the VIP. */
  readonly dst?: string;
  /** New sessions per second that it surely takes, and how many sessions at most. */
  readonly opensPerSecond: number;
  readonly maxSessions: number;
  /** Uses its processor also while nothing happens: it must stand still while others are measured. */
  readonly neverSleeps?: boolean;
  /** Throws when it is not running any more. */
  check(): void;
  /** Processes; none when the kernel does it. */
  pids(): readonly number[];
}

/** Throws with a reason that it cannot be measured on this machine. */
export type Start = (network: Network) => Promise<Forwarder>;

/** Sessions last longer than any measurement. */
export const SESSION_SECONDS = 1800;
