// Which services go by no fast path, because an operator switched it off for them or for all: cells of the
// shared memory, which each datapath reads as it looks at its hot sessions. So it holds for one that starts
// again, too, and by names for services that a reload numbers anew.
import type { Logger } from 'pino';
import { OperationError } from '../admin/sources.ts';
import type { CommonMemory } from '../datapath/memory.ts';
import type { ServicePlan } from '../service/plan.ts';

export class FastPathSwitch {
  readonly #cells: Int32Array;
  readonly #log: Logger;
  #services: readonly ServicePlan[] = [];
  #isAllOff = false;
  #isThere = true;
  readonly #off = new Set<string>();

  constructor({ fastPathOff }: Pick<CommonMemory, 'fastPathOff'>, log: Logger) {
    this.#cells = fastPathOff;
    this.#log = log;
  }

  /** What was said of a service that stays goes on. */
  update(services: readonly ServicePlan[]): void {
    this.#services = services;
    const names = new Set(services.map(({ name }) => name));
    for (const name of this.#off) if (!names.has(name)) this.#off.delete(name);
    this.#write(services);
  }

  /** To be called before a datapath knows of them. */
  announce(services: readonly ServicePlan[]): void {
    this.#write(services);
  }

  get state(): { all: boolean; services: string[] } {
    return { all: this.#isAllOff, services: [...this.#off].sort() };
  }

  /** There is no fast path after all, whatever an operator says. */
  withdraw(): void {
    this.#isThere = false;
    this.#write(this.#services);
  }

  isOff(service: string): boolean {
    return this.#isAllOff || this.#off.has(service);
  }

  /** Of one service, which there is, or of all. */
  switchOff(service: string | undefined): void {
    if (service === undefined) this.#isAllOff = true;
    else this.#off.add(service);
    this.#write(this.#services);
    this.#log.info({ service }, `fast path off${nameOf(service)}: sessions go by the datapath`);
  }

  /**
   * Of one service, or of all, those that were switched off one by one too. Throws an OperationError where it
   * is off for all, so that one alone cannot be on.
   */
  switchOn(service: string | undefined): void {
    if (service === undefined) {
      this.#isAllOff = false;
      this.#off.clear();
    } else {
      if (this.#isAllOff)
        throw new OperationError(409, 'the fast path is off for all services: switch it on for all');
      this.#off.delete(service);
    }
    this.#write(this.#services);
    this.#log.info({ service }, `fast path on${nameOf(service)}: busy sessions go by the kernel`);
  }

  #write(services: readonly ServicePlan[]): void {
    for (const { index, name } of services)
      Atomics.store(this.#cells, index, !this.#isThere || this.isOff(name) ? 1 : 0);
  }
}

const nameOf = (service: string | undefined): string => (service === undefined ? '' : ` for ${service}`);
