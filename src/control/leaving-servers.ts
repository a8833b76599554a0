// Real servers that are leaving, because the config names them no more: they keep their sessions until these
// are over, or their time is.

const POLL_MS = 1000;
/** What failed would fail again at once. */
const RETRY_MS = 30_000;

export class LeavingServers {
  /** Until when, by index of the real server. */
  readonly #until = new Map<number, number>();
  readonly #sessionsOf: (realServerIndex: number) => number;
  readonly #takeOut: () => Promise<boolean>;
  readonly #nowMs: () => number;
  #timer: NodeJS.Timeout | undefined;
  #isUnderWay = false;
  #notBefore = Number.NEGATIVE_INFINITY;

  /**
   * `takeOut` takes out those of which `isOver` is true, never rejects, and resolves with whether that went
   * well; it is called again only when it has resolved. `nowMs` is monotonic.
   */
  constructor(
    sessionsOf: (realServerIndex: number) => number,
    takeOut: () => Promise<boolean>,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#sessionsOf = sessionsOf;
    this.#takeOut = takeOut;
    this.#nowMs = nowMs;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(), POLL_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** These are leaving now, by index, with the milliseconds that those have for it who were not before. */
  note(timeouts: ReadonlyMap<number, number>): void {
    for (const index of this.#until.keys()) if (!timeouts.has(index)) this.#until.delete(index);
    for (const [index, timeoutMs] of timeouts)
      if (!this.#until.has(index)) this.#until.set(index, this.#nowMs() + timeoutMs);
  }

  /** Also of one that is about to leave, within `timeoutMs`. */
  isOver(index: number, timeoutMs = 0): boolean {
    const now = this.#nowMs();
    return now >= (this.#until.get(index) ?? now + timeoutMs) || this.#sessionsOf(index) === 0;
  }

  async #look(): Promise<void> {
    if (this.#isUnderWay || this.#nowMs() < this.#notBefore) return;
    if (![...this.#until.keys()].some((index) => this.isOver(index))) return;
    this.#isUnderWay = true;
    const isDone = await this.#takeOut();
    this.#isUnderWay = false;
    this.#notBefore = isDone ? Number.NEGATIVE_INFINITY : this.#nowMs() + RETRY_MS;
  }
}
