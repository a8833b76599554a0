// Opens the receive rings of all workers. The control plane holds them, so that a worker that ends leaves no gap in its
// fanout group, whose members the kernel numbers by the order in which they joined: its successor inherits its rings.
import { LINK_TYPE } from '../sys/filter-compiler.ts';
import { close as closeFd, SysError } from '../sys/libc.ts';
import { openRing, type RingSocket, setFanoutProgram } from '../sys/packet-ring.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { attachFilter, DROP_ALL } from '../sys/socket-filter.ts';
import { compileCapture } from './capture-program.ts';
import { IoError } from './io-error.ts';
import type { IoPort } from './packet-io.ts';

/** Frames hold a packet of their interface and what stands before it; longer ones come through the socket's queue. */
const FRAME_BYTES = 2048;
const JUMBO_FRAME_BYTES = 16_384;
const BEFORE_PACKET = 90; // struct tpacket2_hdr, sockaddr_ll, virtio_net_hdr and link header as the kernel aligns them

export interface RingsOptions {
  ports: readonly IoPort[];
  /** Per port, see captureFilter. */
  filters: readonly string[];
  /** Bytes per port, shared out to the workers. */
  bufferSize: number;
  workers: number;
  /** Per port the program that chooses the worker, for more than one. */
  steering: readonly Uint8Array[];
}

export interface Rings {
  /** By worker, by port. */
  readonly sockets: readonly (readonly RingSocket[])[];
  /** Lets packets in. */
  start(): void;
  /**
   * Compiles other filters and steering programs; what it returns puts them in the place of those at work, or throws an
   * IoError with the old ones at work. Throws an IoError itself.
   */
  prepare(filters: readonly string[], steering: readonly Uint8Array[]): () => void;
  close(): void;
}

/** Opens them; nothing is received yet. Throws an IoError, with none left open. */
export function openRings({ ports, filters, bufferSize, workers, steering }: RingsOptions): Rings {
  const opened: { ring: RingSocket; index: number; program: Uint8Array }[] = [];
  const close = () => {
    for (const { ring } of opened.splice(0)) closeFd(ring.fd);
  };
  const open = (index: number, group: number, program: Uint8Array): RingSocket => {
    const { name, mtu } = ports[index]!;
    const isJumbo = mtu + BEFORE_PACKET > FRAME_BYTES && mtu + BEFORE_PACKET <= JUMBO_FRAME_BYTES;
    const frameBytes = isJumbo ? JUMBO_FRAME_BYTES : FRAME_BYTES;
    try {
      const ring = openRing({
        interfaceIndex: interfaceIndex(name),
        frameBytes,
        frames: Math.ceil(bufferSize / workers / frameBytes),
        fanout: workers === 1 ? undefined : { group, program: steering[index]! },
      });
      opened.push({ ring, index, program });
      return ring;
    } catch (error) {
      throw explainOpen(name, error);
    }
  };
  try {
    const programs = ports.map((port, index) => compileFilter(port, filters[index]!));
    const groups = ports.map(() => Math.floor(Math.random() * 0x1_0000));
    const sockets = Array.from({ length: workers }, () =>
      ports.map((_, index) => open(index, groups[index]!, programs[index]!)),
    );
    const start = () => {
      for (const { ring, program } of opened) attachFilter(ring.fd, program);
    };
    let atWork = { programs, steering };
    const attach = (wanted: typeof atWork) => {
      for (const { ring, index } of opened) {
        replaceFilter(ring.fd, wanted.programs[index]!);
        if (workers > 1) setFanoutProgram(ring.fd, wanted.steering[index]!);
      }
    };
    const prepare = (others: readonly string[], otherSteering: readonly Uint8Array[]) => {
      const wanted = {
        programs: ports.map((port, index) => compileFilter(port, others[index]!)),
        steering: otherSteering,
      };
      return () => {
        try {
          attach(wanted);
        } catch (error) {
          attach(atWork);
          throw new IoError(
            `the capture filters cannot be changed: ${(error as Error).message}`,
            'the kernel may have too little memory for them: sysctl net.core.optmem_max',
            error,
          );
        }
        atWork = wanted;
      };
    };
    return { sockets, start, prepare, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The kernel counts the old filter and the new one together against net.core.optmem_max: so for lack of room not both. */
function replaceFilter(fd: number, program: Uint8Array): void {
  try {
    attachFilter(fd, program);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== 'ENOMEM') throw error;
    attachFilter(fd, DROP_ALL);
    attachFilter(fd, program);
  }
}

const compileFilter = ({ name, mac, loopback }: IoPort, text: string): Uint8Array =>
  compileCapture(name, text, mac !== '' || loopback ? LINK_TYPE.ethernet : LINK_TYPE.ip);

function explainOpen(device: string, error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  const hint =
    error.code === 'EPERM'
      ? 'a packet socket needs CAP_NET_RAW: run as root or give the process that capability'
      : error.code === 'ENOMEM' || error.code === 'ENOBUFS'
        ? 'the kernel has no memory for the ring: lower io.bufferSize'
        : 'io.mode: pcap may work here';
  return new IoError(`cannot receive on ${device}: ${error.message}`, hint, error);
}
