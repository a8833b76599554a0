// Which packets may go through the kernel's IP layer while they would wait there for a neighbor: by the copy of the kernel's
// routes and neighbors, and where that cannot tell, by asking the kernel about destinations that get many.

import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import type { Neighbors } from './neighbors.ts';
import { RouteQuery } from './route-query.ts';
import type { RouteTable } from './route-table.ts';
import type { NeighborMessage } from './rtnetlink.ts';
import { ANY_INTERFACE, Unresolved } from './unresolved.ts';

const NONE = -1;
/** NUD_FAILED: the kernel gave up asking for the neighbor. */
const STATE_FAILED = 0x20;

export class WaitingRoom {
  readonly #neighbors: Neighbors;
  readonly #routes: RouteTable;
  readonly #unresolved = new Unresolved();
  readonly #gateway = new Int32Array(4);
  /** Made where it is needed, which is on few hosts. */
  #query: RouteQuery | undefined;

  constructor(neighbors: Neighbors, routes: RouteTable) {
    this.#neighbors = neighbors;
    this.#routes = routes;
  }

  /** Whether a packet to words[at..at+3] may go there; `route` is that of the copy, negative: only the kernel knows it. */
  admits(route: number, words: Int32Array, at: number, nowMs: number): boolean {
    if (route < 0) return this.#admitsUndecided(words, at, nowMs);
    const interfaceIndex = this.#routes.interfaceIndexOf(route);
    if (!this.#neighbors.asks(interfaceIndex)) return true;
    const gateway = this.#routes.gatewayOf(route);
    if (gateway === NONE) return this.#unresolved.admits(interfaceIndex, words, at, nowMs);
    this.#neighbors.readAddress(this.#gateway, gateway);
    return this.#unresolved.admits(interfaceIndex, this.#gateway, 0, nowMs);
  }

  /** Takes in what the kernel says of a neighbor; not `isChange`: what it said maybe long ago. */
  onNeighbor(
    { interfaceIndex, address, state, hasMac }: NeighborMessage,
    isChange: boolean,
    nowMs: number,
  ): void {
    if (hasMac) this.#unresolved.forget(interfaceIndex, address, nowMs);
    else if (isChange && (state & STATE_FAILED) !== 0) this.#unresolved.fail(interfaceIndex, address, nowMs);
  }

  close(): void {
    this.#query?.close();
  }

  #admitsUndecided(words: Int32Array, at: number, nowMs: number): boolean {
    const unresolved = this.#unresolved;
    if (!unresolved.admitsUnlessFailed(words, at, nowMs)) return false;
    if (unresolved.admits(ANY_INTERFACE, words, at, nowMs)) return true;
    if (!unresolved.mayAsk(words, at, nowMs)) return false;
    if (this.#mustWait(words, at)) return false;
    unresolved.letPass(words, at, nowMs);
    return true;
  }

  /** Whether packets to the address would wait for a neighbor, as the kernel says; false where it does not say. */
  #mustWait(words: Int32Array, at: number): boolean {
    const neighbors = this.#neighbors;
    try {
      this.#query ??= new RouteQuery();
      if (!this.#query.findNextHop(words, at)) return false;
    } catch (error) {
      if (!(error instanceof SysError || error instanceof IoError)) throw error;
      return false; // the kernel was short of memory, or no socket can be opened
    }
    const { interfaceIndex, hasGateway, gateway, isLocal } = this.#query;
    if (isLocal || !neighbors.asks(interfaceIndex)) return false;
    const slot = hasGateway
      ? neighbors.find(interfaceIndex, gateway, 0)
      : neighbors.find(interfaceIndex, words, at);
    return slot === NONE || !neighbors.isResolved(slot);
  }
}
