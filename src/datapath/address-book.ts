// Whose an address is, as far as it is somebody's that this proxy knows: VIPs, LIPs, real servers and
// fallbacks of all services, and this host's own. One hash look-up tells, however many there are; nearly all
// clients are nobody here.
import type { ServicePlan } from '../service/plan.ts';
import { addressWords, isImpossibleSource, isLoopback } from '../wire/address.ts';
import { ANY_PORT, EndpointTable } from '../wire/endpoint-table.ts';
import { PortsByAddress } from '../wire/ports-by-address.ts';
import { type DatapathPlan, type DatapathPort, legPlans, SIDE_LAN, SIDE_WAN } from './plan.ts';

/** Whose an address is; one may be several of them. */
const SERVED = 1; // a VIP or LIP
const HOST = 2; // another address of this host, or a broadcast of its subnets
const REAL_SERVER = 4; // of any service, also a fallback, and one that is leaving

export class AddressBook {
  /** Of each address that is anybody's, whose. */
  readonly #whose = new EndpointTable();
  /** VIP:vports, with the index of their service. */
  readonly #services = new EndpointTable();
  /** Where real servers are sent to. */
  readonly #realServers = new EndpointTable();
  readonly #lports: PortsByAddress;

  constructor({ services, ownAddresses = [] }: Pick<DatapathPlan, 'services' | 'ownAddresses'>) {
    for (const address of ownAddresses) this.#note(address, HOST);
    for (const service of services) this.#noteService(service);
    this.#lports = new PortsByAddress(legPlans(services).map(({ lip, lports }) => ({ ip: lip, ...lports })));
  }

  #noteService({ index, vips, vport, lips, realServers }: ServicePlan): void {
    for (const vip of vips) this.#services.set(this.#note(vip, SERVED), 0, vport, index);
    for (const lip of lips) this.#note(lip, SERVED);
    for (const { ip, port } of realServers) this.#realServers.set(this.#note(ip, REAL_SERVER), 0, port, 0);
  }

  /** Returns the address's words. */
  #note(address: string, whose: number): Int32Array {
    const words = addressWords(address);
    const before = Math.max(0, this.#whose.get(words, 0, ANY_PORT));
    this.#whose.set(words, 0, ANY_PORT, before | whose);
    return words;
  }

  /** Whether the address is a VIP or LIP, whatever the port. */
  isServed(addresses: Int32Array, at: number): boolean {
    const whose = this.#whose.get(addresses, at, ANY_PORT);
    return whose >= 0 && (whose & SERVED) !== 0;
  }

  /** Whether the address is anybody's that this proxy knows. */
  isAnybodys(addresses: Int32Array, at: number): boolean {
    return this.#whose.get(addresses, at, ANY_PORT) >= 0;
  }

  /** Index of the service whose VIP:vport this is; -1: none's. */
  serviceAt(addresses: Int32Array, at: number, port: number): number {
    return this.#services.get(addresses, at, port);
  }

  /** Whether this is one of our LIP:lports. */
  isLocal(addresses: Int32Array, at: number, port: number): boolean {
    return this.#lports.has(addresses, at, port);
  }

  /**
   * Whether a single host other than this one may have the address addresses[0..3] as its source, on a packet
   * that came by `port`. The capture sees packets that the kernel would refuse as martians: an address that
   * none has, and this host's own and its subnets' broadcasts from outside.
   */
  isHost(addresses: Int32Array, port: DatapathPort): boolean {
    return isHost(addresses, this.#whose.get(addresses, 0, ANY_PORT), port);
  }

  /**
   * Whether a datagram to a service, which came by `port`, may come from a client with this address and port.
   * Besides those that are no host's, it may not from where the answer would be answered in turn, so that one
   * forged datagram would keep two servers busy for ever: a VIP:vport, a LIP:lport, a real server. The latter
   * are clients like others when they call by themselves, which can be told by where they call from:
   * - by an interface that only real servers are behind, or loopback, nobody forges them: they are clients by
   *   any port;
   * - by one that only clients are behind they never call: they are no clients by any port;
   * - by one for both sides they cannot be told from who forges them: they are clients, but not by the port
   *   that they serve.
   */
  mayBeClient(addresses: Int32Array, sport: number, port: DatapathPort): boolean {
    const whose = this.#whose.get(addresses, 0, ANY_PORT);
    if (!isHost(addresses, whose, port)) return false;
    if (whose < 0) return true;
    if (this.serviceAt(addresses, 0, sport) >= 0 || this.isLocal(addresses, 0, sport)) return false;
    if ((whose & REAL_SERVER) === 0) return true;
    if ((port.side & SIDE_LAN) === 0) return false;
    if ((port.side & SIDE_WAN) === 0 || port.loopback) return true;
    return this.#realServers.get(addresses, 0, sport) < 0;
  }
}

function isHost(addresses: Int32Array, whose: number, { loopback }: DatapathPort): boolean {
  if (isImpossibleSource(addresses, 0)) return false;
  if (loopback) return true;
  return !isLoopback(addresses, 0) && (whose < 0 || (whose & (SERVED | HOST)) === 0);
}
