// What the admin HTTP server reads and may change. All that it reads answers at once from memory of this
// process or memory shared with the datapath: a scrape never waits for the datapath. What a reload changes is
// asked for anew each time.
import type { Config } from '../config/schema.ts';
import type { ServicePlan } from '../service/plan.ts';
import type { SessionTuple } from '../session/find-session.ts';
import type { SessionFilter, SessionSnapshot } from '../session/snapshot.ts';

/** One LIP towards one real server. */
export interface AdminLeg {
  /** Its cell in `legsInUse`. */
  index: number;
  lip: string;
  /** Number of lports; 0 where they are counted with another leg that shares them. */
  capacity: number;
}

/** How a real server is at the moment, beyond what its plan says. */
export interface ServerState {
  /**
   * up, or why it takes no new sessions: its checks failed, the config names it no more, an operator drained
   * it; where several hold, the first of these.
   */
  state: 'up' | 'down' | 'drained' | 'removed';
  isDown: boolean;
  isDrained: boolean;
  isRemoved: boolean;
  /** In words: the last check's result, or who drained it. */
  reason: string;
  /** When `state` became what it is. */
  since: Date;
  /** For new sessions, where an operator changed it at run time; undefined: as in the config. */
  weightSetTo: number | undefined;
}

/** An interface where packets of hot sessions are taken. */
export interface FastPathAttachment {
  readonly name: string;
  readonly how: 'xdp' | 'tcx' | 'clsact';
}

/** The kernel fast path (docs/operations.md). */
export interface FastPathState {
  kind: 'off' | 'xdp' | 'tc';
  /** io.fastPath. */
  wanted: string;
  /** Why it is of this kind, or off, in words. */
  why: string;
  interfaces: readonly FastPathAttachment[];
  /** By an operator: for all services, or for these. */
  switchedOff: { all: boolean; services: readonly string[] };
}

export interface ReloadOutcome {
  ok: boolean;
  /** What changed, one line each; or, when it is not ok, every problem. */
  lines: readonly string[];
  /**
   * When nothing changed: the last reload since the start that changed something, perhaps just before by
   * itself.
   */
  lastChange?: { at: Date; lines: readonly string[] } | undefined;
}

/** What the operator asked for cannot be done: `status` is the HTTP code, 404, 409 or 503. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface ProbeOptions {
  /** What is sent; undefined: as the health check by UDP sends, or a text of our own. */
  payload: Uint8Array | undefined;
  timeoutMs: number | undefined;
}

/** What came back for a datagram. */
export interface Probed {
  result: 'answered' | 'refused' | 'silent';
  /** From when it was sent first; null: nothing came. */
  afterMs: number | null;
  /** Payload of the answer. */
  bytes: number | null;
  /** How it was refused, in words. */
  icmp: string | null;
  /** An echo ACK came. */
  isAcked: boolean;
}

export interface ProbeReport {
  service: string;
  /** The LIP that was asked from. */
  from: string;
  to: string;
  dialect: string;
  payloadBytes: number;
  timeoutMs: number;
  plain: Probed;
  /** Null where its dialect puts nothing beside a datagram. `isCarrier`: it was sent without the payload. */
  uoa: (Probed & { isCarrier: boolean }) | null;
  /** ok: the UOA comes through. */
  verdict: 'ok' | 'uoa_dropped' | 'uoa_refused' | 'only_uoa' | 'refused' | 'silent' | 'unknown';
  /** The same for people, and what to check. */
  text: string;
}

export interface Operations {
  /** Reads the config file again. Never rejects. */
  reload(): Promise<ReloadOutcome>;
  /**
   * Takes no new sessions any more; the proxy ends when there are none left, or after `timeoutMs`: undefined
   * is as it was, or the default. Returns how many milliseconds are left. Throws an OperationError.
   */
  drain(timeoutMs: number | undefined): number;
  /** Takes back drain; returns whether there was one. Throws an OperationError. */
  cancelDrain(): boolean;
  /**
   * A real server of a service, both as /services names them; drain keeps its sessions. Throws an
   * OperationError.
   */
  drainServer(service: string, rs: string): void;
  /** Takes back drainServer and setWeight. Throws an OperationError. */
  enableServer(service: string, rs: string): void;
  /** It is told of the clients of its sessions again, each with its next packet. Throws an OperationError. */
  announceServer(service: string, rs: string): void;
  /** Until a restart, or a reload that changes its weight in the config. Throws an OperationError. */
  setWeight(service: string, rs: string, weight: number): void;
  /**
   * Asks a real server as the datapath would, with and without UOA. Rejects with an OperationError.
   */
  probe(service: string, rs: string, options: ProbeOptions): Promise<ProbeReport>;
  /**
   * Of a service, which there is, or of all: whether its sessions may go by the fast path, until the proxy
   * ends. Throws an OperationError.
   */
  switchFastPath(isOn: boolean, service: string | undefined): void;
}

export interface AdminSources {
  version: string;
  startedAt: Date;
  config(): Config;
  /** Row 1 + index of the counters is a service's; real servers carry the index of their row too. */
  services(): readonly ServicePlan[];
  legs(): readonly AdminLeg[];
  /** By the index of the real server. */
  serverState(realServerIndex: number): ServerState;
  /** lports in use, one cell per leg. */
  legsInUse: Float64Array;
  /** Rows as in datapath/counters.ts. */
  counters: Float64Array;
  /** Their columns, summed over all services, those of the past and none too. */
  counterSums: Float64Array;
  /** Rows as in datapath/server-cells.ts. */
  servers: Float64Array;
  ports: readonly { name: string }[];
  /** Rows of IO_COUNTERS, see IoOptions.counters. */
  io: Float64Array;
  /** Brings the arrays above up to date; called before they are read. */
  refresh(): void;
  /** See IoHost.mode. */
  ioMode: string;
  fastPath(): FastPathState;
  /** Whether an operator switched it off for this service, or for all. */
  isFastPathOff(service: string): boolean;
  /** How many packets it left to the datapath, by reason. Asks the kernel. */
  fastPathPassed(): Readonly<Record<string, number>>;
  /** How many of hot sessions another tc program kept from it, so that they are lost. */
  fastPathMissed(): number;
  /** How many it forwarded that count for no session, because nobody had asked it for long. */
  fastPathUncounted(): number;
  /** `reason` says in words why it is not ready, or what it serves. */
  readiness(): { ready: boolean; reason: string };
  /** Sessions that found no room in the table of clients (datapath/client-table.ts). */
  clientsUncounted(): number;
  /** Lines of the log that had no room, because nobody read it. */
  logLinesLost(): number;
  /** It takes no new sessions any more. */
  isDraining(): boolean;
  /** `failed` and `succeeded` since the start; `last` is undefined before the first. */
  reloads(): { succeeded: number; failed: number; last: { ok: boolean; at: Date } | undefined };
  /** Changes of the host that took effect since the start, and attempts that failed. */
  hostChanges(): { succeeded: number; failed: number };
  /** Of each datapath process; `pid` is undefined while it does not run. */
  workers(): readonly { pid: number | undefined; restarts: number }[];
  sessions: {
    /** `total` counts all that match; `sessions` holds those in [offset, offset + limit). */
    list(query: SessionFilter): Promise<{ total: number; sessions: object[] }>;
    /** The one with this tuple. Throws an OperationError where there is none (404), or nobody knows (503). */
    find(tuple: SessionTuple): SessionSnapshot;
  };
  operations: Operations;
}
