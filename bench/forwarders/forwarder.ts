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
  /**
   * Processes that stand still while others are measured: those that use their processor also while nothing
   * happens, and those that would find sessions silent which are measured again later.
   */
  readonly standStill?: readonly number[];
  readonly fastPath?: FastPathForwarder;
  readonly restarts?: Restarts;
  /** Throws when it is not running any more. */
  check(): void;
  /** Processes; none when the kernel does it. */
  pids(): readonly number[];
}

/** One that is measured when all its sessions go by the fast path. */
export interface FastPathForwarder {
  /** The kernel forwards without them, as long as the others of its processes live. */
  readonly workers: readonly number[];
  hotSessions(): number;
  /** Packets per second that it surely forwards. */
  readonly rate: number;
}

export interface Restarts {
  /** Kills all its processes and starts it again. */
  kill(): Promise<void>;
  /** Starts another process, which goes on where the one at work steps aside. */
  takeOver(): Promise<void>;
  /** Reads its config anew, which became another. */
  reload(): Promise<void>;
}

/** Throws with a reason that it cannot be measured on this machine. */
export type Start = (network: Network) => Promise<Forwarder>;

/** Sessions last longer than any measurement. */
export const SESSION_SECONDS = 1800;
