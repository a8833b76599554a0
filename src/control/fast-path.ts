// The control plane's half of the kernel fast path: its maps, its programs at the captured interfaces, and
// the word that says that the proxy lives. Which sessions are hot is the workers' affair
// (fast/hot-sessions.ts).
import { existsSync } from 'node:fs';
import { AttachError, type Attachment, attach, type FastPathKind } from '../fast/attachment.ts';
import { type FastPathReason, macBytes, nowTick, TICK_MS } from '../fast/layout.ts';
import { type FastPathMaps, openMaps } from '../fast/maps.ts';
import { readPassed } from '../fast/passed.ts';
import { PortRows } from '../fast/port-rows.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { IoError } from '../sys/io-error.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { SysError } from '../sys/libc.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { FAST_MAPS, type FastPart } from '../worker-protocol.ts';
import type { FastPathStatus } from './fast-path-status.ts';

/** Next hops of each worker, at most; of all together, because an entry has 16 bits for one. */
const HOPS = 4_096;
const ALL_HOPS = 1 << 16;
const PORTS = 64;
/** Without a word from the proxy for so long the programs leave all packets to it. */
const ALIVE_TICKS = Math.ceil(30_000 / TICK_MS);
const RENEW_MS = 1_000;

interface Kind {
  kind: FastPathKind;
  why: string;
}

export class FastPath {
  /** What it is; until `attach` succeeded nothing is forwarded by it. */
  readonly kind: FastPathKind;
  /** Why it is of that kind, in words. */
  readonly #why: string;
  readonly #maps: FastPathMaps;
  readonly #rows: PortRows;
  readonly #sessions: number;
  readonly #attachments: Attachment[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor({ kind, why }: Kind, maps: FastPathMaps, sessions: number) {
    this.kind = kind;
    this.#why = why;
    this.#maps = maps;
    this.#sessions = sessions;
    this.#rows = new PortRows(maps.fds.control, PORTS);
  }

  /**
   * The fast path of these ports, for so many workers with so many sessions each; undefined where it is not
   * wanted, or cannot be, which is said.
   */
  static open(
    status: FastPathStatus,
    ports: readonly IoPort[],
    workers: number,
    sessions: number,
  ): FastPath | undefined {
    const { wanted } = status;
    if (wanted === 'off') return undefined;
    const kind = wanted === 'auto' ? kindFor(ports) : { kind: wanted, why: 'io.fastPath says so' };
    try {
      const sizes = { sessions: workers * sessions, hops: workers * hopsOf(workers), ports: PORTS };
      return new FastPath(kind, openMaps(sizes), sessions);
    } catch (error) {
      status.refused(explain(error));
      return undefined;
    }
  }

  /** What the steering program must know where packet sockets get the same packets before. */
  get steered(): (FastPathMaps['fds'] & { rows: number[] }) | undefined {
    return this.kind === 'tc' ? { ...this.#maps.fds, rows: [...Array(64).keys()] } : undefined;
  }

  get fds(): readonly number[] {
    return FAST_MAPS.map((name) => this.#maps.fds[name]);
  }

  partOf(worker: number): FastPart {
    const { sizes } = this.#maps;
    const hops = hopsOf(sizes.sessions / this.#sessions);
    return { sizes, firstSession: worker * this.#sessions, firstHop: worker * hops, hops };
  }

  /** Attaches its programs; false: not all could be, which is said, and there is no fast path. */
  attach(ports: readonly IoPort[], status: FastPathStatus): boolean {
    try {
      for (const [row, port] of ports.entries()) {
        const index = interfaceIndex(port.name);
        const isSteered = this.kind === 'tc';
        this.#attachments.push(
          attach(this.#maps, { kind: this.kind, interfaceIndex: index, row, isSteered }),
        );
        this.#rows.set(row, {
          interfaceIndex: index,
          mac: macBytes(port.mac),
          facesClients: (port.side & SIDE.wan) !== 0,
          facesRealServers: (port.side & SIDE.lan) !== 0,
        });
      }
    } catch (error) {
      this.close();
      status.refused(explain(error));
      return false;
    }
    this.#renew();
    this.#timer = setInterval(() => this.#renew(), RENEW_MS).unref();
    status.attached(
      this.#why,
      this.#attachments.map(({ how }, at) => ({ name: ports[at].name, how })),
    );
    return true;
  }

  #renew(): void {
    for (const row of this.#attachments.keys()) this.#rows.switchOn(row, nowTick() + ALIVE_TICKS);
  }

  /** Packets left to the datapath, by reason. */
  passed(): Record<FastPathReason, number> {
    return readPassed(this.#maps.fds.passed);
  }

  /** Ends it: the programs are taken off. */
  close(): void {
    clearInterval(this.#timer);
    for (const row of this.#attachments.keys()) this.#rows.switchOff(row);
    for (const attachment of this.#attachments.splice(0)) {
      try {
        attachment.detach();
      } catch (error) {
        if (!(error instanceof BpfError)) throw error; // its interface is gone, and the program with it
      }
    }
    if (!this.#isClosed) this.#maps.close();
    this.#isClosed = true;
  }
}

const hopsOf = (workers: number): number => Math.min(HOPS, Math.floor(ALL_HOPS / workers));

/** XDP where every interface is a card; what is redirected between other devices may be lost there. */
function kindFor(ports: readonly IoPort[]): Kind {
  const others = ports.filter(({ name }) => !existsSync(`/sys/class/net/${name}/device`));
  if (others.length === 0) return { kind: 'xdp', why: 'all interfaces are cards' };
  return { kind: 'tc', why: `no card: ${others.map(({ name }) => name).join(', ')}` };
}

function explain(error: unknown): string {
  if (error instanceof IoError) return `${error.message} (${error.hint})`;
  if (error instanceof AttachError || error instanceof SysError || error instanceof RangeError)
    return error.message;
  throw error;
}
