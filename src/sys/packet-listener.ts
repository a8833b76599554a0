// An AF_PACKET socket (packet(7)) that only watches: each packet from its network header on, whatever link it
// came over, with interface and time. SOCK_DGRAM takes the link header off. No policy: which packets is the
// caller's filter.
import { bindSocket, check, close, setsockopt, socket } from './libc.ts';
import { Message } from './message.ts';
import { linkAddress } from './packet-ring.ts';
import { boundInterface, packetStatistics } from './packet-socket.ts';
import { setReceiveBuffer } from './socket-buffer.ts';
import { attachFilter } from './socket-filter.ts';

const AF_PACKET = 17;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0x80800;
const SOL_SOCKET = 1;
const SO_TIMESTAMPNS = 35;
const ETH_P_ALL = 0x0003;
const PACKET_OUTGOING = 4;
const ARPHRD_LOOPBACK = 772;

/** Interface index that stands for all of them. */
export const ALL_INTERFACES = 0;

export interface HeardPacket {
  interfaceIndex: number;
  /** EtherType of what `bytes` begin with. */
  protocol: number;
  timeUs: number;
  bytes: Uint8Array;
}

export interface PacketListener {
  readonly fd: number;
  /**
   * The next packet; undefined when there is none. Throws a SysError, ENETDOWN when the interface went down.
   */
  receive(): HeardPacket | undefined;
  /** Packets that passed the filter, and how many of them were lost, both since the last call. */
  counts(): { packets: number; drops: number };
  /** Whether the interface that it was opened for is still there. */
  isBound(): boolean;
  close(): void;
}

/**
 * Listens on an interface with a classic BPF program that sees packets from their network header on. What the
 * host sends over a loopback is seen once, as received. Throws a SysError: EPERM without CAP_NET_RAW.
 */
export function listen(interfaceIndex: number, program: Uint8Array, bufferBytes: number): PacketListener {
  // Protocol 0: nothing before it is bound.
  const fd = check(socket(AF_PACKET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0), 'socket');
  try {
    setReceiveBuffer(fd, bufferBytes);
    check(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, Int32Array.of(1), 4), 'setsockopt SO_TIMESTAMPNS');
    attachFilter(fd, program);
    const address = linkAddress(interfaceIndex, ETH_P_ALL);
    check(bindSocket(fd, address, address.length), 'bind');
  } catch (error) {
    close(fd);
    throw error;
  }
  const message = new Message();
  const receive = (): HeardPacket | undefined => {
    for (;;) {
      const length = message.receive(fd);
      if (length < 0) return undefined;
      const { link } = message;
      if (link.hardware === ARPHRD_LOOPBACK && link.direction === PACKET_OUTGOING) continue;
      const { interfaceIndex, protocol } = link;
      return { interfaceIndex, protocol, timeUs: timeOf(message), bytes: message.data(length) };
    }
  };
  return {
    fd,
    receive,
    counts: () => packetStatistics(fd),
    isBound: () => boundInterface(fd) !== -1,
    close: () => {
      close(fd);
    },
  };
}

/** struct timespec, 64-bit. */
function timeOf(message: Message): number {
  const bytes = message.control(SOL_SOCKET, SO_TIMESTAMPNS);
  if (bytes.length < 16) return Date.now() * 1000;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Number(view.getBigInt64(0, true)) * 1e6 + Math.floor(Number(view.getBigInt64(8, true)) / 1000);
}
