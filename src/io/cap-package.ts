// The package cap (libpcap), its only importer, with the types it lacks and without its ways of ending the
// process.
// Read in cap 0.2.1, src/binding.cc, and seen:
// - It keeps the raw pointer of the buffer and, in libuv's list, a pointer into itself, also after close(): a
//   Cap and its buffer that the garbage collector takes corrupt memory. `kept` holds both for the life of the
//   process.
// - It asserts that polling never reports an error, so an interface that goes down ends the process with
//   SIGABRT. PollGate keeps error conditions away from it.
// - It fetches packets one by one until the kernel's buffer is empty, all within one callback of libuv. When
//   they arrive faster than that, only `stop` ends it (measured: 2.3 us per packet, and 340,000 packets/s at
//   most to try with).

import { IoError } from '../sys/io-error.ts';
import { canLoad } from '../sys/libraries.ts';
import { ignoreOutgoing, packetSocketFds } from '../sys/packet-socket.ts';
import { gatePolling } from '../sys/poll-gate.ts';
import { attachFilter, DROP_ALL, readFilter, upTo } from '../sys/socket-filter.ts';
import { replaceFilter } from './capture-program.ts';
import { loadOptional } from './optional-package.ts';

interface CapObject {
  /** Returns the link type. `emit` is called as emit('packet', byteLength, truncated). */
  open(device: string, filter: string, bufferSize: number, buffer: Buffer): string;
  close(): boolean;
}
interface CapPackage {
  Cap: new () => CapObject;
}

export interface Capture {
  /** Bytes before the network header: 14 Ethernet, 16 Linux "cooked", 0 plain IP. */
  readonly linkHeaderLen: number;
  /** The device's own link header is replaced by that of Linux. */
  readonly isCooked: boolean;
  /** Offset of the 16-bit protocol number in a frame; -1 where there is none. */
  readonly linkProtocolOff: number;
  /** The packet socket, for what the kernel tells about it. */
  readonly fd: number;
  /** While held, what arrives waits in the kernel's buffer and is lost there, counted, when that is full. */
  hold(held: boolean): void;
  /** While stopped, nothing new enters the kernel's buffer. What is lost meanwhile is counted nowhere. */
  stop(stopped: boolean): void;
  /** Keeps frames out that are longer, link header included. Throws an IoError. */
  setMax(length: number): void;
  /** In the place of the one at work; nothing that passes both is lost. Throws an IoError. */
  setFilter(filter: Uint8Array): void;
  close(): void;
}

const COOKED_HEADER_LEN = 16;
/** For setMax. */
export const ANY_LENGTH = 0xffff_ffff;

const LINKS: Record<string, { headerLen: number; protocolOff: number }> = {
  ETHERNET: { headerLen: 14, protocolOff: 12 },
  LINKTYPE_LINUX_SLL: { headerLen: COOKED_HEADER_LEN, protocolOff: 14 },
  RAW: { headerLen: 0, protocolOff: -1 },
};

/** A short filter, since libpcap compiles it in the worker; it runs it itself on the first packets, too. */
const ANY_IP = 'ip or ip6';

const kept: unknown[] = [];

/**
 * Captures on `device` into `buffer`: each packet that `filter` lets pass is written to its start, then
 * `onFrame` is called with its length (at most 65,535, and the buffer's). Throws an IoError that names what
 * is missing.
 */
export function openCapture(
  device: string,
  filter: Uint8Array,
  bufferSize: number,
  buffer: Buffer,
  onFrame: (byteLength: number) => void,
): Capture {
  const { Cap } = loadCap();
  // The native constructor looks up `emit` once; a method here is cheaper than an EventEmitter per packet.
  class Handle extends Cap {
    emit(_event: string, byteLength: number) {
      onFrame(byteLength);
    }
  }
  const before = new Set(packetSocketFds());
  const handle = new Handle();
  kept.push(handle, buffer);
  let linkType: string;
  try {
    // What it lets in more than `filter`, until that takes its place, is passed over.
    linkType = handle.open(device, ANY_IP, bufferSize, buffer);
  } catch (error) {
    throw explainOpen(device, error);
  }
  const fd = packetSocketFds().find((candidate) => !before.has(candidate));
  if (fd === undefined) {
    handle.close();
    throw new IoError(
      `capture on ${device} opened no packet socket`,
      'name a network interface of this host, not another capture device of libpcap',
    );
  }
  const gate = gatePolling(fd);
  const close = () => {
    handle.close();
    gate.close();
  };
  const link = LINKS[linkType];
  if (link === undefined) {
    close();
    throw new IoError(
      `${device} has the link type ${linkType}`,
      'use an Ethernet, loopback, tun or ppp interface',
    );
  }
  // libpcap runs a filter itself, for each packet of the interface, when the kernel does not take it.
  if (readFilter(gate.fd).length === 0) {
    close();
    throw new IoError(`the kernel takes no capture filter for ${device}`, 'see net.core.optmem_max');
  }
  if (!ignoreOutgoing(gate.fd)) {
    close();
    throw new IoError(`${device} would capture what this host sends`, 'Linux 4.20 or later is needed');
  }
  let atWork = filter;
  let isStopped = false;
  let maxLength = ANY_LENGTH;
  const setFilter = (wanted: Uint8Array) => {
    if (!isStopped) replaceFilter(gate.fd, wanted, (program) => upTo(maxLength, program));
    atWork = wanted;
  };
  try {
    setFilter(filter);
  } catch (error) {
    close();
    throw error;
  }
  return {
    linkHeaderLen: link.headerLen,
    linkProtocolOff: link.protocolOff,
    isCooked: link.headerLen === COOKED_HEADER_LEN,
    fd: gate.fd,
    hold: (held) => gate.setOpen(!held),
    stop: (stopped) => {
      isStopped = stopped;
      if (stopped) attachFilter(gate.fd, DROP_ALL);
      else setFilter(atWork);
    },
    setMax: (length) => {
      maxLength = length;
      setFilter(atWork);
    },
    setFilter,
    close,
  };
}

function loadCap(): CapPackage {
  // cap asks libpcap.so, the link that only the development package has, for immediate mode. Without it, it
  // works silently with a second of delay per packet.
  if (!canLoad('libpcap.so')) {
    throw new IoError(
      'libpcap.so cannot be loaded, so packets would be captured a second late',
      'install the Debian package libpcap-dev (the library alone, libpcap0.8, lacks the link libpcap.so)',
    );
  }
  return loadOptional<CapPackage>('cap');
}

function explainOpen(device: string, error: unknown): IoError {
  const text = reason(error);
  const hint = /permission|not permitted/i.test(text)
    ? 'capturing needs CAP_NET_RAW: run as root or give the process that capability'
    : /no such device|doesn't exist/i.test(text)
      ? 'name an interface that exists: ip link'
      : /not up|is down/i.test(text)
        ? `bring it up: ip link set ${device} up`
        : 'see the message of libpcap';
  return new IoError(`cannot capture on ${device}: ${text}`, hint, error);
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0];
}
