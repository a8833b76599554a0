// The control plane's half of the kernel fast path: its maps, its programs at the captured interfaces, and
// the word that says that the proxy lives. Which sessions are hot is the workers' affair
// (fast/hot-sessions.ts).
import { type Attachment, attach, type FastPathKind, removeOtherLinks } from '../fast/attachment.ts';
import { type FastPathReason, macBytes, nowTick, TICK_MS } from '../fast/layout.ts';
import { type FastPathMaps, type MapsBefore, openMaps, openMapsBefore } from '../fast/maps.ts';
import { readPassed, readUncounted } from '../fast/passed.ts';
import { filterHandleOf, type PinRoot, removePinned } from '../fast/pins.ts';
import { PortRows } from '../fast/port-rows.ts';
import { linkNamed } from '../host/interfaces.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import type { ServicePlan } from '../service/plan.ts';
import type { HotMaps } from '../steer/kernel-steering.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { FAST_MAPS, type FastPart } from '../worker-protocol.ts';
import {
  chooseKind,
  explainFailure,
  type Held,
  haveIpv6,
  hold,
  removeFilters,
  requireEthernet,
} from './fast-path-places.ts';
import type { FastPathStatus } from './fast-path-status.ts';

/** Next hops of each worker, at most; of all together, because an entry has 16 bits for one. */
const HOPS = 4_096;
const ALL_HOPS = 1 << 16;
/** Interfaces that there is always room for. */
const PORTS = 64;
/** Without a word from the proxy for so long the programs leave all packets to it. */
const ALIVE_MS = 30_000;
const ALIVE_TICKS = Math.ceil(ALIVE_MS / TICK_MS);
const LOOK_MS = 1_000;

export interface FastPathRequest {
  ports: readonly IoPort[];
  workers: number;
  /** Of each worker. */
  sessions: number;
  /** By these a session may be of IPv6, or not: there is no memory for it then. */
  services: readonly Pick<ServicePlan, 'vips'>[];
  /** See proxyName. */
  name: string;
  /** Guards of this process, and of one that it takes over from. */
  guards: readonly string[];
}

/** What a predecessor left hot. */
export interface FoundMaps extends Pick<MapsBefore, 'fds' | 'sessions' | 'sessions6' | 'workers'> {
  /** Its sessions are at work in the same places, where they are to stay, as long as there is a fast path. */
  readonly isAtWork: boolean;
}

interface Port {
  readonly name: string;
  readonly interfaceIndex: number;
  readonly row: number;
  readonly side: number;
  mac: string;
}

export class FastPath {
  /** What it is; until `attach` succeeded nothing is forwarded by it but what a predecessor left. */
  kind: FastPathKind | 'off';
  readonly #status: FastPathStatus;
  /** Of its kind, in words. */
  #why = '';
  readonly #request: FastPathRequest;
  readonly #root: PinRoot | undefined;
  readonly #loss: string | undefined;
  #maps: FastPathMaps | undefined;
  /** Of a predecessor, where there is none any more. */
  #before: MapsBefore | undefined;
  #rows: PortRows | undefined;
  #ports: Port[] = [];
  #attachments = new Map<string, Attachment>();
  #timer: NodeJS.Timeout | undefined;
  #blocked = new Set<string>();
  #isClosed = false;
  #isOutlived = false;
  #isServing = false;
  /** What is there by this name is another process's. */
  #isForeign = false;
  #isCleared = false;

  private constructor(request: FastPathRequest, { root, loss }: Held, status: FastPathStatus) {
    this.kind = 'off';
    this.#request = request;
    this.#root = root;
    this.#loss = loss;
    this.#status = status;
  }

  /**
   * The fast path of these ports; where it is not wanted, or cannot be, which is said, its kind is off. What
   * a predecessor pinned is taken over.
   */
  static async open(request: FastPathRequest, status: FastPathStatus): Promise<FastPath> {
    const held = await hold(request, status.isTried);
    const fast = new FastPath(request, held === 'taken' ? {} : held, status);
    if (held === 'taken') {
      fast.#isForeign = true;
      status.refused('another uoa-proxy with this config file lives');
      return fast;
    }
    try {
      fast.#open();
    } catch (error) {
      fast.turnOff(explainFailure(error));
    }
    return fast;
  }

