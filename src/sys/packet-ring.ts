// A memory-mapped receive ring of an AF_PACKET socket (packet(7), Linux
// Documentation/networking/packet_mmap.rst), TPACKET_V2: frames of one size, each with a status word that
// says whose it is. No policy: what is received and what becomes of it is the caller's.
import koffi from 'koffi';
import {
  bindSocket,
  check,
  close,
  getsockopt,
  lastErrno,
  mmap,
  recv,
  SysError,
  setsockopt,
  socket,
} from './libc.ts';
import { ignoreOutgoing } from './packet-socket.ts';
import { setReceiveBuffer } from './socket-buffer.ts';
import { attachFilter, DROP_ALL, detachFilter } from './socket-filter.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
const SOL_SOCKET = 1;
const SO_TIMESTAMPNS = 35;
const SOL_PACKET = 263;
const PACKET_RX_RING = 5;
const PACKET_COPY_THRESH = 7;
const PACKET_VERSION = 10;
const PACKET_VNET_HDR = 15;
const PACKET_FANOUT = 18;
const PACKET_FANOUT_DATA = 22;
const TPACKET_V2 = 1;
const ETH_P_ALL = 0x0003;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const BLOCK_BYTES = 1 << 16;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const SOCKADDR_LL_LEN = 20;
const FANOUT_EBPF = 7;
/** The kernel chooses the group's number. */
const FANOUT_FLAG_UNIQUE_ID = 0x2000;
/** Spares a group what this host sends; its members' PACKET_IGNORE_OUTGOING does not. From Linux 6.2 on. */
const FANOUT_FLAG_IGNORE_OUTGOING = 0x4000;
/** Packets up to this length are kept whole in the socket's queue when they do not fit into a frame. */
const COPY_MAX = 1 << 17;
/** For them: by default three of 64 KiB would fill it. */
const QUEUE_BYTES = 8 << 20;

// struct tpacket2_hdr
export const STATUS = 0;
export const PACKET_LEN = 4;
export const CAPTURED_LEN = 8;
export const LINK_OFF = 12;
export const NETWORK_OFF = 14;
/** When the packet came in, CLOCK_REALTIME; the frame keeps it until the kernel uses it again. */
export const SECONDS = 16;
export const NANOSECONDS = 20;
export const VLAN_TCI = 24;

/** Bits of the status word. */
export const RING_STATUS = {
  /** The frame is the reader's; without it the kernel's. */
  user: 1,
  /** The packet is longer than the frame, and whole in the socket's queue (readWhole). */
  copy: 2,
  vlan: 0x10,
  /** The packet's time is its stamp, see stampPackets. */
  stamped: 0x2000_0000,
} as const;

/** struct virtio_net_hdr, right before the link header. */
export const VNET_HEADER_LEN = 10;
export const VNET = {
  flags: 0,
  gsoType: 1,
  headerLen: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
} as const;
/** A bit of the flags: the checksum that `checksumOffset` behind `checksumStart` stands at is unfinished. */
export const VNET_NEEDS_CHECKSUM = 1;
/** Another one: the checksum is finished, and was verified. */
export const VNET_CHECKSUM_VERIFIED = 2;
export const GSO_NONE = 0;
export const GSO_UDP_L4 = 5;
/** The type's bit that says nothing about its kind (ECN). */
export const GSO_TYPE_MASK = 0x7f;

export interface RingOptions {
  interfaceIndex: number;
  /** A multiple of 16 that divides BLOCK_BYTES. */
  frameBytes: number;
  frames: number;
  /** The fanout group whose packets it shares with others; undefined: all of the interface's come to it. */
  group: number | undefined;
}

/** A ring that is open; another process that inherits the descriptor can map it too. */
export interface RingSocket {
  fd: number;
  frameBytes: number;
  frames: number;
}

/**
 * Opens a ring. It lets nothing in until attachFilter says what, or in a group whatever the group's program
 * gives to it. Throws a SysError.
 */
