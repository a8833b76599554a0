// The control plane's half of the kernel fast path: its maps, its programs at the captured interfaces, and
// the word that says that the proxy lives. Which sessions are hot is the workers' affair
// (fast/hot-sessions.ts).
import { join } from 'node:path';
import { type FastPathKind, removeOtherLinks } from '../fast/attachment.ts';
import { type FastPathReason, LAYOUT_VERSION } from '../fast/layout.ts';
import {
  type FastPathMaps,
  type FoundMaps,
  type MapsBefore,
  openMaps,
  openMapsBefore,
  openMapsBeside,
} from '../fast/maps.ts';
import { readPassed, readUncounted } from '../fast/passed.ts';
import { FOLDER, filterHandleOf } from '../fast/pins.ts';
import { PortRows } from '../fast/port-rows.ts';
import type { HotMaps } from '../steer/kernel-steering.ts';
import { FAST_MAPS, type FastPart } from '../worker-protocol.ts';
import { FastPathFolder } from './fast-path-folder.ts';
import {
  chooseKind,
  explainFailure,
  hasPinsOf,
  haveIpv6,
  isFolder,
  removeFilters,
  requireEthernet,
} from './fast-path-places.ts';
import { ALIVE_MS, FastPathPorts } from './fast-path-ports.ts';
import { FastPathPrograms } from './fast-path-programs.ts';
import { type FastPathRequest, partOf, sizesOf } from './fast-path-sizes.ts';
import type { FastPathStatus } from './fast-path-status.ts';
import { StartError } from './start-error.ts';
import type { FastPathBefore, FastPathSuccession } from './takeover-protocol.ts';

const LOOK_MS = 1_000;

export class FastPath {
  /** What it is; until `attach` succeeded nothing is forwarded by it but what a predecessor left. */
  kind: FastPathKind | 'off' = 'off';
  readonly #status: FastPathStatus;
  /** Of its kind, in words. */
  #why = '';
  readonly #request: FastPathRequest;
  readonly #folder: FastPathFolder;
  /** What a predecessor that lives has: all of that stays as it is until `own`. */
  #beside: FastPathBefore | undefined;
  #maps: FastPathMaps | undefined;
  /** Of a predecessor, where there is none any more. */
  #before: MapsBefore | undefined;
  #ports: FastPathPorts | undefined;
  #programs: FastPathPrograms | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #isOutlived = false;
  #isServing = false;
  /** Another process takes over, and what it keeps of this one. */
  #next: FastPathSuccession | undefined;

  private constructor(request: FastPathRequest, folder: FastPathFolder, status: FastPathStatus) {
    this.#request = request;
    this.#folder = folder;
    this.#status = status;
  }

  /**
   * The fast path of these ports; where it is not wanted, or cannot be, which is said, its kind is off. What
   * a predecessor pinned is taken over. `before`: one that lives; throws a StartError where it has a fast
   * path, this process wants one too and cannot have it.
   */
  static async open(
    request: FastPathRequest,
    status: FastPathStatus,
    before?: FastPathBefore,
  ): Promise<FastPath> {
    const folder = await FastPathFolder.open(request, status.isTried, before);
    const fast = new FastPath(request, folder, status);
    fast.#beside = before;
    try {
      if (folder.isForeign) fast.turnOff('another uoa-proxy with this config file lives');
      else fast.#open();
    } catch (error) {
      fast.close();
      throw error;
    }
    return fast;
  }

