// Which ports of which addresses belong together, such as LIP:lports: one hash look-up and a binary search
// among the address's ranges.
import { addressWords } from './address.ts';
import { ANY_PORT, EndpointTable } from './endpoint-table.ts';
import { type PortRange, PortSet } from './port-ranges.ts';

export class PortsByAddress {
  readonly #index = new EndpointTable();
  readonly #sets: readonly PortSet[];

  /** An address may come several times. */
  constructor(ranges: Iterable<PortRange & { ip: string }>) {
    const byAddress = new Map<string, PortRange[]>();
    for (const { ip, first, last } of ranges) {
      const own = byAddress.get(ip);
      if (own === undefined) byAddress.set(ip, [{ first, last }]);
      else own.push({ first, last });
    }
    for (const [number, ip] of [...byAddress.keys()].entries()) {
      this.#index.set(addressWords(ip), 0, ANY_PORT, number);
    }
    this.#sets = [...byAddress.values()].map((own) => new PortSet(own));
  }

  has(words: Int32Array, at: number, port: number): boolean {
    const number = this.#index.get(words, at, ANY_PORT);
    return number >= 0 && this.#sets[number].has(port);
  }
}
