// Packets as they come over interfaces, both ways. The kernel picks those that may carry a UOA, so that
// watching a busy host costs little; a second socket per interface, which nobody reads, counts the others.
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { xdpProgramOf } from '../sys/bpf-attachment.ts';
import { watchReadable } from '../sys/epoll.ts';
import { IoError } from '../sys/io-error.ts';
import { SysError } from '../sys/libc.ts';
import { ALL_INTERFACES, listen, type PacketListener } from '../sys/packet-listener.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { encodeProgram } from '../sys/socket-filter.ts';
import { type Waitable, waiting } from '../sys/waitable.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { CaptureError } from './capture-error.ts';
import type { CapturedPacket } from './captured-packet.ts';
import { PROTOCOL_OPP, PROTOCOL_UDP } from './dissect.ts';
import { behindTags, VLAN_TYPES } from './link-layer.ts';

/** Stands for every interface. */
export const ANY = 'any';

const BUFFER_BYTES = 16 << 20;
/** Packets in a row, after which signals and timers get their turn. */
const TURN = 256;
const WAIT_MS = 1000;
/** The packet's EtherType (SKF_AD_OFF + SKF_AD_PROTOCOL). */
const ANCILLARY_PROTOCOL = -0x1000;
const ACCEPT = 0x4_0000;

export interface LiveOptions {
  /** Interface names, or ANY. */
  devices: readonly string[];
  /** Called with a sentence when an interface went down. */
  onDown: (message: string) => void;
}

interface Watched {
  device: string;
  listener: PacketListener;
  counter: PacketListener;
}

export class LiveCapture {
  readonly #watched: Watched[] = [];
  readonly #names = new Map<number, string>();
  readonly #onDown: LiveOptions['onDown'];
  readonly #waitable: Pick<Waitable, 'wait' | 'close'>;
  #stopped = false;
  /** All packets, and those that may have had a UOA and found the buffer full. */
  packets = 0;
  lost = 0;

  /** Opens the sockets. Throws a CaptureError. */
  constructor({ devices, onDown }: LiveOptions) {
    this.#onDown = onDown;
    try {
      for (const device of devices) this.#watched.push(open(device));
      this.#waitable = waiting(watchReadable(this.#watched.map(({ listener }) => listener.fd)));
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  /**
   * Those of the interfaces that have an XDP program: what it forwards by itself is not captured. (What
   * programs at tc forward is: coming in before them, going out behind.) Without libbpf nobody can tell.
   */
  get hidden(): string[] {
    const devices = this.#watched.map(({ device }) => device);
    const names = devices.includes(ANY) ? interfaceNames() : devices;
    try {
      return names.filter((name) => xdpProgramOf(interfaceIndex(name)) !== 0);
    } catch (error) {
      if (error instanceof SysError || error instanceof IoError) return [];
      throw error;
    }
  }

  /** Ends `captured`, also while it waits. */
  stop(): void {
    this.#stopped = true;
    this.#waitable.close();
  }

  /** Until stop(). Throws a CaptureError when an interface was removed. */
  async *captured(): AsyncGenerator<CapturedPacket> {
    try {
      while (!this.#stopped) {
        let inARow = 0;
        for (const watched of this.#watched) {
          for (let packet = this.#next(watched); packet !== undefined; packet = this.#next(watched)) {
            yield packet;
            if (this.#stopped) return;
            if (++inARow % TURN === 0) await nextTurn();
          }
        }
        this.#count();
        await this.#waitable.wait(WAIT_MS);
      }
    } finally {
      this.#count();
      this.stop();
      this.#close();
    }
  }

  /** The next IP packet of an interface; undefined when there is none for now. */
  #next({ device, listener }: Watched): CapturedPacket | undefined {
    for (;;) {
      try {
        const heard = listener.receive();
        if (heard === undefined) return undefined;
        const off = behindTags(heard.bytes, heard.protocol, 0);
        if (off < 0) continue;
        const bytes = heard.bytes.subarray(off);
        return {
          device: this.#nameOf(heard.interfaceIndex),
          timeUs: heard.timeUs,
          wireLen: bytes.length,
          bytes,
        };
      } catch (error) {
        if (!(error instanceof SysError) || error.code !== 'ENETDOWN') throw error;
        if (!listener.isBound())
          throw new CaptureError(`${device} was removed`, 'begin again when it is back');
        this.#onDown(`${device} is down`);
      }
    }
  }

  #nameOf(index: number): string {
    if (!this.#names.has(index)) {
      for (const name of interfaceNames()) this.#names.set(interfaceIndex(name), name);
    }
    return this.#names.get(index) ?? `interface ${index}`;
  }

  #count(): void {
    for (const { listener, counter } of this.#watched) {
      this.packets += counter.counts().packets;
      this.lost += listener.counts().drops;
    }
  }