  #open(): void {
    try {
      const { ports } = this.#request;
      const { wanted, isTried } = this.#status;
      const [before, { path }] = [this.#beside, this.#folder];
      if (wanted === 'off' || !isTried) {
        this.#before = path === undefined || before !== undefined ? undefined : openMapsBefore(path);
        return;
      }
      requireEthernet(ports);
      const chosen = chooseKind(wanted, ports, path && join(path, FOLDER), before);
      const sizes = sizesOf(this.#request);
      const onRemoved = (what: string) => this.#status.note(`${what}: not taken over`);
      const maps =
        before === undefined || path === undefined
          ? openMaps(sizes, path, onRemoved)
          : openMapsBeside(sizes, path, hasPinsOf(before, path) && chosen?.kind === before.kind, onRemoved);
      this.#maps = maps;
      this.#ports = new FastPathPorts(new PortRows(maps.fds.control, sizes.ports), ports);
      if (maps.wereThere && before === undefined) this.#ports.renewAlive();
      const programs = new FastPathPrograms(maps, this.#ports.all, filterHandleOf(this.#request.name));
      this.#programs = programs;
      const { kind, why } = chosen ?? programs.tryXdp();
      programs.load(kind);
      this.kind = kind;
      this.#why = why;
    } catch (error) {
      this.turnOff(explainFailure(error));
    }
  }

  get isOn(): boolean {
    return this.kind !== 'off';
  }

  /** What sessions of a predecessor are to be read from; undefined: there are none. */
  get found(): FoundMaps | undefined {
    const maps = this.#maps;
    const before = this.#before ?? maps?.before;
    if (before !== undefined) return { ...before, isAtWork: false };
    if (!maps?.wereThere) return undefined;
    const { sessions, sessions6 = sessions, workers = 1 } = maps.sizes;
    return { fds: maps.fds, sessions, sessions6, workers, isAtWork: this.isOn };
  }

  /** What was found is read, and is not needed any more. */
  forget(): void {
    this.#before?.close();
    this.#maps?.before?.close();
  }

  /** By which the same number of workers shared out the sessions that were found. */
  steeringKey(workers: number): readonly number[] | undefined {
    return this.found?.workers === workers ? (this.#before ?? this.#maps)?.steeringKey : undefined;
  }

  noteSteeringKey(key: readonly number[]): void {
    this.#maps?.noteSteeringKey(key);
  }

  /** What the steering program must know where packet sockets get the same packets before. */
  get steered(): HotMaps | undefined {
    if (this.kind !== 'tc' || this.#maps === undefined) return undefined;
    return { ...this.#maps.fds, rows: this.#ports!.all.map(({ row }) => row) };
  }

  /** For workers: FAST_MAPS, and the lock. */
  get fds(): readonly number[] {
    return [...FAST_MAPS.map((name) => this.#maps!.fds[name]), ...this.#folder.lockFds];
  }

  partOf(worker: number): FastPart {
    return partOf(this.#request, worker);
  }

  /**
   * Attaches its programs, when packets that they pass come in already. Where not all can be, which is said,
   * there is no fast path. `onBlocked` is told when another program keeps packets from it.
   */
  attach(onBlocked: () => void): void {
    if (this.isOn) this.#attachAll();
    this.#begin(onBlocked);
  }

  /** Throws a StartError, see `turnOff`. */
  #attachAll(): void {
    if (this.kind === 'off') return;
    try {
      this.#programs!.attach(this.kind);
    } catch (error) {
      this.turnOff(explainFailure(error));
    }
  }

  /** All that is there is its own. Where there is no fast path nothing is left. */
  #begin(onBlocked: () => void): void {
    const { kind } = this;
    if (kind === 'off') {
      this.#detach();
      this.#clear();
      return;
    }
    this.#folder.pin(() => {
      if (!this.#folder.isForeign) this.#maps!.pin();
      this.#programs!.pin();
    });
    const ports = this.#ports!;
    const isOurs = (how: FastPathKind, index: number) =>
      how === kind && ports.all.some(({ interfaceIndex }) => interfaceIndex === index);
    const removed = [
      ...(this.#folder.isForeign ? [] : removeOtherLinks(this.#maps!, isOurs)),
      ...(kind === 'tc' ? [] : removeFilters(ports.all, filterHandleOf(this.#request.name))),
    ];
    for (const what of removed) this.#status.note(`${what}: removed`);
    this.unblock();
    this.#renew();
    this.#timer = setInterval(() => this.#look(onBlocked), LOOK_MS).unref();
    this.#status.attached(this.#why, this.#programs!.places);
    if (this.#folder.loss !== undefined) this.#status.unpinned(this.#folder.loss);
  }

  #look(onBlocked: () => void): void {
    const ports = this.#ports!;
    ports.followMacs(({ name, mac }) => this.#status.note(`${name} has the Ethernet address ${mac} now`));
    for (const { name, missed } of ports.newlyBlocked()) {
      this.#status.blocked(name, missed);
      onBlocked();
    }
    if (this.#next === undefined || this.#next.keeps === 'all') this.#renew();
  }

  /** A reload may bring the first service with an IPv6 VIP. */
  note(services: FastPathRequest['services']): void {
    if (this.isOn && this.#maps!.sizes.sessions6 === 0 && haveIpv6(services)) this.#status.lacksIpv6();
  }

  /** Where another program kept packets from it that is tried again. */
  unblock(): void {
    this.#status.unimpeded();
    this.#ports?.unblock();
  }

  #renew(): void {
    this.#ports!.renew(this.#programs!.isAt);
  }

  /** Packets left to the datapath, by reason. */
  passed(): Partial<Record<FastPathReason, number>> {
    return this.#maps === undefined ? {} : readPassed(this.#maps.fds.passed);
  }

  /** Packets that it forwarded and that no session counts: nobody had looked at it for too long. */
  uncounted(): number {
    return this.#maps === undefined ? 0 : readUncounted(this.#maps.fds.passed);
  }

  /** Packets of hot sessions that another tc program kept from it. */
  missed(): number {
    return this.#ports?.missed ?? 0;
  }

  /**
   * There is none, in words why, which is said; what is at work is so until `attach`. Throws a StartError
   * where a predecessor that lives has one: then it goes on.
   */
  turnOff(why: string): void {
    if (this.#beside !== undefined && this.#beside.kind !== 'off')
      throw new StartError(
        `no fast path: ${why}`,
        'the proxy before, which has one, goes on; with io.fastPath: off this one takes over without',
      );
    this.#status.refused(why);
    this.kind = 'off';
  }

  /** Its end leaves it at work, as `keep` does; false: there is none, or nothing is pinned. */
  outlive(): boolean {
    this.#isOutlived = this.isOn && this.#maps!.isPinned;
    const goesOn = `it goes on without this process, for ${ALIVE_MS / 1000} s or until another takes it over`;
    this.#status.note(this.#isOutlived ? goesOn : 'nothing of it outlives this process');
    return this.#isOutlived;
  }

  /** For who is to take over. */
  get description(): FastPathBefore {
    const { wanted } = this.#status;
    return { kind: this.kind, wanted, why: this.#why, pins: this.#folder.id, layout: LAYOUT_VERSION };
  }

  /** What becomes of that of the predecessor that lives. */
  get succession(): FastPathSuccession {
    const [before, { path }] = [this.#beside!, this.#folder];
    const keeps = !this.isOn || !hasPinsOf(before, path) ? 'nothing' : this.found ? 'all' : 'programs';
    return { keeps, hasPins: isFolder(path, before.pins) };
  }

  /**
   * From now on packet I/O of both gets the same packets, and what is hot to neither: the predecessor's
   * programs take it.
   */
  standBy(): void {
    if (this.succession.keeps !== 'all') return;
    this.#ports!.share(true);
    this.#ports!.renew(({ mac }) => mac !== '');
  }

  /**
   * The predecessor has stepped aside: its programs are replaced. Throws a StartError, with nothing changed
   * but what that one puts back, see `goOn`.
   */
  takePlace(): void {
    if (!this.isOn) return;
    this.#attachAll();
    if (!this.isOn) return;
    this.#renew();
    this.#ports!.share(false);
    this.#status.note('the programs are in their places');
  }

  /** It is not to take over after all. To be called before the predecessor goes on. */
  standDown(): void {
    this.#programs?.standDown();
  }

  /** The predecessor is gone: what it left is this process's. */
  async own(onBlocked: () => void): Promise<void> {
    this.#beside = undefined;
    await this.#folder.take();
    this.#begin(onBlocked);
  }

  /** Another process is to take over, and keeps that of it. If not all, nothing is hot from now on. */
  stepAside(next: FastPathSuccession): void {
    this.#next = next;
    if (!this.isOn) return;
    if (next.keeps === 'all') this.#ports!.share(true);
    else this.#ports!.switchOff();
    if (next.keeps === 'nothing') this.#detach();
  }

  /** The other process did not: all is put back. Where that cannot be, which is said, there is none. */
  async goOn(): Promise<void> {
    const isAside = this.#next !== undefined;
    this.#next = undefined;
    if (!isAside || this.kind === 'off') return;
    const problem = await this.#programs!.putBack(this.kind);
    if (problem !== '') {
      this.turnOff(problem);
      this.#detach();
      this.#clear();
      return;
    }
    this.#ports!.share(false);
    this.#ports!.unblock();
    this.#renew();
  }

  /** Another process has taken over. */
  leave(): void {
    const { keeps, hasPins } = this.#next!;
    this.#end(!hasPins, () => {
      if (keeps === 'nothing') this.#folder.removePins();
    });
  }

  /** The start is over: from now on what is there ends with this process. */
  serve(): void {
    this.#isServing = true;
  }

  /**
   * Ends it: the programs are taken off. With `keep` they stay at work, and a successor takes them over; so
   * does what a predecessor left where the start failed.
   */
  close({ keep = this.#isOutlived }: { keep?: boolean } = {}): void {
    const isKept = keep || (!this.#isServing && this.found?.isAtWork === true);
    this.#end(!isKept, () => {
      if (this.#beside !== undefined) this.standDown();
      else if (isKept && this.isOn) this.#renew();
      else {
        this.#detach();
        this.#clear();
      }
    });
  }

  #end(isOver: boolean, leave: () => void): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    leave();
    this.#programs?.letGo();
    this.#maps?.close();
    this.#before?.close();
    this.#folder.close(isOver);
  }

  #detach(): void {
    if (this.#next === undefined) clearInterval(this.#timer);
    this.#ports?.switchOff();
    this.#programs?.detach();
  }

  #clear(): void {
    const removed = this.#folder.clear();
    if (!this.#isClosed) for (const what of removed) this.#status.note(`${what}: removed`);
  }
}
