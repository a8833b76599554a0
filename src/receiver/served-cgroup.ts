// One cgroup whose programs see their clients: its maps, the programs at its hooks, its pins. A cgroup may be
// removed and made again, as a service manager does when a service is started again: what was learned stays,
// and the programs are attached to the new one.

import { removeFolder } from '../fast/pins.ts';
import { IoError } from '../sys/io-error.ts';
import type { BpfObject } from '../sys/libbpf.ts';
import { dup } from '../sys/libc.ts';
import { openRingBuffer, type RingBuffer } from '../sys/ring-buffer.ts';
import { type OpenCgroup, openCgroup } from './cgroup.ts';
import { countClients, forgetUnused, ignoredSources, trust } from './clients.ts';
import type { EchoAcks } from './echo-ack.ts';
import { attachLinks, explained, type Links, loadPrograms } from './hooks.ts';
import { nowTick, type ReceiverCounter, RING_BYTES, TICK_MS } from './layout.ts';
import { openMaps, type ReceiverMaps, readCounters, writeAbout } from './maps.ts';
import { holdRoot, isPinnable, otherLayouts, pinName, type ReceiverRoot } from './pins.ts';

export interface ServeOptions {
  /** As the kernel has it. */
  path: string;
  maxClients: number;
  from: readonly string[];
  version: string;
}

/** What became of a look at the cgroup. */
export type Attached = 'anew' | 'taken over' | 'as before' | 'gone';

export class ServedCgroup {
  readonly path: string;
  /** Why it ends with its process; '': it outlives it. */
  readonly unpinned: string;
  readonly #root: ReceiverRoot | undefined;
  readonly #maps: ReceiverMaps;
  readonly #programs: BpfObject;
  readonly #ring: RingBuffer;
  #cgroup: OpenCgroup | undefined;
  #links: Links | undefined;
  #isClosed = false;

  /** Throws an IoError, also when another process serves the cgroup. */
  static open(options: ServeOptions): ServedCgroup {
    const { path } = options;
    const root = isPinnable() ? holdRoot(pinName(path)) : undefined;
    if (root === undefined && isPinnable())
      throw new IoError(
        `another receiver serves ${path}`,
        'stop it first: uoa-proxy receiver status names it',
      );
    try {
      return new ServedCgroup(options, root);
    } catch (error) {
      root?.lock.release();
      throw explained(`cgroup ${path}`, error);
    }
  }

  private constructor({ path, maxClients, from, version }: ServeOptions, root: ReceiverRoot | undefined) {
    this.path = path;
    this.#root = root;
    this.unpinned = root === undefined ? 'no bpffs is mounted at /sys/fs/bpf' : '';
    const maps = openMaps(root?.folder, maxClients);
    this.#maps = maps;
    try {
      trust(maps.fds, from);
      maps.takeOver();
      this.#programs = loadPrograms(maps);
      this.#ring = openRingBuffer(dup(maps.ring), RING_BYTES);
      const startedAt = new Date().toISOString();
      writeAbout(maps.fds, { cgroup: path, pid: process.pid, version, startedAt });
    } catch (error) {
      maps.close();
      throw error;
    }
  }

  /** Attaches the programs if the cgroup is there and does not have them. Throws an IoError. */
  look(): Attached {
    const cgroup = openCgroup(this.path);
    if (cgroup === undefined) {
      this.#letGo();
      return 'gone';
    }
    if (cgroup.id === this.#cgroup?.id && this.#links?.isAttached()) {
      cgroup.close();
      return 'as before';
    }
    this.#letGo();
    try {
      this.#links = attachLinks(this.#programs, cgroup, this.#root?.folder);
      this.#cgroup = cgroup;
      this.#maps.takeOver(); // what programs before them learned until now
      this.#maps.pin();
    } catch (error) {
      if (this.#cgroup === undefined) cgroup.close();
      this.#letGo();
      throw explained(`cgroup ${this.path}`, error);
    }
    for (const folder of this.#root === undefined ? [] : otherLayouts(this.#root.path)) removeFolder(folder);
    return this.#links.taken > 0 ? 'taken over' : 'anew';
  }

  get isAttached(): boolean {
    return this.#links !== undefined;
  }

  trust(prefixes: readonly string[]): void {
    trust(this.#maps.fds, prefixes);
  }

  counters(): Record<ReceiverCounter, number> {
    return readCounters(this.#maps.fds);
  }

  clients(): number {
    return countClients(this.#maps.fds);
  }

  ignored(): { ip: string; count: number }[] {
    return ignoredSources(this.#maps.fds);
  }

  /** See forgetUnused; other work is done in between. Resolves with how many it forgot. */
  async forgetUnused(idleMs: number): Promise<number> {
    let forgotten = 0;
    for (const some of forgetUnused(this.#maps.fds, nowTick(), Math.ceil(idleMs / TICK_MS))) {
      forgotten += some;
      await new Promise((next) => setImmediate(next));
      if (this.#isClosed) break;
    }
    return forgotten;
  }

  /** Sends echo ACKs until it is closed. */
  async acknowledge(acks: EchoAcks): Promise<void> {
    await acks.serve(this.#ring, () => this.#isClosed);
  }

  /** Lets go of it: what is pinned stays at work. */
  close(): void {
    this.#isClosed = true;
    this.#letGo();
    this.#ring.close();
    this.#programs.close();
    this.#maps.close();
    this.#root?.lock.release();
  }

  #letGo(): void {
    this.#links?.close();
    this.#links = undefined;
    this.#cgroup?.close();
    this.#cgroup = undefined;
  }
}
