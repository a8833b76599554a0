// What two proxies say to each other when one takes over from the other: a connection to the admin socket of
// the one at work, which both keep until that one is gone. Messages in JSON, each with bytes behind it, all
// behind their lengths. The connection is upgraded from HTTP by the name of this protocol: who does not know
// it answers something else, and nothing happens.
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { FastPathKind } from '../fast/attachment.ts';
import type { MissingAddress } from '../host/host-addresses.ts';
import type { DealtWithText } from '../io/dealt-with.ts';
import type { Down } from './health-watch.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** Another number where one of two proxies would not understand the other. */
export const PROTOCOL = 'uoa-proxy-takeover-4';
export const TAKEOVER_PATH = '/takeover';

export interface Hello {
  readonly kind: 'hello';
  readonly version: string;
  readonly pid: number;
  readonly workers: number;
  readonly steeringKey: readonly number[];
  /** Its packets can come in to another process, too, and it says which of them it dealt with. */
  readonly isSteered: boolean;
  readonly fastPath: FastPathBefore;
  /** Tables of its guard. */
  readonly guard: string;
  readonly admin: { readonly host: string; readonly port: number };
  /** StateLock.id: which state file is locked by it until it is gone. */
  readonly stateLock: string;
  /** Why it will not step aside; '': it will. */
  readonly refusal: string;
}

/** The fast path in the kernel of the one at work. */
export interface FastPathBefore {
  readonly kind: FastPathKind | 'off';
  /** By its config, and why it is of this kind then, in words. */
  readonly wanted: 'auto' | FastPathKind | 'off';
  readonly why: string;
  /** The folder in a bpffs where it is pinned (folderId); undefined: it is not. */
  readonly pins: string | undefined;
  /** LAYOUT_VERSION of its maps. */
  readonly layout: number;
}

/** What becomes of it. */
export interface FastPathSuccession {
  /**
   * `all`: sessions stay hot, by the same maps, and programs are replaced in their places. `programs`: these
   * are replaced, and nothing is hot from when the one at work steps aside. `nothing`: then they are taken
   * off.
   */
  readonly keeps: 'all' | 'programs' | 'nothing';
  /** Both have the folder. */
  readonly hasPins: boolean;
}

/** It forwards nothing any more, but what is hot. The bytes are those of encodeSessions. */
export interface SteppedAside {
  readonly kind: 'stepped aside';
  /** By name of port. */
  readonly dealtWith: Readonly<Record<string, DealtWithText>>;
  /** Real servers that its checks, or traffic, found down. */
  readonly down: readonly Down[];
}

export type FromPredecessor =
  | Hello
  /** Its fast path is as it is to be, and no session becomes hot: the other one may let packets in, too. */
  | { readonly kind: 'prepared' }
  | SteppedAside
  /** To `begin`: it goes on when the other one is gone, and not before. */
  | { readonly kind: 'begin' }
  /** To `done`: it does not go on. */
  | { readonly kind: 'ending' }
  /** It has ended, but for the process; it leaves the addresses that it added. */
  | { readonly kind: 'gone'; readonly added: readonly MissingAddress[] }
  | { readonly kind: 'failed'; readonly message: string };

/**
 * `begin`: its workers are to forward, as soon as the other one has heard that. Until then that one goes on
 * when this one is gone, or says nothing for NOBODY_MS; from then on it ends this one first. `done`: they
 * forward, and the other one is to end.
 */
export type FromSuccessor =
  | { readonly kind: 'prepare'; readonly fastPath: FastPathSuccession }
  | { readonly kind: 'step aside' }
  | { readonly kind: 'begin'; readonly process: ProcessIdentity }
  | { readonly kind: 'done' };

/** Who does not go on after so long is taken for one that cannot: none of its steps takes a tenth of it. */
export const STEP_MS = 60_000;

/**
 * Where the one at work has stepped aside nobody forwards what is not hot: then it waits for so long, and
 * goes on. The other one takes a hundredth of it.
 */
export const NOBODY_MS = 10_000;

const LENGTHS_BYTES = 8;
/** Of a message; its bytes are sessions. */
const MESSAGE_MAX = 64 << 20;

export class Conversation<Said extends FromPredecessor | FromSuccessor> {
  readonly socket: Duplex;
  readonly #chunks: AsyncIterator<Buffer>;
  #buffered: Buffer[] = [];
  #length = 0;

  /** `head` came with the upgrade. */
  constructor(socket: Duplex, head: Buffer) {
    this.socket = socket;
    socket.on('error', () => {}); // seen as its end
    if (head.length > 0) socket.unshift(head);
    this.#chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async say(message: FromPredecessor | FromSuccessor, parts: readonly Uint8Array[] = []): Promise<void> {
    const json = Buffer.from(JSON.stringify(message));
    const lengths = Buffer.alloc(LENGTHS_BYTES);
    lengths.writeUInt32LE(json.length);
    lengths.writeUInt32LE(
      parts.reduce((sum, { length }) => sum + length, 0),
      4,
    );
    let hasRoom = true;
    for (const part of [lengths, json, ...parts]) if (part.length > 0) hasRoom = this.socket.write(part);
    if (!hasRoom && !this.socket.destroyed)
      await Promise.race([once(this.socket, 'drain'), once(this.socket, 'close')]).catch(() => {});
  }

  /**
   * Undefined when the other side is gone, or says nothing for `timeoutMs`: then the conversation is closed.
   * Throws where it says what no proxy says.
   */
  async hear(timeoutMs = STEP_MS): Promise<{ said: Said; bytes: Buffer } | undefined> {
    let isOver = false;
    // What came before is read first, where it was this process that stood still.
    const giveUp = () => setImmediate(() => isOver || this.close());
    const timer = Number.isFinite(timeoutMs) ? setTimeout(giveUp, timeoutMs) : undefined;
    try {
      return await this.#hear();
    } finally {
      isOver = true;
      clearTimeout(timer);
    }
  }

  async #hear(): Promise<{ said: Said; bytes: Buffer } | undefined> {
    const lengths = await this.#take(LENGTHS_BYTES);
    if (lengths === undefined) return undefined;
    if (lengths.readUInt32LE() > MESSAGE_MAX) throw new Error('the other proxy sent something else');
    const json = await this.#take(lengths.readUInt32LE());
    const bytes = await this.#take(lengths.readUInt32LE(4));
    if (json === undefined || bytes === undefined) return undefined;
    return { said: JSON.parse(json.toString()) as Said, bytes };
  }

  close(): void {
    this.socket.destroy();
  }

  async #take(count: number): Promise<Buffer | undefined> {
    while (this.#length < count) {
      const next = await this.#chunks.next().catch(() => ({ done: true as const, value: undefined }));
      if (next.done) return undefined;
      this.#buffered.push(next.value);
      this.#length += next.value.length;
    }
    const all = this.#buffered.length === 1 ? this.#buffered[0] : Buffer.concat(this.#buffered);
    this.#length -= count;
    this.#buffered = [all.subarray(count)];
    return all.subarray(0, count);
  }
}
