// The captured interfaces as the programs of the fast path know them: each has a row of `control`, which says
// until when the proxy lives.
import { macBytes, nowTick, TICK_MS } from '../fast/layout.ts';
import type { PortRows } from '../fast/port-rows.ts';
import { linkNamed } from '../host/interfaces.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';

/** Without a word from the proxy for so long the programs leave all packets to it. */
export const ALIVE_MS = 30_000;
const ALIVE_TICKS = Math.ceil(ALIVE_MS / TICK_MS);

export interface FastPathPort {
  readonly name: string;
  readonly interfaceIndex: number;
  readonly row: number;
  readonly side: number;
  /** '': it is no Ethernet, and gets no program. */
  mac: string;
}

export class FastPathPorts {
  readonly all: readonly FastPathPort[];
  readonly #rows: PortRows;
  readonly #blocked = new Set<string>();

  /** Each gets the row that its interface had. */
  constructor(rows: PortRows, ports: readonly IoPort[]) {
    this.#rows = rows;
    const indexes = new Set(ports.map(({ name }) => interfaceIndex(name)));
    for (const { row, interfaceIndex } of rows.used()) if (!indexes.has(interfaceIndex)) rows.free(row);
    this.all = ports.map(({ name, side, mac }) => {
      const index = interfaceIndex(name);
      const known = rows.find(index);
      const port = { name, interfaceIndex: index, row: known >= 0 ? known : rows.findFree(), side, mac };
      this.#describe(port);
      return port;
    });
  }

  #describe({ row, interfaceIndex, mac, side }: FastPathPort): void {
    this.#rows.set(row, {
      interfaceIndex,
      mac: mac === '' ? new Uint8Array(6) : macBytes(mac),
      facesClients: (side & SIDE.wan) !== 0,
      facesRealServers: (side & SIDE.lan) !== 0,
    });
  }

  /** The proxy lives, for another while, at these interfaces. */
  renew(isAttached: (port: FastPathPort) => boolean): void {
    for (const port of this.all) if (isAttached(port)) this.#rows.switchOn(port.row, nowTick() + ALIVE_TICKS);
  }

  /** What a predecessor left at work goes on while this process starts. */
  renewAlive(): void {
    for (const { row } of this.all)
      if (this.#rows.isAlive(row, nowTick())) this.#rows.switchOn(row, nowTick() + ALIVE_TICKS);
  }

  /** The programs leave all packets to the datapath. */
  switchOff(): void {
    for (const { row } of this.all) this.#rows.switchOff(row);
  }

  /** Two proxies have packets of hot sessions left to tc, where the programs of one of them take them. */
  share(isShared: boolean): void {
    for (const { row } of this.all) this.#rows.share(row, isShared);
  }

  /** An interface may get another Ethernet address. */
  followMacs(onChange: (port: FastPathPort) => void): void {
    for (const port of this.all) {
      const mac = linkNamed(port.name)?.mac;
      if (mac === undefined || mac === '' || mac === port.mac) continue;
      port.mac = mac;
      this.#describe(port);
      onChange(port);
    }
  }

  /** Those that are blocked since the last time, and how many packets did not arrive. */
  newlyBlocked(): { name: string; missed: number }[] {
    const found = this.all.filter(({ name, row }) => !this.#blocked.has(name) && this.#rows.isBlocked(row));
    for (const { name } of found) this.#blocked.add(name);
    return found.map(({ name, row }) => ({ name, missed: this.#rows.missed(row) }));
  }

  unblock(): void {
    for (const { row } of this.all) this.#rows.unblock(row);
    this.#blocked.clear();
  }

  /** Packets of hot sessions that another tc program kept from it. */
  get missed(): number {
    return this.all.reduce((sum, { row }) => sum + this.#rows.missed(row), 0);
  }
}
