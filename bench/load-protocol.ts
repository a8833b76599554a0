// What the bench and its load process say to each other.
import type { FrameFields } from './bpf/programs.ts';

/** An interface inside a namespace. */
export interface End {
  namespace: string;
  device: string;
}

/** A network: where the load begins, the two sides of the forwarder, where the load ends. */
export interface Ends {
  client: End;
  /** Programs stand there unless the forwarder has its own. */
  wan?: End;
  lan?: End;
  rs: End;
  /** The port that the load goes to, and that answers come from. */
  port: number;
}

export interface Shot {
  fields: FrameFields;
  flows: number;
  /** Number of the first flow: others than before are new to the forwarder. */
  firstFlow: number;
  /** Packets per second; the source makes what it can of it. */
  rate: number;
  seconds: number;
  echo: boolean;
}

export interface Outcome {
  /** How long packets were made. */
  seconds: number;
  /** Packets made, and what was there of them when the time was over. */
  sent: number;
  arrived: number;
  delivered: number;
  answered: number;
  /** What was there when no more came: these were lost or not, whenever they came. */
  deliveredInAll: number;
  answeredInAll: number;
  /** Nanoseconds from the client to the client within which half, 99% and 99.9% of the answers came. */
  p50: number;
  p99: number;
  p999: number;
}

export type ToLoad =
  | { kind: 'attach'; network: string; ends: Ends }
  | { kind: 'shoot'; network: string; shot: Shot };
export type FromLoad =
  | { kind: 'ready' }
  | { kind: 'outcome'; outcome: Outcome }
  | { kind: 'failed'; message: string };
