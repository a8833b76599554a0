// The next hops of hot sessions: rows of the map `hops`, each kept as its neighbor is (route/neighbors.ts). A
// row belongs to an address behind an interface for as long as this process lives, so that a neighbor's new
// Ethernet address is one change, however many sessions it concerns.
import type { Neighbor } from '../route/neighbors.ts';
import type { NextHops } from '../route/next-hop.ts';
import { formatAddress, isV4 } from '../wire/address.ts';
import type { Hops, Way } from './hops.ts';

const ETHERNET_HEADER_LEN = 14;
const NONE = -1;

export class HopRows {
  readonly #nextHops: NextHops;
  readonly #hops: Hops;
  readonly #first: number;
  readonly #count: number;
  /** What each row of ours is for; the row is `#first` and its place. */
  readonly #places: { interfaceIndex: number; address: Int32Array }[] = [];
  readonly #rowOf = new Map<string, number>();
  #changes = -1;
  readonly #header = new DataView(new ArrayBuffer(ETHERNET_HEADER_LEN));

  /** Its own are `count` rows from `first` on. */
  constructor(nextHops: NextHops, hops: Hops, first: number, count: number) {
    this.#nextHops = nextHops;
    this.#hops = hops;
    this.#first = first;
    this.#count = count;
  }

  /** See HotSessions. */
  get version(): number {
    return this.#nextHops.epoch;
  }

  rowOf(addresses: Int32Array): number {
    const neighbor = this.#nextHops.neighborOf(addresses);
    if (neighbor === undefined || !neighbor.isReady) return NONE;
    const { interfaceIndex, address } = neighbor;
    const key = `${interfaceIndex} ${formatAddress(address, 0)}`;
    const known = this.#rowOf.get(key);
    if (known !== undefined) return known;
    if (this.#places.length === this.#count) return NONE;
    const row = this.#first + this.#places.length;
    this.#places.push({ interfaceIndex, address });
    this.#rowOf.set(key, row);
    this.#write(row, neighbor);
    return row;
  }

  mtuOf(row: number): number {
    return this.#hops.get(row)?.mtu ?? 0;
  }

  isWhole(addresses: Int32Array): boolean {
    const { mtu, link } = this.#nextHops.routeOf(addresses);
    return (mtu === 0 || mtu >= link.mtu) && (isV4(addresses, 0) || link.mtu6 >= link.mtu);
  }

  update(): void {
    if (this.#changes === this.#nextHops.changes) return;
    this.#changes = this.#nextHops.changes;
    for (const [at, { interfaceIndex, address }] of this.#places.entries())
      this.#write(this.#first + at, this.#nextHops.neighborAt(interfaceIndex, address));
  }

  #write(row: number, neighbor: Neighbor | undefined): void {
    if (neighbor?.isReady) this.#hops.set(row, this.#wayTo(neighbor));
    else this.#hops.clear(row);
  }

  #wayTo(neighbor: Neighbor): Way {
    const header = this.#header;
    neighbor.writeHeader(header, ETHERNET_HEADER_LEN, 0);
    const bytes = new Uint8Array(header.buffer);
    return {
      interfaceIndex: neighbor.interfaceIndex,
      mtu: neighbor.link.mtu,
      destination: bytes.slice(0, 6),
      source: bytes.slice(6, 12),
    };
  }
}
