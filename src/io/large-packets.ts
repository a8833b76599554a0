// Large packets of a pcap port, past libpcap: those that may be several datagrams in one (GSO, GRO), which it
// does not tell apart, and those longer than the interface's own MTU, for which its slots may be too short.
// They come by a socket of their own that says what was merged; the capture takes the others.
import { VNET_HEADER_LEN } from '../sys/packet-ring.ts';
import { packetStatistics } from '../sys/packet-socket.ts';
import { longerThan } from '../sys/socket-filter.ts';
import { openVnetSocket, type VnetSocket } from '../sys/vnet-socket.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import { replaceFilter } from './capture-program.ts';
import { type OnPart, takeApart } from './segments.ts';

/** What is merged on a link of this MTU or a larger one is mostly longer. */
const USUAL_MTU = 1500;
/** Packets taken in per turn of the event loop. */
const TURN_MAX = 16;
const MAX_LEN = 14 + 65_536 + 64;
/** Where the IP header lies, at a multiple of 4 with an Ethernet header in front. */
const IP_OFF = HEADROOM + 16 + VNET_HEADER_LEN + 2;

/** Longer frames are large, link header included. */
export const largeFrom = (mtu: number, linkHeaderLen: number): number =>
  linkHeaderLen + Math.min(mtu, USUAL_MTU);

export class LargePackets {
  readonly #socket: VnetSocket;
  readonly #frame: Frame;
  readonly #room: Uint8Array;
  readonly #linkHeaderLen: number;
  readonly #max: number;
  readonly #onReceived: (isLost: boolean) => void;
  readonly #onPart: OnPart;
  #closed = false;

  /**
   * Takes in what is longer than largeFrom says. `onReceived` is called for each packet, before `onPart` for
   * each of what was merged into it; what has no room is lost. Throws a SysError or IoError.
   */
  constructor(
    interfaceIndex: number,
    { mtu, linkHeaderLen, bufferSize }: { mtu: number; linkHeaderLen: number; bufferSize: number },
    filter: Uint8Array,
    onReceived: (isLost: boolean) => void,
    onPart: OnPart,
  ) {
    this.#linkHeaderLen = linkHeaderLen;
    this.#max = largeFrom(mtu, linkHeaderLen);
    this.#onReceived = onReceived;
    this.#onPart = onPart;
    this.#frame = new Frame(Buffer.from(new ArrayBuffer(IP_OFF + MAX_LEN)));
    this.#room = this.#frame.bytes.subarray(IP_OFF - linkHeaderLen - VNET_HEADER_LEN);
    this.#socket = openVnetSocket(interfaceIndex, bufferSize, () => this.#turn());
    try {
      this.setFilter(filter);
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  setFilter(filter: Uint8Array): void {
    replaceFilter(this.#socket.fd, filter, (program) => longerThan(this.#max, program));
  }

  /** How many the kernel lost since the last call. */
  lost(): number {
    return packetStatistics(this.#socket.fd).drops;
  }

  close(): void {
    this.#closed = true;
    this.#socket.close();
  }

  #turn(): void {
    for (let count = 0; count < TURN_MAX && !this.#closed; count++) {
      const len = this.#socket.receive(this.#room);
      if (len < 0) return;
      const isLost = len > this.#room.length;
      this.#onReceived(isLost);
      const vnet = IP_OFF - this.#linkHeaderLen - VNET_HEADER_LEN;
      if (!isLost) takeApart(this.#frame, vnet, IP_OFF, vnet + len, this.#onPart);
    }
  }
}
