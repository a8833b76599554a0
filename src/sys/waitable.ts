// Waiting for a descriptor in Node's event loop, through koffi's binding of libuv's poll.
import koffi from 'koffi';
import { close } from './libc.ts';

export interface Waitable {
  readonly fd: number;
  /**
   * Resolves true as soon as there is something to receive, false after `timeoutMs`. One waiter at a time.
   */
  wait(timeoutMs: number): Promise<boolean>;
  /** Closes the socket; a waiter gets false. */
  close(): void;
}

/** For a descriptor of one's own, which `close` closes. */
export function waiting(fd: number): Pick<Waitable, 'wait' | 'close'> {
  const poll = koffi.node.poll(fd, { readable: true }, () => {});
  poll.stop();
  let settle: ((readable: boolean) => void) | undefined;
  let closed = false;
  return {
    wait(timeoutMs) {
      if (closed) return Promise.resolve(false);
      return new Promise((resolve) => {
        const timer = setTimeout(() => settle?.(false), timeoutMs);
        settle = (readable) => {
          settle = undefined;
          clearTimeout(timer);
          if (!closed) poll.stop();
          resolve(readable);
        };
        poll.start({ readable: true }, () => settle?.(true));
      });
    },
    close() {
      if (closed) return;
      closed = true;
      poll.close(); // before the descriptor: libuv must not watch a number that may be given out again
      close(fd);
      settle?.(false);
    },
  };
}
