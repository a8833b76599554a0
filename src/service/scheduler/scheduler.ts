// How a service chooses the real server of a new session. A scheduler is asked once per session, holds only
// its own turn or table, and never chooses a real server of weight 0.

/** The real servers to choose from, by index. */
export interface ServerSet {
  /** `ip:port` of each: what does not differ between proxies of the same config. */
  readonly keys: readonly string[];
  /** 0: takes no new session now. Changed in place; `update` is called after it. */
  readonly weights: Int32Array;
  /** Sessions that it has at the moment. */
  sessions(index: number): number;
  /** Cell 0: whose turn is next, for all datapaths that share the service. */
  readonly turns: Int32Array;
  /** Which of how many datapaths that share the service this is. */
  readonly share: Share;
}

export interface Share {
  readonly worker: number;
  readonly workers: number;
}

export interface Scheduler {
  /**
   * Index of the real server for a new session of the client at words 0 to 3 (wire/address.ts), but not
   * `except`; -1 when all other weights are 0.
   */
  pick(client: Int32Array, except?: number): number;
  /** Called after weights changed. */
  update(): void;
}
