// A raw socket (raw(7)) that sends whole IP packets as they are given: the kernel routes each by its source
// and the address that it is sent to, finds the neighbor and writes the link header.
import { addressOf, check, close, lastErrno, SysError, sendmsg, setsockopt, socket } from './libc.ts';
import { type MemoryStart, memoryStart, writePointer } from './send-batch.ts';
import { setSendBuffer } from './socket-buffer.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW_NONBLOCK_CLOEXEC = 0x80803;
export const IPPROTO_RAW = 255;
const SOL_IP = 0;
const IP_HDRINCL = 3;
const IP_PKTINFO = 8;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IP_NODEFRAG = 22;
const SOL_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IPV6_HDRINCL = 36;
const IPV6_PKTINFO = 50;
const IPV6_FREEBIND = 78;
const PMTUDISC_PROBE = 3;

// struct msghdr, its one struct iovec, a struct sockaddr_in6, and a struct cmsghdr with what says the source
// (struct in_pktinfo: interface (4), source (4), unused (4); struct in6_pktinfo: source (16), interface (4)),
// in one block of memory.
const IOV = 56;
const NAME = IOV + 16;
const NAME_LEN = { 4: 16, 6: 28 } as const;
const CONTROL = NAME + 32;
const PKTINFO = CONTROL + 16;
const PKTINFO_LEN = { 4: 12, 6: 20 } as const;
const BLOCK_LEN = PKTINFO + 24;
const CONTROL_WORD = CONTROL / 4;
const IOV_WORD = IOV / 4;
const HIGH = 0x1_0000_0000;

/** Level, option and value, by family. */
export const RAW_SOCKET_OPTIONS: Record<4 | 6, readonly (readonly [number, number, number])[]> = {
  4: [
    [SOL_IP, IP_HDRINCL, 1],
    // Connection tracking would hold our fragments until the last one is there, and send them cut anew.
    [SOL_IP, IP_NODEFRAG, 1],
    // Only the device bounds what is sent: the kernel learns path MTUs from ICMP that anybody can forge, and
    // what we send has DF set where its sender, whom the way's ICMP reaches through us, does path MTU
    // discovery.
    [SOL_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE],
    // Without it the kernel keeps to itself that the device's queue was full (raw_send_hdrinc, ENOBUFS).
    [SOL_IP, IP_RECVERR, 1],
  ],
  // Nothing here spares fragments the connection tracking of the kernel (nf_defrag_ipv6_hooks.c) but that
  // they are marked untracked before it, as the guard does.
  6: [
    [SOL_IPV6, IPV6_HDRINCL, 1],
    [SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE],
    [SOL_IPV6, IPV6_RECVERR, 1],
    // A source may be an address that the host does not have yet. Over IPv4 IP_HDRINCL says so.
    [SOL_IPV6, IPV6_FREEBIND, 1],
  ],
};

export interface RawSocket {
  /**
   * Sends the IP packet at bytes[off, off + len) from pair[0..3] to pair[4..7], IPv4 in its v4-mapped form.
   * Returns 0, or the errno of what the kernel says. The memory of `bytes` must be its own: a small typed
   * array that V8 may move is none.
   */
  send(bytes: Uint8Array, off: number, len: number, pair: Int32Array): number;
  close(): void;
}

/** `sendBuffer` is in bytes. Undefined when the kernel has no such family. Throws a SysError. */
export function openRawSocket(family: 4 | 6, sendBuffer: number): RawSocket | undefined {
  const domain = family === 6 ? AF_INET6 : AF_INET;
  let fd: number;
  try {
    fd = check(socket(domain, SOCK_RAW_NONBLOCK_CLOEXEC, IPPROTO_RAW), 'socket SOCK_RAW');
  } catch (error) {
    if (error instanceof SysError && error.code === 'EAFNOSUPPORT') return undefined;
    throw error;
  }
  try {
    for (const [level, option, value] of RAW_SOCKET_OPTIONS[family]) {
      check(setsockopt(fd, level, option, Int32Array.of(value), 4), `setsockopt ${level}/${option}`);
    }
    setSendBuffer(fd, sendBuffer);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new KernelSocket(fd, family);
}

class KernelSocket implements RawSocket {
  readonly #fd: number;
  readonly #isIpv6: boolean;
  readonly #block = Buffer.from(new ArrayBuffer(BLOCK_LEN));
  readonly #words = new Int32Array(this.#block.buffer);
  readonly #starts = new WeakMap<Uint8Array, MemoryStart>();

  constructor(fd: number, family: 4 | 6) {
    this.#fd = fd;
    this.#isIpv6 = family === 6;
    const base = Number(addressOf(this.#block));
    writePointer(this.#words, 0, memoryStart(base + NAME));
    this.#words[2] = NAME_LEN[family];
    writePointer(this.#words, 4, memoryStart(base + IOV));
    this.#words[6] = 1;
    this.#block.writeUInt16LE(family === 6 ? AF_INET6 : AF_INET, NAME);
    writePointer(this.#words, 8, memoryStart(base + CONTROL));
    this.#words[10] = 16 + ((PKTINFO_LEN[family] + 7) & ~7);
    this.#words[CONTROL_WORD] = 16 + PKTINFO_LEN[family];
    this.#words[CONTROL_WORD + 2] = family === 6 ? SOL_IPV6 : SOL_IP;
    this.#words[CONTROL_WORD + 3] = family === 6 ? IPV6_PKTINFO : IP_PKTINFO;
  }

  send(bytes: Uint8Array, off: number, len: number, pair: Int32Array): number {
    const { low, high } = this.#startOf(bytes);
    const words = this.#words;
    const from = low + off;
    words[IOV_WORD] = from;
    words[IOV_WORD + 1] = from < HIGH ? high : high + 1;
    words[IOV_WORD + 2] = len;
    const block = this.#block;
    if (this.#isIpv6) {
      for (let i = 0; i < 4; i++) {
        block.writeInt32BE(pair[i], PKTINFO + 4 * i);
        block.writeInt32BE(pair[4 + i], NAME + 8 + 4 * i);
      }
    } else {
      block.writeInt32BE(pair[3], PKTINFO + 4);
      block.writeInt32BE(pair[7], NAME + 4);
    }
    return sendmsg(this.#fd, block, 0) < 0 ? lastErrno() : 0;
  }

  close(): void {
    close(this.#fd);
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
