// What happens to sessions, for who keeps something beside the table that must follow them (a forwarding path
// in the kernel). Plain functions, called in the order of what happens; they must not come back into the
// table, but for what wasUsed says. Without a listener an event costs the test of a field, where it happens
// and nowhere else.

export interface SessionEvents {
  /**
   * A session that was not opened here is there: a predecessor's, or one that was read from a file. What it
   * has behind it follows at once, `answered` and `handshakeOver`, as if it had happened now.
   */
  restored(base: number): void;
  /** The real server answered for the first time. */
  answered(base: number): void;
  /**
   * No packet of the session brings a UOA any more: it was acked, its trials are used up, or nothing is told
   * to this real server; of the last kind it comes with the opening.
   */
  handshakeOver(base: number): void;
  /**
   * A round of trials begins in a session whose handshake was over: refresh, a gap, a refusal, another plan.
   */
  handshakeAgain(base: number): void;
  /**
   * The session goes on with another leg. Its record still names the leg and the lport that it leaves. The
   * handshake begins anew, without `handshakeAgain`.
   */
  moved(base: number): void;
  /** An ICMP error taught that packets to its real server must be shorter. */
  narrowed(base: number): void;
  /**
   * Asked before a session ends for its silence, or as the one that was used least recently: whether packets
   * of it went on that the table was not told of. Then it is told of the last one now (SessionTable.touch).
   */
  wasUsed(base: number, nowMs: number): boolean;
  /** The session ends, whatever the cause. Its record, service and leg are still whole. */
  ended(base: number): void;
}

/** What SessionTable.restore asks and tells, with the base of a record. */
export interface Restoring {
  onRestored(base: number): void;
  /** It is not taken over, and has any of FLAGS. */
  onGivenUp?(base: number): void;
  isFit?(base: number): boolean;
  /** Of one without an answer, as for `open`; asked when all are restored. */
  isKnown?(base: number): boolean;
}