export function openRing({ interfaceIndex, frameBytes, frames, group }: RingOptions): RingSocket {
  const fd = openSocket();
  try {
    setInt(fd, PACKET_VERSION, TPACKET_V2, 'PACKET_VERSION');
    setInt(fd, PACKET_VNET_HDR, 1, 'PACKET_VNET_HDR');
    setInt(fd, PACKET_COPY_THRESH, COPY_MAX, 'PACKET_COPY_THRESH');
    setReceiveBuffer(fd, QUEUE_BYTES);
    const blocks = Math.ceil((frames * frameBytes) / BLOCK_BYTES);
    const allFrames = (blocks * BLOCK_BYTES) / frameBytes;
    const request = Int32Array.of(BLOCK_BYTES, blocks, frameBytes, allFrames); // struct tpacket_req
    check(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, request, 16), 'setsockopt PACKET_RX_RING');
    bindTo(fd, interfaceIndex);
    if (group !== undefined) {
      joinFanout(fd, group);
      detachFilter(fd);
    }
    return { fd, frameBytes, frames: allFrames };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * Opens a socket without a ring that lets nothing in, the first member of a new fanout group: until a program
 * says otherwise, the interface's packets go to this one. Throws a SysError.
 */
export function openSink(interfaceIndex: number): { fd: number; group: number } {
  const fd = openSocket();
  try {
    bindTo(fd, interfaceIndex);
    joinFanout(fd, undefined);
    return { fd, group: fanoutGroup(fd) };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** One that lets nothing in. */
function openSocket(): number {
  // Protocol 0: nothing before it is bound.
  const fd = check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), 'socket');
  try {
    if (!ignoreOutgoing(fd)) throw new SysError('setsockopt PACKET_IGNORE_OUTGOING', lastErrno());
    attachFilter(fd, DROP_ALL);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function bindTo(fd: number, interfaceIndex: number): void {
  const address = linkAddress(interfaceIndex, ETH_P_ALL);
  check(bindSocket(fd, address, address.length), 'bind');
}

export class PacketRing {
  readonly fd: number;
  readonly frameBytes: number;
  readonly frames: number;
  /** The ring, for the life of the process (koffi.view has no end). */
  readonly bytes: Uint8Array;
  /** Its address, below 2^53. */
  readonly address: number;

  /** Maps an open ring. Throws a SysError. */
  constructor({ fd, frameBytes, frames }: RingSocket) {
    const byteLength = frames * frameBytes;
    const address = mmap(null, byteLength, PROT_READ_WRITE, MAP_SHARED, fd, 0);
    if (BigInt(address) === -1n) throw new SysError('mmap', lastErrno());
    this.fd = fd;
    this.frameBytes = frameBytes;
    this.frames = frames;
    this.address = Number(address);
    this.bytes = new Uint8Array(koffi.view(BigInt(address), byteLength));
  }

  /**
   * Reads the next of the packets that frames marked RING_STATUS.copy announce: virtio header, link header,
   * packet. Returns its length, also when that is more than fits; or an errno, negative: EAGAIN when there is
   * none.
   */
  readWhole(buffer: Uint8Array): number {
    const len = Number(recv(this.fd, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC));
    return len >= 0 ? len : -lastErrno();
  }
}

/** struct sockaddr_ll for an interface. */
export function linkAddress(interfaceIndex: number, protocol = 0): Buffer {
  const address = Buffer.from(new ArrayBuffer(SOCKADDR_LL_LEN));
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(protocol, 2);
  address.writeInt32LE(interfaceIndex, 4);
  return address;
}

function joinFanout(fd: number, group: number | undefined): void {
  const mode = FANOUT_EBPF | FANOUT_FLAG_IGNORE_OUTGOING | (group === undefined ? FANOUT_FLAG_UNIQUE_ID : 0);
  setInt(fd, PACKET_FANOUT, (group ?? 0) | (mode << 16), 'PACKET_FANOUT');
}

function fanoutGroup(fd: number): number {
  const value = new Int32Array(1);
  check(getsockopt(fd, SOL_PACKET, PACKET_FANOUT, value, Int32Array.of(4)), 'getsockopt PACKET_FANOUT');
  return value[0] & 0xffff;
}

/**
 * Which member of the socket's fanout group gets a packet, for the whole group: by a program's descriptor,
 * which may be closed then. Throws a SysError.
 */
export function setFanoutProgram(fd: number, program: number): void {
  setInt(fd, PACKET_FANOUT_DATA, program, 'PACKET_FANOUT_DATA');
}

/**
 * For as long as the socket is open, or until it is taken back, the kernel stamps each packet as it comes in,
 * so that all rings have the same time for it; else each ring has the time of its own copy. It begins within
 * some milliseconds (net_enable_timestamp). Throws a SysError.
 */
export function stampPackets(fd: number, isWanted: boolean): void {
  const value = Int32Array.of(isWanted ? 1 : 0);
  check(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, value, 4), 'setsockopt SO_TIMESTAMPNS');
}

function setInt(fd: number, option: number, value: number, name: string): void {
  check(setsockopt(fd, SOL_PACKET, option, Int32Array.of(value), 4), `setsockopt ${name}`);
}
