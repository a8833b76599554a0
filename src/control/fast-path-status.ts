// What there is of the kernel fast path and why, for the log, the admin server and the metrics.
import type { Logger } from 'pino';
import type { FastPathAttachment } from '../admin/sources.ts';
import type { Config } from '../config/schema.ts';
import { canBeSteered } from '../io/modes.ts';

export type WantedFastPath = Config['io']['fastPath'];

type Io = Pick<Config['io'], 'fastPath' | 'mode'>;

/** Whether the config lets there be one. */
export const isFastPathTried = ({ fastPath, mode }: Io): boolean => fastPath !== 'off' && canBeSteered(mode);

export class FastPathStatus {
  readonly wanted: WantedFastPath;
  readonly isTried: boolean;
  readonly #log: Logger;
  #why: string;
  #impediment: string | undefined;
  #interfaces: readonly FastPathAttachment[] = [];
  #isWithoutIpv6Said = false;

  constructor(io: Io, log: Logger) {
    this.wanted = io.fastPath;
    this.isTried = isFastPathTried(io);
    this.#log = log;
    this.#why = io.fastPath === 'off' ? 'io.fastPath is off' : '';
    if (io.fastPath !== 'off' && !this.isTried)
      this.refused(`io.mode is ${io.mode}, and packets come in by capture filters, which do not know it`);
  }

  /** Why this kind and not another, or why none, in words. */
  get why(): string {
    return this.#impediment ?? this.#why;
  }

  /** Where programs are attached; none: there is no fast path. */
  get interfaces(): readonly FastPathAttachment[] {
    return this.#interfaces;
  }

  /** There is none, though it is wanted; or may be, and then nothing is amiss. */
  refused(why: string): void {
    this.#why = why;
    this.#interfaces = [];
    this.#lacks(`no fast path: ${why}`);
  }

  /** It is there, and ends with the process. */
  unpinned(why: string): void {
    this.#lacks(`the fast path ends with the proxy, and a restart finds no hot session: ${why}`);
  }

  /** Something was taken away, or begins anew. */
  note(what: string): void {
    this.#log.info(`fast path: ${what}`);
  }

  /** It is there, without memory for IPv6 addresses. Said once. */
  lacksIpv6(): void {
    if (this.#isWithoutIpv6Said) return;
    this.#isWithoutIpv6Said = true;
    this.#log.warn(
      'fast path: IPv6 sessions go by the datapath until the proxy is restarted or replaced (run --takeover), ' +
        'because no service had an IPv6 VIP when it started',
    );
  }

  /** It is there, and something keeps packets from it. */
  impeded(why: string): void {
    this.#impediment = why;
    this.#log.error(`the fast path is off: ${why}`);
  }

  /** Another tc program of the interface keeps packets from it, so many until that was seen. */
  blocked(name: string, missed: number): void {
    this.impeded(
      `another tc program at ${name} ends the chain before it, ${missed} packets did not arrive ` +
        '(let it go on with TC_ACT_UNSPEC, or take it away; then: uoa-proxy ctl fast-path on)',
    );
  }

  /** What kept packets from it is tried again. */
  unimpeded(): void {
    this.#impediment = undefined;
  }

  #lacks(text: string): void {
    if (this.wanted === 'auto') this.#log.info(text);
    else this.#log.warn(text);
  }

  /** It forwards. */
  attached(why: string, interfaces: readonly FastPathAttachment[]): void {
    this.#why = why;
    this.#interfaces = interfaces;
    this.#log.info(
      `fast path: ${interfaces.map(({ name, how }) => `${how} at ${name}`).join(', ')} (${why})`,
    );
  }
}
