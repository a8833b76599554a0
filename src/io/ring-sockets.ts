// Opens the receive rings of all workers. The control plane holds them, so that a successor of a worker
// inherits its rings. Steered ones are two per worker and port, one for anybody and one for known sources: a
// flood of unknown sources overflows only theirs. The rings of a port are the members of a fanout group,
// which the kernel numbers by the order in which they joined: src/bpf/steering.bpf.c says who is who. Where
// it cannot be loaded, there is one worker with a ring per port, and a capture filter says what comes in.

import { explain } from '../sys/io-error.ts';
import { close as closeFd } from '../sys/libc.ts';
import { openRing, openSink, type RingSocket, setFanoutProgram, stampPackets } from '../sys/packet-ring.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { replaceFilter } from './capture-program.ts';
import type { IoPort } from './packet-io.ts';

/**
 * Frames hold a packet of their interface and what stands before it; longer ones come by the socket's queue.
 */
const FRAME_BYTES = 2048;
const JUMBO_FRAME_BYTES = 16_384;
/** A successor looks for its place within as many frames as are processed at once, on both sides of it. */
const MIN_FRAMES = 256;
/** struct tpacket2_hdr, sockaddr_ll, virtio_net_hdr and link header as the kernel aligns them. */
const BEFORE_PACKET = 90;
/** Of a worker on a port: for anybody, and for known sources. */
const RINGS = 2;

interface RingsOptions {
  readonly ports: readonly IoPort[];
  /** Bytes per port, shared out to the rings. */
  readonly bufferSize: number;
}

export interface SteeredRings {
  /** By worker: one per port, and behind them those for known sources, in the same order. */
  readonly sockets: readonly (readonly RingSocket[])[];
  /** Lets packets in. Throws a SysError. */
  start(): void;
  /** See IoHost.stamp. Throws a SysError. */
  stamp(isWanted: boolean): void;
  close(): void;
}

export interface FilteredRings {
  /** One per port. */
  readonly sockets: readonly RingSocket[];
  close(): void;
}

/**
 * Opens them; nothing is received yet. `programs` are descriptors, one per port (KernelSteering.programs).
 * Throws an IoError, with nothing left open.
 */
export function openSteeredRings({
  ports,
  bufferSize,
  workers,
  programs,
}: RingsOptions & { workers: number; programs: readonly number[] }): SteeredRings {
  const sockets: RingSocket[][] = Array.from({ length: workers }, () => []);
  const sinks: { fd: number; group: number }[] = [];
  const close = () => {
    for (const { fd } of [...sockets.flat(), ...sinks]) closeFd(fd);
  };
  try {
    // The order in which the program counts them.
    for (const port of ports) sinks.push(open(port, () => openSink(interfaceIndex(port.name))));
    const bytes = bufferSize / workers / RINGS;
    for (let ring = 0; ring < RINGS; ring++)
      for (const own of sockets)
        for (const [index, port] of ports.entries())
          own.push(open(port, () => openPortRing(port, bytes, sinks[index].group)));
  } catch (error) {
    close();
    throw error;
  }
  let isStamped = false;
  const stamp = (isWanted: boolean) => {
    for (const { fd } of sinks) stampPackets(fd, isWanted);
    isStamped = isWanted;
  };
  const letIn = () => {
    for (const [index, { fd }] of sinks.entries()) setFanoutProgram(fd, programs[index]);
  };
  const start = () => {
    letIn();
    // Where a program is replaced the kernel waits for the packets that are under way: whatever an earlier
    // process gets from now on these rings get, too.
    if (isStamped) letIn();
  };
  return { sockets, start, stamp, close };
}

/** The same for one worker; applyFilters lets packets in. */
export function openFilteredRings({ ports, bufferSize }: RingsOptions): FilteredRings {
  const sockets: RingSocket[] = [];
  const close = () => {
    for (const { fd } of sockets) closeFd(fd);
  };
  try {
    for (const port of ports) sockets.push(open(port, () => openPortRing(port, bufferSize, undefined)));
  } catch (error) {
    close();
    throw error;
  }
  return { sockets, close };
}

/** One filter per ring: nothing that the one before lets in, too, is lost. Throws an IoError. */
export function applyFilters(sockets: readonly RingSocket[], filters: readonly Uint8Array[]): void {
  for (const [index, { fd }] of sockets.entries()) replaceFilter(fd, filters[index]);
}

function openPortRing({ name, mtu }: IoPort, bytes: number, group: number | undefined): RingSocket {
  const isJumbo = mtu + BEFORE_PACKET > FRAME_BYTES && mtu + BEFORE_PACKET <= JUMBO_FRAME_BYTES;
  const frameBytes = isJumbo ? JUMBO_FRAME_BYTES : FRAME_BYTES;
  const frames = Math.max(MIN_FRAMES, Math.ceil(bytes / frameBytes));
  return openRing({ interfaceIndex: interfaceIndex(name), frameBytes, frames, group });
}

/** Throws an IoError. */
function open<T>({ name }: IoPort, doIt: () => T): T {
  try {
    return doIt();
  } catch (error) {
    throw explain(error, `cannot receive on ${name}`, openHint);
  }
}

function openHint(code: string): string {
  if (code === 'EPERM')
    return 'a packet socket needs CAP_NET_RAW: run as root or give the process that capability';
  const hasNoMemory = code === 'ENOMEM' || code === 'ENOBUFS';
  return hasNoMemory
    ? 'the kernel has no memory for the ring: lower io.bufferSize'
    : 'io.mode: pcap may work here';
}
