// Packets of hot sessions: what they may have that others have not. The same for the same seed.
import { destOptions } from '../packets/builder6.ts';
import { pattern, unhex } from '../packets/bytes.ts';
import type { EitherFields } from '../packets/uoa-builder.ts';

/** Without a meaning: an IPv4 option, and an IPv6 extension header. */
const IN_HEADERS: Partial<EitherFields> = {
  options: unhex('01010100'),
  extensions: [destOptions(new Uint8Array(6))],
};

export class HotPackets {
  readonly #mtu: number;
  #drawn: number;

  constructor(seed: number, mtu: number) {
    this.#drawn = seed;
    this.#mtu = mtu;
  }

  next(): Partial<EitherFields> {
    const mtu = this.#mtu;
    const ttl = this.#pick(64, 64, 255, 2, 1, 0);
    const payload = pattern(Math.max(0, this.#pick(0, 1, 2, 17, 64, mtu - 48, mtu - 28, mtu - 27)));
    if (this.#pick(true, false)) payload.fill(this.#pick(0, 0xff));
    return {
      payload,
      ttl,
      hopLimit: ttl,
      tos: this.#pick(0, 0xb8, 0xff),
      flowLabel: this.#pick(0, 0xfffff),
      df: this.#pick(true, false),
      checksum: this.#pick('valid', 'valid', 'valid', 'zero', 'bad', 'partial'),
      ...this.#pick({}, {}, {}, { udpLength: this.#pick(0, 7, 8, 9, 0xffff) }),
      ...this.#pick({}, {}, {}, { surplus: pattern(this.#pick(1, 8)) }),
      ...this.#pick<Partial<EitherFields>>({}, {}, {}, {}, {}, IN_HEADERS),
    };
  }

  #pick<T>(...all: T[]): T {
    this.#drawn = (Math.imul(this.#drawn, 1664525) + 1013904223) | 0;
    return all[(this.#drawn >>> 8) % all.length]!;
  }
}
