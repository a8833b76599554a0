// Sends super packets (several datagrams of one flow in one, UDP_SEGMENT) from AF_PACKET sockets, each with a
// struct virtio_net_hdr in front that says where they part and that their checksums are to be finished
// (PACKET_VNET_HDR, packet(7)). The device takes them apart, or where it cannot the kernel does, which asks
// that they go by its queueing discipline.
import { InterfaceSockets } from './interface-sockets.ts';
import { addressOf, lastErrno, sendmsg } from './libc.ts';
import { GSO_UDP_L4, VNET, VNET_HEADER_LEN, VNET_NEEDS_CHECKSUM } from './packet-ring.ts';
import { type MemoryStart, memoryStart, writePointer } from './send-batch.ts';

const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const MSG_DONTWAIT = 0x40;
const ENXIO = 6;
/** Where the checksum stands in a UDP header. */
const UDP_CHECKSUM = 6;
const LITTLE_ENDIAN = true; // the kernel's structures are in the host's order
const HIGH = 0x1_0000_0000;

// struct msghdr, two struct iovec, and the virtio header, in one block of memory.
const IOVS = 56;
const FRAME_IOV = IOVS + 16;
const VNET_OFF = FRAME_IOV + 16;
const BLOCK_LEN = VNET_OFF + 16;

export class SuperSocket {
  readonly #sockets: InterfaceSockets;
  readonly #block = new DataView(new ArrayBuffer(BLOCK_LEN));
  readonly #bytes = Buffer.from(this.#block.buffer);
  readonly #words = new Int32Array(this.#block.buffer);
  readonly #starts = new WeakMap<Uint8Array, MemoryStart>();

  /** `sendBuffer` bytes may wait in the kernel, for each interface. */
  constructor(sendBuffer: number) {
    this.#sockets = new InterfaceSockets(sendBuffer, SOL_PACKET, PACKET_VNET_HDR, 'PACKET_VNET_HDR');
    const base = Number(addressOf(this.#bytes));
    writePointer(this.#words, 4, memoryStart(base + IOVS));
    this.#words[6] = 2; // iovs
    writePointer(this.#words, IOVS / 4, memoryStart(base + VNET_OFF));
    this.#words[IOVS / 4 + 2] = VNET_HEADER_LEN;
    const block = this.#block;
    block.setUint8(VNET_OFF + VNET.flags, VNET_NEEDS_CHECKSUM);
    block.setUint8(VNET_OFF + VNET.gsoType, GSO_UDP_L4);
    block.setUint16(VNET_OFF + VNET.checksumOffset, UDP_CHECKSUM, LITTLE_ENDIAN);
  }

  /**
   * Sends the frame, link header first, at bytes[off, off + len), whose UDP header stands `udpAt` behind its
   * beginning, in datagrams of `segmentLen` bytes of payload. Returns 0 or an errno. The memory of `bytes`
   * must be its own: a small typed array that V8 may move is none.
   */
  send(
    interfaceIndex: number,
    bytes: Uint8Array,
    off: number,
    len: number,
    udpAt: number,
    segmentLen: number,
  ): number {
    const fd = this.#sockets.of(interfaceIndex);
    if (fd < 0) return ENXIO;
    const block = this.#block;
    block.setUint16(VNET_OFF + VNET.headerLen, udpAt + UDP_CHECKSUM + 2, LITTLE_ENDIAN);
    block.setUint16(VNET_OFF + VNET.gsoSize, segmentLen, LITTLE_ENDIAN);
    block.setUint16(VNET_OFF + VNET.checksumStart, udpAt, LITTLE_ENDIAN);
    const words = this.#words;
    const { low, high } = this.#startOf(bytes);
    const from = low + off;
    words[FRAME_IOV / 4] = from;
    words[FRAME_IOV / 4 + 1] = from < HIGH ? high : high + 1;
    words[FRAME_IOV / 4 + 2] = len;
    return sendmsg(fd, this.#bytes, MSG_DONTWAIT) < 0 ? lastErrno() : 0;
  }

  close(): void {
    this.#sockets.close();
  }

  #startOf(bytes: Uint8Array): MemoryStart {
    let start = this.#starts.get(bytes);
    if (start === undefined) {
      start = memoryStart(Number(addressOf(bytes)));
      this.#starts.set(bytes, start);
    }
    return start;
  }
}
