// Notices that the host changes under the running proxy: the Ethernet address or MTU of an interface, a
// route, an address. The kernel's notices (rtnetlink(7)) only say that it is time to look; what changed
// follows from planning for the host anew.
import type { Logger } from 'pino';
import { HOST_GROUPS } from '../route/rtnetlink.ts';
import { SysError } from '../sys/libc.ts';
import { NetlinkSocket, NOTHING } from '../sys/netlink.ts';

/** How often notices are looked for. */
const LOOK_MS = 250;
/**
 * Where something changes all the time, as on a router, looks take at most a quarter of the time, but rest no
 * longer than this.
 */
const REST_SHARE = 3;
const REST_MAX_MS = 500;
/** What cannot be followed is tried again. */
const FAILED_REST_MS = 5000;
/** What is wrong may become right without a notice. */
const TROUBLE_LOOK_MS = 30_000;
/** Lines of a change that are logged. */
const LINES_MAX = 20;
/** More notices than fit are as good as one. */
const BUFFER_BYTES = 64 << 10;
const NOTICES_PER_LOOK = 1024;

export interface Followed {
  /** What was different and is taken in now, one line each. */
  changes: readonly string[];
  /** What is wrong and cannot be helped by planning anew; empty: nothing. */
  trouble: string;
}

export class HostWatch {
  readonly #follow: () => Promise<Followed>;
  readonly #log: Logger;
  readonly #troubleLookMs: number;
  #socket: NetlinkSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** When it is to look: at once, since something may have changed before the notices came here. */
  #dueAt = 0;
  #isLooking = false;
  #restUntil = 0;
  #trouble = '';
  #succeeded = 0;
  #failed = 0;

  /**
   * `follow` takes in what is different on the host; it rejects when that failed, with what was before still
   * at work.
   */
  constructor(follow: () => Promise<Followed>, log: Logger, troubleLookMs = TROUBLE_LOOK_MS) {
    this.#follow = follow;
    this.#log = log;
    this.#troubleLookMs = troubleLookMs;
  }

  /** How often the host had changed. */
  get counts(): { succeeded: number; failed: number } {
    return { succeeded: this.#succeeded, failed: this.#failed };
  }

  start(): void {
    try {
      this.#socket = new NetlinkSocket(HOST_GROUPS, BUFFER_BYTES);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#log.warn(`changes of interfaces and addresses take effect at reloads only: ${error.message}`);
      return;
    }
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** Whether nothing was announced since the last look began, that is over, and nothing was wrong with it. */
  isAsFollowed(): boolean {
    if (this.#socket === undefined || this.#isLooking) return false;
    this.#noteNotices();
    return this.#dueAt === Infinity && this.#trouble === '';
  }

  #noteNotices(): void {
    if (this.#hasNotices()) this.#dueAt = performance.now();
  }

  async #look(): Promise<void> {
    const start = performance.now();
    this.#noteNotices();
    if (this.#isLooking || performance.now() < Math.max(this.#dueAt, this.#restUntil)) return;
    this.#dueAt = Infinity;
    this.#isLooking = true;
    let restMs = 0;
    try {
      const { changes, trouble } = await this.#follow();
      if (changes.length > 0) {
        this.#succeeded++;
        const more = changes.length - LINES_MAX;
        const lines = more > 0 ? [...changes.slice(0, LINES_MAX), `and ${more} more`] : changes;
        this.#log.info({ changes: lines }, 'the host changed: planned anew for it');
      }
      this.#note(trouble);
      if (trouble !== '') this.#dueAt = Math.min(this.#dueAt, performance.now() + this.#troubleLookMs);
    } catch (error) {
      this.#failed++;
      this.#note(`the host changed, and the proxy cannot follow: ${(error as Error).message}`);
      // Not at once, because what was undone is noticed, too.
      this.#dueAt = 0;
      restMs = FAILED_REST_MS;
    }
    const now = performance.now();
    this.#restUntil = now + Math.max(restMs, Math.min(REST_MAX_MS, REST_SHARE * (now - start)));
    this.#isLooking = false;
  }

  #hasNotices(): boolean {
    let count = 0;
    try {
      while (count < NOTICES_PER_LOOK && this.#socket?.receive() !== NOTHING) count++;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return true; // the socket's error, told once: notices may be lost
    }
    return count > 0;
  }

  /** The same is said once. */
  #note(trouble: string): void {
    if (trouble === this.#trouble || this.#socket === undefined) return;
    this.#trouble = trouble;
    if (trouble === '') this.#log.info('the host is as planned for again');
    else this.#log.warn(trouble);
  }
}
