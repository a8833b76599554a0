// This host as its own neighbor, by the loopback interface: for packets that a program redirects there, to a
// real server on the same host. The kernel takes them as it takes any that come in, so from an own IPv4
// address only where sysctls of lo allow that (net.ipv4.conf.lo.accept_local, and route_localnet for 127/8).
import { readFileSync } from 'node:fs';
import { isV4 } from '../wire/address.ts';
import { Link, Neighbor } from './neighbors.ts';

/** In each network namespace. */
export const LOOPBACK = 1;
const STATE_NOARP = 0x40;
/** Words of a pair's addresses that end in IPv4. */
const LAST_WORDS = [3, 7] as const;
const READ_AGAIN_MS = 1_000;
/** Bytes of a packet; the loopback interface takes more. */
const LONGEST = 0xffff;

export class OwnHost {
  readonly #link = new Link(LOOPBACK);
  readonly #neighbor = new Neighbor(-1, this.#link, LOOPBACK, new Int32Array(4));
  /** Another number when the kernel may take other packets than before. */
  changes = 0;
  #takesOwn = false;
  #takesLoopback = false;
  #readAt: number | undefined;

  constructor() {
    this.#neighbor.state = STATE_NOARP;
    this.#link.isUsable = true;
  }

  /** `mtu`: that of the loopback interface. Undefined where the kernel would refuse such packets. */
  neighborFor(pair: Int32Array, mtu: number, nowMs: number): Neighbor | undefined {
    this.#link.mtu = Math.min(mtu, LONGEST);
    if (!isV4(pair, 0)) return this.#neighbor;
    if (this.#readAt === undefined) this.#read(nowMs);
    const isLoopback = LAST_WORDS.some((word) => pair[word]! >>> 24 === 127);
    return this.#takesOwn && (this.#takesLoopback || !isLoopback) ? this.#neighbor : undefined;
  }

  /** What neighborFor gave. */
  get neighbor(): Neighbor {
    return this.#neighbor;
  }

  /** To be called often. Looks at the sysctls again, once somebody asked about them. */
  update(nowMs: number): void {
    if (this.#readAt !== undefined && ((nowMs - this.#readAt) | 0) >= READ_AGAIN_MS) this.#read(nowMs);
  }

  #read(nowMs: number): void {
    const [takesOwn, takesLoopback] = [isOn('accept_local'), isOn('route_localnet')];
    if (takesOwn !== this.#takesOwn || takesLoopback !== this.#takesLoopback) this.changes++;
    this.#takesOwn = takesOwn;
    this.#takesLoopback = takesLoopback;
    this.#readAt = nowMs;
  }
}

/** A setting that counts for lo if it is set for lo or for all interfaces. */
function isOn(name: string): boolean {
  return ['lo', 'all'].some((device) => {
    try {
      return readFileSync(`/proc/sys/net/ipv4/conf/${device}/${name}`, 'latin1').trim() === '1';
    } catch {
      return false; // no /proc, or no such setting: it is not known to be on
    }
  });
}
