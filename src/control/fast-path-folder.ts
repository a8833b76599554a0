// The folder in a bpffs in which a proxy's fast path outlives its process: whose it is, and what is left
// there.
import { filterHandleOf, type PinRoot, removePinned, removePinRoot } from '../fast/pins.ts';
import {
  explainFailure,
  folderId,
  type Held,
  hold,
  removeFilters,
  untilNoneHas,
} from './fast-path-places.ts';
import type { FastPathRequest } from './fast-path-sizes.ts';
import type { FastPathBefore } from './takeover-protocol.ts';

export class FastPathFolder {
  readonly #request: FastPathRequest;
  readonly #root: PinRoot | undefined;
  #isCleared = false;
  /** Why nothing is pinned. */
  loss: string | undefined;
  /** What is there by this name is another process's. */
  isForeign = false;

  private constructor(request: FastPathRequest, held: Held | 'taken') {
    this.#request = request;
    if (held === 'taken') {
      this.isForeign = true;
      return;
    }
    this.#root = held.root;
    this.loss = held.loss;
  }

  /** See `hold`. */
  static async open(
    request: FastPathRequest,
    isTried: boolean,
    before?: FastPathBefore,
  ): Promise<FastPathFolder> {
    return new FastPathFolder(request, await hold(request, isTried, before));
  }

  /** Undefined: there is none. */
  get path(): string | undefined {
    return this.#root?.path;
  }

  /** See folderId. */
  get id(): string | undefined {
    return this.#root && folderId(this.#root.path);
  }

  /** For child processes. */
  get lockFds(): readonly number[] {
    return this.#root === undefined ? [] : [this.#root.lock.fd];
  }

  /** Why things cannot be pinned is the `loss`. */
  pin(doIt: () => void): void {
    try {
      doIt();
    } catch (error) {
      this.loss = explainFailure(error);
    }
  }

  /** The predecessor is gone, who had it. */
  async take(): Promise<void> {
    if (this.#root === undefined) return;
    const { lock, path } = this.#root;
    if (await untilNoneHas(() => lock.tryToLock() || undefined)) return;
    this.isForeign = true;
    this.loss = `another process has ${path}`;
  }

  /**
   * Nothing of this proxy is left, of whichever process, but the folder: as long as this process has it
   * nobody else pins there. Once: without a bpffs nobody knows later whose filters they are. Returns what was
   * removed.
   */
  clear(): string[] {
    if (this.isForeign || this.#isCleared) return [];
    this.#isCleared = true;
    const { name, ports } = this.#request;
    return [...this.removePins(), ...removeFilters(ports, filterHandleOf(name))];
  }

  /** Returns what was removed. */
  removePins(): string[] {
    return this.#root === undefined ? [] : removePinned(this.#root.path);
  }

  /** Lets go of it; first it goes itself, if it is empty and `isOver`. */
  close(isOver: boolean): void {
    if (isOver && this.#root?.lock.isHeld) removePinRoot(this.#root.path);
    this.#root?.lock.release();
  }
}
