// What the proxy is on its host besides its sockets: the guard, which claims its addresses and ports, and the
// addresses that it added. A change first adds what is new, and takes away what is old only when the
// datapaths have stopped serving it.
import type { Logger } from 'pino';
import { type Guard, type GuardSpec, installGuard } from '../host/guard.ts';
import { assignAddresses, type MissingAddress, removeAddresses } from '../host/host-addresses.ts';
import { checkBoundSockets } from '../host/ownership.ts';
import { isSameAddresses } from '../host/port-ranges.ts';
import { IoError } from '../sys/io-error.ts';
import { StartError } from './start-error.ts';

export interface HostSetupSpec extends GuardSpec {
  /** VIPs and LIPs that this host does not have. */
  missing: readonly MissingAddress[];
  assignAddresses: boolean;
  /** Whether the rest is worth having where these cannot be added; without it that is an error. */
  canLack?: ((ips: ReadonlySet<string>) => boolean) | undefined;
}

/** One of two must be called. What cannot be taken away is logged. */
export interface PreparedChange {
  /** Takes away what only the spec before needed; an address that stays is tried again at the end. */
  commit(): Promise<void>;
  /** Takes away what was added for the new one. */
  rollBack(): Promise<void>;
}

export class HostSetup {
  readonly #log: Logger;
  #spec: GuardSpec = { vips: [], lips: [] };
  #guard: Guard | undefined;
  #assigned: MissingAddress[] = [];
  /** Being removed at the moment. */
  #going: readonly MissingAddress[] = [];
  readonly #proxy: string;
  readonly #besides: readonly string[];

  /** `proxy`: see proxyName; `besides` are guards of a proxy that this one takes over from. */
  constructor(log: Logger, proxy: string, besides: readonly string[] = []) {
    this.#log = log;
    this.#proxy = proxy;
    this.#besides = besides;
  }

  get guardTable(): string {
    return this.#guard?.table ?? '';
  }

  /** The addresses that it added. Others are not its own to add again. */
  get added(): ReadonlySet<string> {
    return new Set(this.#assigned.map(({ ip }) => ip));
  }

  /** Addresses that another process added are its own from now on: what it does not need goes. */
  async adopt(added: readonly MissingAddress[]): Promise<void> {
    this.#assigned = [...this.#assigned, ...added];
    const obsolete = this.obsolete(this.#spec);
    await removeAddresses(obsolete).then(
      () => {
        this.#assigned = this.#assigned.filter((one) => !obsolete.includes(one));
      },
      (error: Error) => this.#log.error(`an address that is needed no more stays: ${error.message}`),
    );
  }

  get assigned(): readonly MissingAddress[] {
    return this.#assigned;
  }

  /** Before anything else: a process that has ended left these to this one. What it does not need goes. */
  inherit(added: readonly MissingAddress[]): void {
    this.#assigned = [...added];
  }

  /** Its addresses are another process's: the end leaves them. */
  leaveAddresses(): readonly MissingAddress[] {
    const left = this.#assigned;
    this.#assigned = [];
    return left;
  }

  /** What it added and another spec does not need: it goes with that one's commit, or just now. */
  obsolete({ vips, lips }: GuardSpec): MissingAddress[] {
    const needed = new Set([...vips, ...lips].map(({ ip }) => ip));
    return [...this.#assigned, ...this.#going].filter(({ ip }) => !needed.has(ip));
  }

  /** Throws an IoError or StartError, with nothing changed. */
  async prepare(spec: HostSetupSpec): Promise<PreparedChange> {
    const { vips, lips, missing } = spec;
    if (missing.length > 0 && !spec.assignAddresses) throw notOnThisHost(missing);
    const before = this.#spec;
    const isSame = isSameAddresses(spec, before);
    const bound = isSame
      ? []
      : await checkBoundSockets(without(vips, before.vips), without(lips, before.lips));
    for (const text of bound) this.#log.warn(text);
    const rollBacks: (() => Promise<void>)[] = [];
    const rollBack = async () => {
      for (let step = rollBacks.pop(); step; step = rollBacks.pop())
        await step().catch((error: Error) => this.#log.error(`what was added stays: ${error.message}`));
    };
    try {
      // Before the addresses are there and until they are gone, or the kernel answers for them.
      const guard = isSame
        ? undefined
        : await installGuard({ vips, lips, proxy: this.#proxy }, (message) => this.#log.error(message), [
            this.guardTable,
            ...this.#besides,
          ]);
      rollBacks.push(async () => guard?.remove());
      const { added, troubles } = await assignAddresses(missing);
      if (added.length > 0) rollBacks.push(() => removeAddresses(added));
      const [first] = troubles;
      if (first !== undefined && !spec.canLack?.(new Set(troubles.map(({ ip }) => ip))))
        throw new IoError(first.text, first.hint);
      for (const { text, hint } of troubles) this.#log.error(`${text} (${hint})`);
      if (added.length > 0) {
        const addresses = added.map(({ ip, device }) => `${ip} on ${device}`);
        this.#log.info({ addresses }, 'addresses added');
      }
      return { rollBack, commit: () => this.#commit({ ...spec, missing: added }, guard) };
    } catch (error) {
      await rollBack();
      throw error;
    }
  }

  /** Gives up everything. Throws an Error that says what is left. */
  async end(): Promise<void> {
    const assigned = this.#assigned;
    this.#assigned = [];
    try {
      await removeAddresses(assigned);
    } finally {
      await this.#guard?.remove();
    }
  }

  async #commit({ vips, lips, missing }: HostSetupSpec, guard: Guard | undefined): Promise<void> {
    this.#spec = { vips, lips };
    const obsolete = this.obsolete({ vips, lips }); // none is going yet
    const anew = new Set(missing.map(({ ip }) => ip));
    const all = [...this.#assigned.filter(({ ip }) => !anew.has(ip)), ...missing];
    const goes = new Set(obsolete);
    this.#assigned = all.filter((one) => !goes.has(one));
    this.#going = obsolete;
    await removeAddresses(obsolete).catch((error: Error) => {
      // The datapaths serve the new spec already: there is no way back.
      this.#assigned = all;
      this.#log.error(`an address that is needed no more stays: ${error.message}`);
    });
    this.#going = [];
    if (guard !== undefined) {
      const old = this.#guard;
      this.#guard = guard;
      await old?.remove();
    }
  }
}

function notOnThisHost(missing: readonly MissingAddress[]): StartError {
  const commands = missing.map(({ command }) => `  ${command}`).join('\n');
  return new StartError(
    `not on this host: ${missing.map(({ ip }) => ip).join(', ')}`,
    `add them:\n${commands}\nor set io.assignAddresses: true, which adds them on start and removes them on stop`,
  );
}

/** Those that `others` do not have in the same way. */
function without<T>(all: readonly T[], others: readonly T[]): T[] {
  const known = new Set(others.map((one) => JSON.stringify(one)));
  return all.filter((one) => !known.has(JSON.stringify(one)));
}
