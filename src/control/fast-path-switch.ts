// Which services go by no fast path, because an operator switched it off for them or for all: cells of the
// shared memory, which each datapath reads as it looks at its hot sessions. So it holds for one that starts
// again, too, and by names for services that a reload numbers anew.
import type { Logger } from 'pino';
import { OperationError } from '../admin/sources.ts';
import type { CommonMemory } from '../datapath/memory.ts';
import type { ServicePlan } from '../service/plan.ts';
import type { SavedSwitch } from '../session/state-notes.ts';

export class FastPathSwitch {
  readonly #cells: Int32Array;
  readonly #log: Logger;
  #services: readonly ServicePlan[] = [];
  #isAllOff = false;
  /** By another program, until it is switched on. */
  #isImpeded = false;
  #isThere = true;
  #onSet: () => void = () => {};
  readonly #off = new Set<string>();

  constructor({ fastPathOff }: Pick<CommonMemory, 'fastPathOff'>, log: Logger) {
    this.#cells = fastPathOff;
    this.#log = log;
  }

  /** What was said of a service that stays goes on. */
  update(services: readonly ServicePlan[]): void {
    this.#services = services;
    const names = new Set(services.map(({ name }) => name));
    const gone = [...this.#off].filter((name) => !names.has(name));
    for (const name of gone) this.#off.delete(name);
    this.#write(services);
    if (gone.length > 0) this.#onSet();
  }

  /** To be called before a datapath knows of them. */
  announce(services: readonly ServicePlan[]): void {
    this.#write(services);
  }

  get state(): SavedSwitch {
    return { ...this.set, all: this.#isAllOff || this.#isImpeded };
  }

  /** What an operator switched off, and not on again. */
  get set(): SavedSwitch {
    return { all: this.#isAllOff, services: [...this.#off].sort() };
  }

  /** Tells when that is another. */
  tellSet(onSet: () => void): void {
    this.#onSet = onSet;
  }

  /** Switches off what was so in a process before this one; logs it, and what is there no more. */
  restore({ all, services }: SavedSwitch): void {
    const names = new Set(this.#services.map(({ name }) => name));
    const said = (service?: string) => `fast path off${nameOf(service)} by an operator before the restart`;
    this.#isAllOff = all;
    if (all) this.#log.info(`${said()}: still so`);
    for (const service of services) {
      if (names.has(service)) {
        this.#off.add(service);
        this.#log.info({ service }, `${said(service)}: still so`);
      } else this.#log.warn({ service }, `${said(service)}: is dropped, the config does not name it`);
    }
    this.#write(this.#services);
  }

  /** Another program keeps packets from it. It holds for this process, and is no operator's wish. */
  impede(): void {
    this.#isImpeded = true;
    this.#write(this.#services);
  }

  /** There is no fast path after all, whatever an operator says. */
  withdraw(): void {
    this.#isThere = false;
    this.#write(this.#services);
  }

  /** An operator switched something off. */
  get isAnyOff(): boolean {
    return this.#isAllOff || this.#off.size > 0;
  }

  isOff(service: string): boolean {
    return this.#isAllOff || this.#isImpeded || this.#off.has(service);
  }

  /** Of one service, which there is, or of all. */
  switchOff(service: string | undefined): void {
    if (service === undefined) this.#isAllOff = true;
    else this.#off.add(service);
    this.#change();
    this.#log.info({ service }, `fast path off${nameOf(service)}: sessions go by the datapath`);
  }

  /**
   * Of one service, or of all, those that were switched off one by one too. Throws an OperationError where it
   * is off for all, so that one alone cannot be on.
   */
  switchOn(service: string | undefined): void {
    if (service === undefined) {
      this.#isAllOff = false;
      this.#isImpeded = false;
      this.#off.clear();
    } else {
      if (this.state.all)
        throw new OperationError(409, 'the fast path is off for all services: switch it on for all');
      this.#off.delete(service);
    }
    this.#change();
    const effect = this.#isThere ? 'busy sessions go by the kernel' : 'there is none in this process';
    this.#log.info({ service }, `fast path on${nameOf(service)}: ${effect}`);
  }

  #change(): void {
    this.#write(this.#services);
    this.#onSet();
  }

  #write(services: readonly ServicePlan[]): void {
    for (const { index, name } of services)
      Atomics.store(this.#cells, index, !this.#isThere || this.isOff(name) ? 1 : 0);
  }
}

const nameOf = (service: string | undefined): string => (service === undefined ? '' : ` for ${service}`);
