// An AF_PACKET socket (packet(7)) whose packets come with a struct virtio_net_hdr in front, which says what
// was merged into one of several (PACKET_VNET_HDR); read one by one, in Node's event loop, through koffi's
// binding of libuv's poll.
import koffi from 'koffi';
import { watchReadable } from './epoll.ts';
import { bindSocket, check, close, lastErrno, recv, SysError, setsockopt, socket } from './libc.ts';
import { linkAddress } from './packet-ring.ts';
import { ignoreOutgoing } from './packet-socket.ts';
import { setReceiveBuffer } from './socket-buffer.ts';
import { attachFilter, DROP_ALL } from './socket-filter.ts';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0x80800;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const ETH_P_ALL = 0x0003;
const MSG_TRUNC = 0x20;
const EAGAIN = 11;

export interface VnetSocket {
  readonly fd: number;
  /**
   * The next packet: its length with the virtio header in front, also when that is more than fits; -1: there
   * is none.
   */
  receive(buffer: Uint8Array): number;
  close(): void;
}

/**
 * Lets nothing in until attachFilter says what. `onReadable` is called again as long as there is something to
 * receive. Throws a SysError.
 */
export function openVnetSocket(
  interfaceIndex: number,
  bufferBytes: number,
  onReadable: () => void,
): VnetSocket {
  // Protocol 0: nothing before it is bound.
  const fd = check(socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0), 'socket');
  try {
    check(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, Int32Array.of(1), 4), 'setsockopt PACKET_VNET_HDR');
    setReceiveBuffer(fd, bufferBytes);
    if (!ignoreOutgoing(fd)) throw new SysError('setsockopt PACKET_IGNORE_OUTGOING', lastErrno());
    attachFilter(fd, DROP_ALL);
    const address = linkAddress(interfaceIndex, ETH_P_ALL);
    check(bindSocket(fd, address, address.length), 'bind');
    // libuv gives up a descriptor with an error, which a packet socket has when its interface goes down; an
    // epoll has none.
    const epoll = watchReadable([fd]);
    const poll = koffi.node.poll(epoll, { readable: true }, onReadable);
    return {
      fd,
      receive: (buffer) => receive(fd, buffer),
      close: () => {
        poll.close();
        close(epoll);
        close(fd);
      },
    };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** What it says of its interface, once, comes before the packets, and is read elsewhere, too. */
function receive(fd: number, buffer: Uint8Array): number {
  for (let tries = 0; tries < 2; tries++) {
    const length = Number(recv(fd, buffer, buffer.length, MSG_TRUNC));
    if (length >= 0 || lastErrno() === EAGAIN) return length;
  }
  return -1;
}
