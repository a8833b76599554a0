// What there is of the kernel fast path and why, for the log, the admin server and the metrics.
import type { Logger } from 'pino';
import type { FastPathAttachment } from '../admin/sources.ts';
import type { FastPathKind } from '../fast/attachment.ts';

export type WantedFastPath = 'auto' | FastPathKind | 'off';

export class FastPathStatus {
  readonly wanted: WantedFastPath;
  readonly log: Logger;
  #why: string;
  #impediment: string | undefined;
  #interfaces: readonly FastPathAttachment[] = [];

  constructor(wanted: WantedFastPath, log: Logger) {
    this.wanted = wanted;
    this.log = log;
    this.#why = wanted === 'off' ? 'io.fastPath is off' : '';
  }

  /** Why this kind and not another, or why none, in words. */
  get why(): string {
    return this.#impediment ?? this.#why;
  }

  /** Where programs are attached; none: there is no fast path. */
  get interfaces(): readonly FastPathAttachment[] {
    return this.#interfaces;
  }

  /** There is none, though it is wanted. */
  refused(why: string): void {
    this.#why = why;
    this.#interfaces = [];
    this.log.warn(`no fast path: ${why}`);
  }

  /** It is there, and something keeps packets from it. */
  impeded(why: string): void {
    this.#impediment = why;
    this.log.error(`the fast path is off: ${why}`);
  }

  /** What kept packets from it is tried again. */
  unimpeded(): void {
    this.#impediment = undefined;
  }

  /** It forwards. */
  attached(why: string, interfaces: readonly FastPathAttachment[]): void {
    this.#why = why;
    this.#interfaces = interfaces;
    this.log.info(`fast path: ${interfaces.map(({ name, how }) => `${how} at ${name}`).join(', ')} (${why})`);
  }
}