  #open(): void {
    const { ports, workers, sessions, services } = this.#request;
    const { wanted, isTried } = this.#status;
    const path = this.#root?.path;
    if (wanted === 'off' || !isTried) {
      this.#before = path === undefined ? undefined : openMapsBefore(path);
      return;
    }
    requireEthernet(ports);
    const sizes = {
      sessions: workers * sessions,
      sessions6: haveIpv6(services) ? workers * sessions : 0,
      hops: workers * hopsOf(workers),
      ports: 2 ** Math.ceil(Math.log2(Math.max(PORTS, ports.length))),
      workers,
    };
    const maps = openMaps(sizes, path, (what) => this.#status.note(`${what}: not taken over`));
    this.#maps = maps;
    const rows = new PortRows(maps.fds.control, sizes.ports);
    this.#rows = rows;
    this.#ports = this.#place(rows, ports);
    if (maps.wereThere) this.#renewAlive();
    const { kind, why, attachments } = chooseKind(wanted, this.#ports, maps, (port) =>
      this.#attachTo('xdp', port),
    );
    this.kind = kind;
    this.#why = why;
    this.#attachments = attachments;
  }

  /** Gives each its row: the one that it had. */
  #place(rows: PortRows, ports: readonly IoPort[]): Port[] {
    const indexes = new Set(ports.map(({ name }) => interfaceIndex(name)));
    for (const { row, interfaceIndex } of rows.used()) if (!indexes.has(interfaceIndex)) rows.free(row);
    return ports.map(({ name, side, mac }) => {
      const index = interfaceIndex(name);
      const known = rows.find(index);
      const port = { name, interfaceIndex: index, row: known >= 0 ? known : rows.findFree(), side, mac };
      this.#describe(port);
      return port;
    });
  }

  #describe({ row, interfaceIndex, mac, side }: Port): void {
    this.#rows!.set(row, {
      interfaceIndex,
      mac: mac === '' ? new Uint8Array(6) : macBytes(mac),
      facesClients: (side & SIDE.wan) !== 0,
      facesRealServers: (side & SIDE.lan) !== 0,
    });
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
    return { ...this.#maps.fds, rows: this.#ports.map(({ row }) => row) };
  }

  /** For workers: FAST_MAPS, and the lock. */
  get fds(): readonly number[] {
    const fds = FAST_MAPS.map((name) => this.#maps!.fds[name]);
    return this.#root === undefined ? fds : [...fds, this.#root.lockFd];
  }

  partOf(worker: number): FastPart {
    const { sizes } = this.#maps!;
    const { sessions, workers } = this.#request;
    const hops = hopsOf(workers);
    return { sizes, firstSession: worker * sessions, firstHop: worker * hops, hops };
  }

  /**
   * Attaches its programs, when packets that they pass come in already. Where not all can be, which is said,
   * there is no fast path. `onBlocked` is told when another program keeps packets from it.
   */
  attach(onBlocked: () => void): void {
    const { kind } = this;
    if (kind === 'off') {
      this.#detach();
      this.#clear();
      return;
    }
    try {
      for (const port of this.#ports)
        if (port.mac !== '' && !this.#attachments.has(port.name)) this.#attachTo(kind, port);
    } catch (error) {
      this.turnOff(explainFailure(error));
      this.#detach();
      this.#clear();
      return;
    }
    const isOurs = (how: FastPathKind, index: number) =>
      how === kind && this.#ports.some(({ interfaceIndex }) => interfaceIndex === index);
    for (const name of removeOtherLinks(this.#maps!, isOurs)) this.#status.note(`${name}: removed`);
    this.unblock();
    this.#renew();
    this.#timer = setInterval(() => this.#look(onBlocked), LOOK_MS).unref();
    this.#status.attached(
      this.#why,
      [...this.#attachments].map(([name, { how }]) => ({ name, how })),
    );
    if (this.#loss !== undefined) this.#status.unpinned(this.#loss);
  }

  #attachTo(kind: FastPathKind, { name, interfaceIndex, row }: Port): Attachment {
    const filterHandle = filterHandleOf(this.#request.name);
    const isSteered = kind === 'tc';
    const attachment = attach(this.#maps!, { kind, interfaceIndex, row, isSteered, filterHandle });
    this.#attachments.set(name, attachment);
    return attachment;
  }

  #look(onBlocked: () => void): void {
    for (const port of this.#ports) {
      this.#followMac(port);
      const { name, row } = port;
      if (this.#blocked.has(name) || !this.#rows!.isBlocked(row)) continue;
      this.#blocked.add(name);
      this.#status.impeded(
        `another tc program at ${name} ends the chain before it, ${this.#rows!.missed(row)} packets did not arrive ` +
          '(let it go on with TC_ACT_UNSPEC, or take it away; then: uoa-proxy ctl fast-path on)',
      );
      onBlocked();
    }
    this.#renew();
  }

  /** An interface may get another Ethernet address. */
  #followMac(port: Port): void {
    const mac = linkNamed(port.name)?.mac;
    if (mac === undefined || mac === '' || mac === port.mac) return;
    this.#status.note(`${port.name} has the Ethernet address ${mac} now`);
    port.mac = mac;
    this.#describe(port);
  }

  /** A reload may bring the first service with an IPv6 VIP. */
  note(services: FastPathRequest['services']): void {
    if (this.isOn && this.#maps!.sizes.sessions6 === 0 && haveIpv6(services)) this.#status.lacksIpv6();
  }

  /** Where another program kept packets from it that is tried again. */
  unblock(): void {
    this.#status.unimpeded();
    for (const { name, row } of this.#ports) {
      this.#rows!.unblock(row);
      this.#blocked.delete(name);
    }
  }

  #renew(): void {
    for (const { name, row } of this.#ports)
      if (this.#attachments.has(name)) this.#rows!.switchOn(row, nowTick() + ALIVE_TICKS);
  }

  /** What a predecessor left at work goes on while this process starts. */
  #renewAlive(): void {
    for (const { row } of this.#ports)
      if (this.#rows!.isAlive(row, nowTick())) this.#rows!.switchOn(row, nowTick() + ALIVE_TICKS);
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
    return this.#ports.reduce((sum, { row }) => sum + this.#rows!.missed(row), 0);
  }

  /** There is none, in words why, which is said. What a predecessor left is at work until `attach`. */
  turnOff(why: string): void {
    this.#status.refused(why);
    this.kind = 'off';
  }

  /** Its end leaves it at work, as `keep` does; false: there is none, or nothing is pinned. */
  outlive(): boolean {
    this.#isOutlived = this.isOn && this.#root !== undefined;
    this.#status.note(
      this.#isOutlived
        ? `it goes on without this process, for ${ALIVE_MS / 1000} s or until another one takes it over`
        : 'nothing of it outlives this process',
    );
    return this.#isOutlived;
  }

  /** The start is over: from now on what is there ends with this process. */
  serve(): void {
    this.#isServing = true;
  }

  /**
   * Ends it: the programs are taken off. With `keep` they stay at work, and a successor takes them over; so
   * does what a predecessor left where the start failed.
   */
  close({ keep = this.#isOutlived || this.#isLeft }: { keep?: boolean } = {}): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    if (keep && this.kind !== 'off') {
      this.#renew();
      for (const attachment of this.#attachments.values()) attachment.close();
    } else {
      this.#detach();
      this.#clear();
    }
    this.#maps?.close();
    this.#before?.close();
    this.#root?.release();
  }

  get #isLeft(): boolean {
    return !this.#isServing && this.found?.isAtWork === true;
  }

  #detach(): void {
    clearInterval(this.#timer);
    for (const { row } of this.#ports) this.#rows!.switchOff(row);
    for (const attachment of this.#attachments.values()) {
      try {
        attachment.detach();
      } catch (error) {
        if (!(error instanceof BpfError)) throw error; // its interface is gone, and the program with it
      }
    }
    this.#attachments.clear();
  }

  /** Nothing of this proxy is left, of whichever process. Its folder goes too: the next may be another's. */
  #clear(): void {
    if (this.#isForeign || this.#isCleared) return;
    this.#isCleared = true;
    const { name, ports } = this.#request;
    const removed = [
      ...(this.#root === undefined ? [] : removePinned(this.#root.path)),
      ...removeFilters(ports, filterHandleOf(name)),
    ];
    if (!this.#isClosed) for (const what of removed) this.#status.note(`${what}: removed`);
  }
}

const hopsOf = (workers: number): number => Math.min(HOPS, Math.floor(ALL_HOPS / workers));
