// The programs of the fast path at the captured interfaces: loaded, attached, put in the place of another
// process's, and taken off again.
import {
  type Attachment,
  attach,
  type FastPathKind,
  type LoadedFastPath,
  loadFastPath,
} from '../fast/attachment.ts';
import type { FastPathMaps } from '../fast/maps.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { type Choice, explainFailure, NATIVE, untilNoneHas } from './fast-path-places.ts';
import type { FastPathPort } from './fast-path-ports.ts';

export class FastPathPrograms {
  readonly #maps: FastPathMaps;
  readonly #ports: readonly FastPathPort[];
  readonly #filterHandle: number;
  /** By interface. */
  readonly #loaded = new Map<string, LoadedFastPath>();
  #attachments = new Map<string, Attachment>();

  /** Those of these ports that have Ethernet get one. */
  constructor(maps: FastPathMaps, ports: readonly FastPathPort[], filterHandle: number) {
    this.#maps = maps;
    this.#ports = ports;
    this.#filterHandle = filterHandle;
  }

  /** The verifier takes its time, which packets would wait for later on. Throws as loadObject does. */
  load(kind: FastPathKind): void {
    for (const { name, row, mac } of this.#ports)
      if (mac !== '' && !this.#attachments.has(name))
        this.#loaded.set(name, loadFastPath(this.#maps, row, kind === 'tc'));
  }

  /** Attaches them at XDP where all drivers take that, or says why it is tc then. */
  tryXdp(): Choice {
    try {
      for (const port of this.#ports) this.#attachTo('xdp', port);
      return { kind: 'xdp', why: NATIVE };
    } catch (error) {
      this.detach();
      return { kind: 'tc', why: `no XDP: ${explainFailure(error)}` };
    }
  }

  /** Where none is attached yet. Throws what attach throws: then some may be. */
  attach(kind: FastPathKind): void {
    for (const port of this.#ports)
      if (port.mac !== '' && !this.#attachments.has(port.name)) this.#attachTo(kind, port);
    // Links and filters have them now.
    this.#unload();
  }

  #attachTo(kind: FastPathKind, { name, interfaceIndex, row }: FastPathPort): void {
    const options = { kind, interfaceIndex, row, isSteered: kind === 'tc', filterHandle: this.#filterHandle };
    this.#attachments.set(name, attach(this.#maps, options, this.#loaded.get(name)));
  }

  /**
   * Puts them back where another process has its own, or had, which may be there a moment longer. Returns why
   * that cannot be, in words; '': it is done.
   */
  async putBack(kind: FastPathKind): Promise<string> {
    const before = this.#attachments;
    this.#attachments = new Map();
    let problem = '';
    const isDone = await untilNoneHas(() => {
      try {
        this.attach(kind);
        return true;
      } catch (error) {
        problem = explainFailure(error);
        return undefined;
      }
    });
    for (const attachment of before.values()) attachment.close();
    return isDone ? '' : problem;
  }

  isAt = ({ name }: Pick<FastPathPort, 'name'>): boolean => this.#attachments.has(name);

  /** Interfaces, and how each has its program. */
  get places(): { name: string; how: Attachment['how'] }[] {
    return [...this.#attachments].map(([name, { how }]) => ({ name, how }));
  }

  /** See Attachment.pin. */
  pin(): void {
    for (const attachment of this.#attachments.values()) attachment.pin();
  }

  /** What is pinned, and filters, stay at work. */
  letGo(): void {
    for (const attachment of this.#attachments.values()) attachment.close();
    this.#attachments.clear();
    this.#unload();
  }

  detach(): void {
    for (const attachment of this.#attachments.values()) detach(attachment);
    this.#attachments.clear();
  }

  /** Those that took the place of another process's stay until that one puts its own back. */
  standDown(): void {
    for (const attachment of this.#attachments.values())
      if (attachment.wasThere) attachment.close();
      else detach(attachment);
    this.#attachments.clear();
  }

  #unload(): void {
    for (const loaded of this.#loaded.values()) loaded.close();
    this.#loaded.clear();
  }
}

function detach(attachment: Attachment): void {
  try {
    attachment.detach();
  } catch (error) {
    if (!(error instanceof BpfError)) throw error; // its interface is gone, and the program with it
  }
}
