// What the kernel announces of routing, and dumps of what it has. A dump is read at once, by a socket of its
// own; changes that were announced meanwhile are taken in after it, in their order, and so end in the
// kernel's own state.
import { SysError } from '../sys/libc.ts';
import { NetlinkSocket, NOTHING, OVERRUN } from '../sys/netlink.ts';
import { answersAtOnce, eachMessage, FLAG, message, type OnMessage } from '../sys/netlink-messages.ts';
import { GROUPS, LINK_LEN, MESSAGE, ROUTE_LEN } from './rtnetlink.ts';

/** The kernel doubles it and counts about 800 bytes per message: it holds some 40,000. */
const CHANGES_BUFFER = 16 << 20;
/** Bounds the time that an update takes: a change takes about 2 us. */
const CHANGES_PER_UPDATE = 1024;

export class RtnetlinkFeed {
  readonly #changes = new NetlinkSocket(GROUPS, CHANGES_BUFFER);
  readonly #onChange: OnMessage;
  readonly #onLoss: () => void;

  /** `onLoss` is told that changes were lost. Throws a SysError. */
  constructor(onChange: OnMessage, onLoss: () => void) {
    this.#onChange = onChange;
    this.#onLoss = onLoss;
  }

  /** Readable when there is a change. */
  get fd(): number {
    return this.#changes.fd;
  }

  /** Hands over changes, as many as may be done at once. Throws a SysError. */
  receive(): void {
    for (let budget = CHANGES_PER_UPDATE; budget > 0; budget--) {
      const length = this.#changes.receive();
      if (length === NOTHING) return;
      if (length === OVERRUN) this.#onLoss();
      else eachMessage(this.#changes.view, length, this.#onChange);
    }
  }

  close(): void {
    this.#changes.close();
  }
}

/**
 * Hands over all that the kernel has of one kind (getRoute, ...) and family, 0 for all. False: something may
 * be missing, because it changed meanwhile or the kernel is short of memory.
 */
export function dump(kind: number, onMessage: OnMessage, family = 0): boolean {
  // struct ndmsg and fib_rule_hdr are as long as rtmsg.
  const body = new Uint8Array(kind === MESSAGE.getLink ? LINK_LEN : ROUTE_LEN);
  body[0] = family;
  try {
    return answersAtOnce(message(kind, FLAG.dump, body), onMessage);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return false;
  }
}
