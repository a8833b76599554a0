// Opens the receive rings of all workers. The control plane holds them, so that a worker that ends leaves no gap in its
// fanout group, whose members the kernel numbers by the order in which they joined: its successor inherits its rings.
// With known sources each worker has two per port: what a flood of strangers makes overflow is not what the others come by.
import { loadProgram, PROGRAM_TYPE } from '../sys/bpf.ts';
import { LINK_TYPE } from '../sys/filter-compiler.ts';
import { close as closeFd, SysError } from '../sys/libc.ts';
import { fanoutGroup, openRing, type RingSocket, setFanoutProgram } from '../sys/packet-ring.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { attachFilter, DROP_ALL, withoutOutgoing } from '../sys/socket-filter.ts';
import { compileCapture } from './capture-program.ts';
import { IoError } from './io-error.ts';
import type { KnownPlan } from './known-sources.ts';
import { lanesProgram } from './lanes-program.ts';
import type { IoPort } from './packet-io.ts';

/** Frames hold a packet of their interface and what stands before it; longer ones come through the socket's queue. */
const FRAME_BYTES = 2048;
const JUMBO_FRAME_BYTES = 16_384;
/** A successor looks for its place within as many frames as are processed at once, on both sides of it. */
const MIN_FRAMES = 256;
const BEFORE_PACKET = 90; // struct tpacket2_hdr, sockaddr_ll, virtio_net_hdr and link header as the kernel aligns them

export interface RingsOptions {
  ports: readonly IoPort[];
  /** Per port, see captureFilter. */
  filters: readonly string[];
  /** Bytes per port, shared out to the rings. */
  bufferSize: number;
  workers: number;
  /** Per port the classic program that chooses the worker, for more than one. */
  steering: readonly Uint8Array[];
  /** The known sources and the descriptor of their memory; undefined: one ring per worker and port for everybody. */
  known: { plan: KnownPlan; fd: number } | undefined;
}

export interface Rings {
  /** By worker: one per port, and with known sources theirs behind them, in the same order. */
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

/** What the sockets of each port run. */
interface Programs {
  readonly filters: readonly Uint8Array[];
  /** Which ring a packet goes to; empty where each socket has its port's packets to itself. */
  readonly fanouts: readonly Uint8Array[];
}

/** Opens them; nothing is received yet. Throws an IoError, with none left open. */
export function openRings(options: RingsOptions): Rings {
  const { ports, bufferSize, workers, known } = options;
  const lanes = known === undefined ? 1 : 2;
  const opened: { ring: RingSocket; index: number }[] = [];
  const close = () => {
    for (const { ring } of opened.splice(0)) closeFd(ring.fd);
  };
  const groups: (number | undefined)[] = [];
  const open = (index: number): RingSocket => {
    const { name, mtu } = ports[index]!;
    const isJumbo = mtu + BEFORE_PACKET > FRAME_BYTES && mtu + BEFORE_PACKET <= JUMBO_FRAME_BYTES;
    const frameBytes = isJumbo ? JUMBO_FRAME_BYTES : FRAME_BYTES;
    try {
      const ring = openRing({
        interfaceIndex: interfaceIndex(name),
        frameBytes,
        frames: Math.max(MIN_FRAMES, Math.ceil(bufferSize / workers / lanes / frameBytes)),
        fanout:
          workers * lanes === 1
            ? undefined
            : {
                group: groups[index],
                isExtended: known !== undefined,
                ignoresOutgoing: isOwnToldByAddress(ports[index]!),
              },
      });
      opened.push({ ring, index });
      if (workers * lanes > 1) groups[index] ??= fanoutGroup(ring.fd);
      return ring;
    } catch (error) {
      throw explainOpen(name, error);
    }
  };
  const steer = ({ fanouts }: Programs) => {
    for (const [index, program] of fanouts.entries())
      setSteering(opened[index]!.ring.fd, program, known !== undefined);
  };
  const attach = (programs: Programs) => {
    for (const { ring, index } of opened) replaceFilter(ring.fd, programs.filters[index]!);
    steer(programs);
  };
  try {
    let atWork = makePrograms(options, options.filters, options.steering);
    const sockets: RingSocket[][] = Array.from({ length: workers }, () => []);
    // In the order in which lanesProgram counts them; the first of all is the first of each group, too.
    for (let lane = 0; lane < lanes; lane++)
      for (const own of sockets) own.push(...ports.map((_, index) => open(index)));
    try {
      steer(atWork);
    } catch (error) {
      throw explainSteering(error);
    }
    const start = () => {
      for (const { ring, index } of opened) attachFilter(ring.fd, atWork.filters[index]!);
    };
    const prepare = (filters: readonly string[], steering: readonly Uint8Array[]) => {
      const wanted = makePrograms(options, filters, steering);
      return () => {
        try {
          attach(wanted);
        } catch (error) {
          const left = attempt(() => attach(atWork));
          throw new IoError(
            `the capture filters cannot be changed${left}: ${(error as Error).message}`,
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

/** Throws an IoError. */
function makePrograms(
  { ports, workers, known }: RingsOptions,
  filters: readonly string[],
  steering: readonly Uint8Array[],
): Programs {
  return {
    filters: ports.map((port, index) => compileFilter(port, filters[index]!)),
    fanouts:
      known === undefined
        ? steering
        : ports.map((_, index) => lanesProgram(index, steering[index], workers, known.plan, known.fd)),
  };
}

/** What to add to a message when it fails. */
function attempt(putBack: () => void): string {
  try {
    putBack();
    return '';
  } catch {
    return ', nor put back: some are the old ones and some are new';
  }
}

function setSteering(fd: number, program: Uint8Array, isExtended: boolean): void {
  if (!isExtended) {
    setFanoutProgram(fd, program);
    return;
  }
  const loaded = loadProgram(PROGRAM_TYPE.socketFilter, program);
  try {
    setFanoutProgram(fd, loaded);
  } finally {
    closeFd(loaded);
  }
}

function explainSteering(error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  return new IoError(
    `the program that chooses a packet's ring is refused: ${error.message}`,
    error.code === 'EPERM' ? 'give the process CAP_BPF' : 'the kernel may be too old for it',
    error,
  );
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

/** What this host sends has another Ethernet address as its destination, or is told apart by its type. */
function compileFilter(port: IoPort, text: string): Uint8Array {
  const { name, mac, loopback } = port;
  const program = compileCapture(name, text, mac !== '' || loopback ? LINK_TYPE.ethernet : LINK_TYPE.ip);
  return isOwnToldByAddress(port) ? program : withoutOutgoing(program);
}

const isOwnToldByAddress = ({ mac, loopback }: IoPort): boolean => mac !== '' && !loopback;

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
