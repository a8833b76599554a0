// Where the log goes: standard output, which may be read by nobody for a while (a paused terminal, a stuck
// journal). Nothing waits for it: what has no room is lost and counted, and the log says so when it is read
// again.
import { setTimeout as sleep } from 'node:timers/promises';

/** What waits for the reader at most; a letter beyond ASCII may count as fewer bytes than it has. */
const WAITING_MAX_BYTES = 1 << 20;

/** process.stdout, or a test's stand-in. */
export interface LogStream {
  readonly isTTY?: boolean;
  readonly writableLength: number;
  write(text: string, done: (error?: Error | null) => void): boolean;
  on(event: 'error' | 'drain', listener: () => void): unknown;
}

export class LogOutput {
  readonly isTTY: boolean;
  readonly #stream: LogStream;
  #lost = 0;
  #lostSaid = 0;

  /** `onRead` is called with the number of lines that were lost before, when there is room again. */
  constructor(stream: LogStream, onRead: (lost: number) => void) {
    this.#stream = stream;
    this.isTTY = stream.isTTY === true;
    // A reader that went away (EPIPE) must not end the proxy; each line that is lost to it is counted when it
    // is written.
    stream.on('error', () => {});
    stream.on('drain', () => {
      const lost = this.#lost - this.#lostSaid;
      this.#lostSaid = this.#lost;
      if (lost > 0) onRead(lost);
    });
  }

  /** Lines so far that had no room. */
  get lost(): number {
    return this.#lost;
  }

  write(line: string): void {
    if (this.#stream.writableLength + line.length > WAITING_MAX_BYTES) this.#lost++;
    else {
      unblock(this.#stream);
      this.#stream.write(line, (error) => {
        if (error) this.#lost++;
      });
    }
  }

  /** Resolves when all is written, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.#stream.writableLength > 0 && performance.now() < deadline) await sleep(10);
  }
}

/**
 * Node writes to pipes and sockets without waiting, but to a terminal it waits until all is taken, although
 * it opened that anew for itself and so could do without. There is no public way to tell it. Before each
 * write, because libuv makes it wait again for each child process that inherits it.
 */
function unblock(stream: LogStream): void {
  const { _handle: handle } = stream as { _handle?: { setBlocking?: (blocks: boolean) => unknown } };
  if (stream.isTTY === true) handle?.setBlocking?.(false);
}
