// Tells the operator what of the host's routing keeps packets from leaving at layer 2. Routes may come and go all the time:
// so it says something once per minute at most.

const EVERY_MS = 60_000;
/** The others are counted. */
const MAX_NAMED = 5;

export class IpLayerNotice {
  readonly #tell: (message: string, isOver: boolean) => void;
  #told = '';
  /** Undefined: nothing within the last minute. */
  #toldAt: number | undefined;

  /** `tell` as IoOptions.onIpLayer. */
  constructor(tell: (message: string, isOver: boolean) => void) {
    this.#tell = tell;
  }

  /** To be called a few times per second with all reasons that there are (NextHops.reasons). */
  look(reasons: readonly string[], nowMs: number): void {
    if (this.#toldAt !== undefined && ((nowMs - this.#toldAt) | 0) >= EVERY_MS) this.#toldAt = undefined;
    const all = reasons.join('; ');
    if (all === this.#told || this.#toldAt !== undefined) return;
    this.#told = all;
    this.#toldAt = nowMs;
    if (reasons.length === 0)
      this.#tell("no rule or route sends packets through the kernel's IP layer any more", true);
    else this.#tell(messageOf(reasons), false);
  }
}

function messageOf(reasons: readonly string[]): string {
  const named = reasons.slice(0, MAX_NAMED).join('; ');
  const others = reasons.length > MAX_NAMED ? `; and ${reasons.length - MAX_NAMED} more` : '';
  return (
    `packets go through the kernel's IP layer instead of out at layer 2, about half as many per second: ${named}${others}. ` +
    'To avoid that, give rules (ip rule) a destination or a priority behind the table main, and routes (ip route) one gateway'
  );
}
