// Source hashing: a client address always gets the same real server, by weight, as long as no weight changes;
// a change moves about half of all clients (mh moves hardly more than it must). Depends on the order of the
// real servers.
import { hashAddress } from './fixed-hash.ts';
import type { Scheduler, ServerSet } from './scheduler.ts';
import { Shares } from './shares.ts';

const HASHES = 2 ** 32;

export class SourceHash implements Scheduler {
  readonly #shares: Shares;

  constructor({ weights }: ServerSet) {
    this.#shares = new Shares(weights);
  }

  pick(client: Int32Array, except = -1): number {
    return this.#shares.at((hashAddress(client) >>> 0) / HASHES, except);
  }

  update(): void {
    this.#shares.update();
  }
}
