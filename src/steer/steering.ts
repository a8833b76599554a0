// Which of several workers a packet belongs to, so that both directions of a session and the errors about it
// meet in one: packets to a LIP by their lport, which each worker takes from its own share (lport modulo
// workers), packets to a VIP by a keyed hash of the client's address and port. The kernel decides likewise,
// with src/bpf/steering.bpf.c.
import { randomBytes } from 'node:crypto';
import type { LipPorts, VipPort } from '../host/port-ranges.ts';
import { ADDRESS_WORDS } from '../wire/address.ts';
import { mix } from '../wire/hash.ts';
import { PortsByAddress } from '../wire/ports-by-address.ts';

/** One word to start with, and an odd factor for each half of the four address words and for the port. */
export const STEERING_KEY_WORDS = 2 + 2 * ADDRESS_WORDS;
/** Index of the factor of an address's first half; those of the other halves follow, then the port's. */
const ADDRESS_KEY = 1;
const PORT_KEY = 1 + 2 * ADDRESS_WORDS;

export interface SteeringSpec {
  readonly workers: number;
  /** See randomSteeringKey; all workers and programs of a process have the same. */
  readonly key: readonly number[];
  readonly vips: readonly VipPort[];
  readonly lips: readonly LipPorts[];
}

/**
 * STEERING_KEY_WORDS int32. Who does not know it cannot choose addresses and ports that all belong to one
 * worker.
 */
export function randomSteeringKey(): number[] {
  const words = new Int32Array(new Uint8Array(randomBytes(4 * STEERING_KEY_WORDS)).buffer);
  return Array.from(words, (word, index) => (index === 0 ? word : word | 1));
}

/** Undefined for one worker. */
export const steeringSpec = (
  { vips, lips }: Pick<SteeringSpec, 'vips' | 'lips'>,
  workers: number,
  key: readonly number[],
): SteeringSpec | undefined => (workers === 1 ? undefined : { workers, key, vips, lips });

export class Owners {
  readonly #workers: number;
  readonly #key: Int32Array;
  readonly #locals: PortsByAddress;

  constructor({ workers, key, vips, lips }: SteeringSpec) {
    this.#workers = workers;
    this.#key = Int32Array.from(key);
    const vipAddresses = new Set(vips.map(({ ip }) => ip));
    // Of a LIP that is no VIP all ports, as in the kernel's program.
    this.#locals = new PortsByAddress(
      lips.map((lip) => (vipAddresses.has(lip.ip) ? lip : { ip: lip.ip, first: 0, last: 0xffff })),
    );
  }

  /**
   * The worker of a datagram to VIP:vport or LIP:lport: source and destination in eight words
   * (wire/address.ts). For an ICMP error it is that of the answer to the packet that the error embeds.
   */
  ownerOf(addresses: Int32Array, sport: number, dport: number): number {
    if (this.#locals.has(addresses, ADDRESS_WORDS, dport)) return dport % this.#workers;
    return this.#hash(addresses, sport) % this.#workers;
  }

  /**
   * Uint32. The sum of halves times secret factors keeps any two clients apart but for chance (multilinear
   * hashing: Dietzfelbinger, 1996); the mixing spreads what is consecutive.
   */
  #hash(addresses: Int32Array, port: number): number {
    const key = this.#key;
    let sum = key[0] + Math.imul(key[PORT_KEY], port);
    for (let i = 0, at = ADDRESS_KEY; i < ADDRESS_WORDS; i++, at += 2) {
      const word = addresses[i];
      sum = (sum + Math.imul(key[at], word >>> 16)) | 0;
      sum = (sum + Math.imul(key[at + 1], word & 0xffff)) | 0;
    }
    return mix(sum) >>> 0;
  }
}
