// The next hops of hot sessions: rows of the map `hops`, each kept as its neighbor is (route/neighbors.ts). A
// row belongs to an address behind an interface for as long as a hot session goes by it, so that a neighbor's
// new Ethernet address is one change, however many sessions it concerns. Each is asked for a packet that goes
// by the kernel's IP layer now and then, which confirms the neighbor; who does not live asks for none.
import type { Neighbor } from '../route/neighbors.ts';
import type { NextHops } from '../route/next-hop.ts';
import { formatAddress, isV4 } from '../wire/address.ts';
import type { Hops, Way } from './hops.ts';
import { nowTick } from './layout.ts';

const ETHERNET_HEADER_LEN = 14;
const NONE = -1;
/** From a packet that confirmed to the next there are so many ticks: at least 5 s. */
const TICKS_BETWEEN = 38;

export class HopRows {
  readonly #nextHops: NextHops;
  readonly #hops: Hops;
  readonly #first: number;
  readonly #count: number;
  /** What each row of ours is for; the row is `#first` and its place. */
  readonly #places: ({ interfaceIndex: number; address: Int32Array; ticksLeft: number } | undefined)[] = [];
  /** By place, how many sessions have it. */
  readonly #uses: Uint32Array;
  /** No place before it is free. */
  #firstFree = 0;
  /** Where the search for one that nobody uses goes on; and whether there was none, and is none yet. */
  #searchAt = 0;
  #areAllUsed = false;
  /** The place given out last: the caller is about to use it. */
  #given = NONE;
  #lookAt = nowTick();
  readonly #rowOf = new Map<string, number>();
  #changes = -1;
  readonly #header = new DataView(new ArrayBuffer(ETHERNET_HEADER_LEN));

  /** Its own are `count` rows from `first` on. */
  constructor(nextHops: NextHops, hops: Hops, first: number, count: number) {
    this.#nextHops = nextHops;
    this.#hops = hops;
    this.#first = first;
    this.#count = count;
    this.#uses = new Uint32Array(count);
  }

  /** See HotSessions. */
  get version(): number {
    return this.#nextHops.epoch;
  }

  rowOf(addresses: Int32Array): number {
    const neighbor = this.#nextHops.neighborOf(addresses);
    if (neighbor === undefined || !neighbor.isReady) return NONE;
    const known = this.#rowOf.get(keyOf(neighbor));
    const place = known === undefined ? this.#findPlace() : known - this.#first;
    if (place === NONE) return NONE;
    this.#given = place;
    if (known === undefined) this.#take(place, neighbor);
    return this.#first + place;
  }

  use(row: number, more: number): void {
    const place = row - this.#first;
    if (!(place >= 0 && place < this.#count)) return;
    this.#uses[place] += more;
    if (this.#uses[place] === 0) this.#areAllUsed = false;
  }

  /**
   * A free one, or one that nobody uses any more: neighbors come and go for as long as this process lives.
   */
  #findPlace(): number {
    while (this.#firstFree < this.#count && this.#places[this.#firstFree] !== undefined) this.#firstFree++;
    if (this.#firstFree < this.#count) return this.#firstFree;
    for (let n = this.#areAllUsed ? 0 : this.#count; n > 0; n--) {
      const at = this.#searchAt++ % this.#count;
      if (this.#uses[at] !== 0 || at === this.#given) continue;
      this.#rowOf.delete(keyOf(this.#places[at]!));
      return at;
    }
    this.#areAllUsed = this.#given === NONE || this.#uses[this.#given] !== 0;
    return NONE;
  }

  /**
   * Goes on with a row that a predecessor had for packets between these addresses. False: another row is for
   * them, or this one for others, or they do not leave at layer 2 now. Others may go by it that are not
   * looked at yet, so it is never made to lead elsewhere.
   */
  takeOver(addresses: Int32Array, row: number): boolean {
    const neighbor = this.#nextHops.neighborOf(addresses);
    const place = row - this.#first;
    if (neighbor === undefined || !neighbor.isReady || !(place >= 0 && place < this.#count)) return false;
    const known = this.#rowOf.get(keyOf(neighbor));
    if (known !== undefined || this.#places[place] !== undefined) return known === row;
    if (!this.#leadsTo(row, neighbor)) return false;
    this.#take(place, neighbor);
    return true;
  }

  #leadsTo(row: number, neighbor: Neighbor): boolean {
    const [is, wanted] = [this.#hops.get(row), this.#wayTo(neighbor)];
    return (
      is?.interfaceIndex === wanted.interfaceIndex &&
      is.destination.every((byte, at) => byte === wanted.destination[at])
    );
  }

  #take(place: number, neighbor: Neighbor): void {
    const { interfaceIndex, address } = neighbor;
    const row = this.#first + place;
    this.#places[place] = { interfaceIndex, address, ticksLeft: 0 };
    this.#rowOf.set(keyOf(neighbor), row);
    this.#write(row, neighbor);
  }

  mtuOf(row: number): number {
    return this.#hops.get(row)?.mtu ?? 0;
  }

  isWhole(addresses: Int32Array): boolean {
    const { mtu, link } = this.#nextHops.routeOf(addresses);
    return (mtu === 0 || mtu >= link.mtu) && (isV4(addresses, 0) || link.mtu6 >= link.mtu);
  }

  update(): void {
    this.#askToConfirm();
    if (this.#changes === this.#nextHops.changes) return;
    this.#changes = this.#nextHops.changes;
    for (const [at, place] of this.#places.entries()) {
      if (place === undefined) continue;
      this.#write(this.#first + at, this.#nextHops.neighborAt(place.interfaceIndex, place.address));
    }
  }

  #askToConfirm(): void {
    const now = nowTick();
    if (((now - this.#lookAt) | 0) < 0) return;
    this.#lookAt = (now + 1) | 0;
    for (const [at, place] of this.#places.entries()) {
      if (place === undefined) continue;
      const row = this.#first + at;
      const waits = this.#hops.isUnconfirmed(row, now);
      if (waits || --place.ticksLeft < 0) {
        this.#hops.confirmAt(row, now);
        place.ticksLeft = TICKS_BETWEEN;
      }
    }
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

const keyOf = ({ interfaceIndex, address }: Pick<Neighbor, 'interfaceIndex' | 'address'>): string =>
  `${interfaceIndex} ${formatAddress(address, 0)}`;
