// Echo ACKs: an empty datagram RIP:rport -> LIP:lport with the UOA as it came, by which the proxy knows that
// it was read. The programs say of which, in a ring buffer; they go out by raw sockets.
import type { RawSocket } from '../sys/raw-socket.ts';
import { openRawSocket } from '../sys/raw-socket.ts';
import type { RingBuffer } from '../sys/ring-buffer.ts';
import { destinationOptions, insertUoa, ipv4Option, type UoaForm } from '../uoa/form.ts';
import { Origin } from '../uoa/origin.ts';
import { isV4 } from '../wire/address.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';
import { TOLD } from './layout.ts';

/** So many of a ring in a turn of the event loop. */
const PER_TURN = 256;
const WAIT_MS = 10_000;
const SEND_BUFFER_BYTES = 1 << 20;
const TTL = 64;

export interface AckCounts {
  sent: number;
  /** More than may be sent in a second. */
  limited: number;
  /** The kernel refused them. */
  failed: number;
}

/** Sends what rings ask for. */
export class EchoAcks {
  readonly counts: AckCounts = { sent: 0, limited: 0, failed: 0 };
  /** At most so many in a second. */
  perSecond: number;
  readonly #socket: RawSocket | undefined;
  readonly #socket6: RawSocket | undefined;
  readonly #frame = new Frame(Buffer.from(new ArrayBuffer(256)));
  readonly #pair = new Int32Array(8);
  readonly #onFailure: (errno: number) => void;
  #second = 0;
  #thisSecond = 0;
  #id = 0;

  /** `onFailure` is told each errno. Throws a SysError. */
  constructor(perSecond: number, onFailure: (errno: number) => void) {
    this.perSecond = perSecond;
    this.#onFailure = onFailure;
    this.#socket = openRawSocket(4, SEND_BUFFER_BYTES);
    try {
      this.#socket6 = openRawSocket(6, SEND_BUFFER_BYTES);
    } catch (error) {
      this.#socket?.close();
      throw error;
    }
  }

  /** Until `ring` is closed. */
  async serve(ring: RingBuffer, isClosed: () => boolean): Promise<void> {
    const send = (told: DataView): void => this.#send(told);
    while (!isClosed()) {
      while (!isClosed() && ring.read(PER_TURN, send) > 0) await new Promise((next) => setImmediate(next));
      if (!isClosed()) await ring.wait(WAIT_MS);
    }
  }

  close(): void {
    this.#socket?.close();
    this.#socket6?.close();
  }

  #send(told: DataView): void {
    if (!this.#mayGo()) {
      this.counts.limited++;
      return;
    }
    const pair = this.#pair;
    for (let word = 0; word < 4; word++) {
      pair[word] = told.getInt32(TOLD.rip + 4 * word);
      pair[4 + word] = told.getInt32(TOLD.lip + 4 * word);
    }
    const isIpv4 = isV4(pair, 4);
    const off = this.#build(told, isIpv4 ? 4 : 6);
    const socket = isIpv4 ? this.#socket : this.#socket6;
    const errno = socket === undefined ? -1 : socket.send(this.#frame.bytes, off, this.#end - off, pair);
    if (errno === 0) {
      this.counts.sent++;
      return;
    }
    this.counts.failed++;
    this.#onFailure(errno);
  }

  #end = 0;

  /** Returns where it begins. */
  #build(told: DataView, family: 4 | 6): number {
    const { view } = this.#frame;
    const headerLen = family === 4 ? ipv4.IPV4_HEADER_LEN : ipv6.IPV6_HEADER_LEN;
    const udpOff = HEADROOM + headerLen;
    this.#end = udpOff + udp.UDP_HEADER_LEN;
    if (family === 4) {
      const length = headerLen + udp.UDP_HEADER_LEN;
      this.#id = (this.#id + 1) & 0xffff;
      ipv4.writeHeader(view, HEADROOM, 0, length, this.#id, true, TTL, ipv4.PROTOCOL_UDP, this.#pair);
    } else {
      const word = ipv6.wordOfTrafficClass(0);
      ipv6.writeHeader(view, HEADROOM, word, udp.UDP_HEADER_LEN, ipv4.PROTOCOL_UDP, TTL, this.#pair);
    }
    udp.writePorts(view, udpOff, told.getUint16(TOLD.rport), told.getUint16(TOLD.lport));
    udp.writeLength(view, udpOff, udp.UDP_HEADER_LEN);
    udp.writeChecksum(view, udpOff, udp.computeChecksum(view, udpOff, this.#pair, 0));
    echoed = told;
    const off = insertUoa(
      echoOf(family, told.getUint32(TOLD.optionLen, true)),
      this.#frame,
      HEADROOM,
      headerLen,
      NOBODY,
    );
    if (family === 4) ipv4.fillChecksum(view, off);
    return off;
  }

  #mayGo(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#thisSecond = 0;
    }
    return this.#thisSecond++ < this.perSecond;
  }
}

const NOBODY = new Origin();
const echoes = new Map<number, UoaForm>();
/** What is echoed now. */
let echoed: DataView;

/** The form that an option of this length came in. */
function echoOf(family: 4 | 6, optionLen: number): UoaForm {
  const key = family * 256 + optionLen;
  let form = echoes.get(key);
  if (form === undefined) {
    const write = (view: DataView, off: number): void => {
      for (let i = 0; i < optionLen; i++) view.setUint8(off + i, echoed.getUint8(TOLD.option + i));
    };
    form = family === 4 ? ipv4Option(optionLen, write) : destinationOptions(optionLen, write);
    echoes.set(key, form);
  }
  return form;
}