  #close(): void {
    for (const { listener, counter } of this.#watched.splice(0)) {
      listener.close();
      counter.close();
    }
  }
}

function open(device: string): Watched {
  const index = device === ANY ? ALL_INTERFACES : interfaceIndex(device);
  if (index === 0 && device !== ANY) {
    throw new CaptureError(
      `there is no interface ${device}`,
      `there are ${[...interfaceNames(), ANY].join(', ')}`,
    );
  }
  try {
    const listener = listen(index, CANDIDATES, BUFFER_BYTES);
    try {
      return { device, listener, counter: listen(index, ALL, 0) };
    } catch (error) {
      listener.close();
      throw error;
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const hint =
      error.code === 'EPERM'
        ? 'run it as root, or give it the capability CAP_NET_RAW; reading a file (-r) needs neither'
        : 'see packet(7)';
    throw new CaptureError(`cannot capture on ${device}: ${error.message}`, hint);
  }
}

/** Of this network namespace. */
function interfaceNames(): string[] {
  const lines = readFileSync('/proc/net/dev', 'utf8').trim().split('\n').slice(2);
  return lines.map((line) => line.slice(0, line.indexOf(':')).trim());
}

/**
 * Codes of linux/bpf_common.h: A = the word, half word or byte at k; whether A is k, or greater; the end,
 * with k bytes.
 */
const [WORD, HALF, BYTE, EQUAL, GREATER, RETURN] = [0x20, 0x28, 0x30, 0x15, 0x25, 0x06];
/** How a header of PROXY protocol v2 begins. */
const PROXY_BEGIN = 0x0d0a_0d0a;

/**
 * IPv4 with options or protocol 248; IPv6 with 248 or an extension header; UDP of either with a header of
 * PROXY protocol; whatever has a VLAN tag. A load behind the packet's end refuses it.
 */
const CANDIDATES = encodeProgram([
  [HALF, ANCILLARY_PROTOCOL],
  [EQUAL, ETHERTYPE_IPV4, 4, 0],
  [EQUAL, ETHERTYPE_IPV6, 11, 0],
  [EQUAL, VLAN_TYPES[0], 19, 0],
  [EQUAL, VLAN_TYPES[1], 18, 0],
  [EQUAL, VLAN_TYPES[2], 17, 18],
  // IPv4: protocol, length of the header, begin of the payload
  [BYTE, 9],
  [EQUAL, PROTOCOL_OPP, 15, 0],
  [BYTE, 0],
  [GREATER, 0x45, 13, 0],
  [BYTE, 9],
  [EQUAL, PROTOCOL_UDP, 0, 12],
  [WORD, 28],
  [EQUAL, PROXY_BEGIN, 9, 10],
  // IPv6: next header, begin of the payload
  [BYTE, 6],
  [EQUAL, PROTOCOL_OPP, 7, 0],
  [EQUAL, 60, 6, 0],
  [EQUAL, 44, 5, 0],
  [EQUAL, 43, 4, 0],
  [EQUAL, 0, 3, 0],
  [EQUAL, PROTOCOL_UDP, 0, 3],
  [WORD, 48],
  [EQUAL, PROXY_BEGIN, 0, 1],
  [RETURN, ACCEPT],
  [RETURN, 0],
]);

const ALL = encodeProgram([[RETURN, 1]]);
