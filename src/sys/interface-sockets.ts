// AF_PACKET sockets to send by (packet(7)), one for each interface, opened when it is first asked for: to
// name the interface with each packet would cost the kernel time for each.
import { bindSocket, check, close, SysError, setsockopt, socket } from './libc.ts';
import { linkAddress } from './packet-ring.ts';
import { setSendBuffer } from './socket-buffer.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
/** Interfaces may come and go (those of containers), and nothing says which never come back. */
const SOCKETS_MAX = 256;

export class InterfaceSockets {
  readonly #sendBuffer: number;
  readonly #level: number;
  readonly #option: number;
  readonly #name: string;
  readonly #fds = new Map<number, number>();

  /** `sendBuffer` bytes may wait in each; an option of `level`, by its `name` in errors, is set to 1. */
  constructor(sendBuffer: number, level: number, option: number, name: string) {
    this.#sendBuffer = sendBuffer;
    this.#level = level;
    this.#option = option;
    this.#name = name;
  }

  /** The socket bound to an interface; -1: it cannot be opened. */
  of(interfaceIndex: number): number {
    return this.#fds.get(interfaceIndex) ?? this.#open(interfaceIndex);
  }

  close(): void {
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
  }

  #open(interfaceIndex: number): number {
    if (this.#fds.size >= SOCKETS_MAX) this.close();
    const fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); // protocol 0: it receives nothing
    if (fd < 0) return -1;
    try {
      const one = Int32Array.of(1);
      check(setsockopt(fd, this.#level, this.#option, one, 4), `setsockopt ${this.#name}`);
      setSendBuffer(fd, this.#sendBuffer);
      const address = linkAddress(interfaceIndex);
      check(bindSocket(fd, address, address.length), 'bind');
    } catch (error) {
      close(fd);
      if (!(error instanceof SysError)) throw error;
      return -1;
    }
    this.#fds.set(interfaceIndex, fd);
    return fd;
  }
}
