// Opens the receive rings of all workers. The control plane holds them, so that a worker that ends leaves no gap in its
// fanout group, whose members the kernel numbers by the order in which they joined: its successor inherits its rings.
// With known sources each worker has two per port: what a flood of strangers makes overflow is not what the others come by.

import type { KnownPlan } from '../steer/known-sources.ts';
import { lanesProgram } from '../steer/lanes-program.ts';
import { loadProgram, PROGRAM_TYPE } from '../sys/bpf.ts';
import { IoError } from '../sys/io-error.ts';
import { close as closeFd, SysError } from '../sys/libc.ts';
import { fanoutGroup, openRing, type RingSocket, setFanoutProgram } from '../sys/packet-ring.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { withoutOutgoing } from '../sys/socket-filter.ts';
import { type CaptureFilter, replaceFilter } from './capture-program.ts';
import type { IoPort } from './packet-io.ts';

/** Frames hold a packet of their interface and what stands before it; longer ones come through the socket's queue. */
const FRAME_BYTES = 2048;
const JUMBO_FRAME_BYTES = 16_384;
/** A successor looks for its place within as many frames as are processed at once, on both sides of it. */
const MIN_FRAMES = 256;
const BEFORE_PACKET = 90; // struct tpacket2_hdr, sockaddr_ll, virtio_net_hdr and link header as the kernel aligns them

export interface RingsOptions {
  ports: readonly IoPort[];
  /** Per port. */
  filters: readonly CaptureFilter[];
  /** Bytes per port, shared out to the rings. */
  bufferSize: number;
  workers: number;
  /** Per port the classic program that chooses the worker, for more than one. */
  steering: readonly Uint8Array[];
  /** The known sources and the descriptor of their memory; undefined: one ring per worker and port for everybody. */
  known: { plan: KnownPlan; fd: number } | undefined;
  /** Called with a sentence when packets come to another ring than they should. */
  onComplaint: (message: string) => void;
}

export interface Rings {
  /** By worker: one per port, and with known sources theirs behind them, in the same order. */
  readonly sockets: readonly (readonly RingSocket[])[];
  /** Lets packets in. Throws an IoError. */
  start(): void;
  /**
   * Puts others in the place of those at work; nothing that both let in is lost. Throws an IoError, with the old filters at
   * work.
   */
  change(filters: readonly CaptureFilter[], steering: readonly Uint8Array[]): void;
  close(): void;
}

/** Opens them; nothing is received yet. Throws an IoError, with none left open. */
export function openRings(options: RingsOptions): Rings {
  const { ports, bufferSize, workers, known, onComplaint } = options;
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
  const steer = (steering: readonly Uint8Array[]) => {
    for (const [index, program] of fanoutPrograms(options, steering).entries())
      setSteering(opened[index]!.ring.fd, program, known !== undefined);
  };
  const attach = (before: readonly CaptureFilter[], wanted: readonly CaptureFilter[]) => {
    for (const { ring, index } of opened) {
      const prepend = isOwnToldByAddress(ports[index]!) ? undefined : withoutOutgoing;
      replaceFilter(ring.fd, before[index]!, wanted[index]!, prepend);
    }
  };
  try {
    const sockets: RingSocket[][] = Array.from({ length: workers }, () => []);
    // In the order in which lanesProgram counts them; the first of all is the first of each group, too.
    for (let lane = 0; lane < lanes; lane++)
      for (const own of sockets) own.push(...ports.map((_, index) => open(index)));
    try {
      steer(options.steering);
    } catch (error) {
      const explained = explainSteering(error);
      // Where rings for known sources are the reason, there is a way without.
      if (known !== undefined || !(explained instanceof IoError)) throw explained;
      onComplaint(`${explained.message} (${explained.hint}): one worker takes all in, and hands over`);
    }
    let atWork = options.filters;
    const start = () => attach(atWork, atWork);
    const change = (filters: readonly CaptureFilter[], steering: readonly Uint8Array[]) => {
      try {
        attach(atWork, filters);
      } catch (error) {
        const left = attempt(() => attach(filters, atWork));
        const { message, hint } = error as IoError;
        throw new IoError(`${message}${left}`, hint, error);
      }
      atWork = filters;
      try {
        steer(steering);
      } catch (error) {
        // Workers hand over what is not theirs, whatever brought it.
        const explained = explainSteering(error);
        if (!(explained instanceof IoError)) throw explained;
        onComplaint(`${explained.message} (${explained.hint}): the one before stays, and workers hand over`);
      }
    };
    return { sockets, start, change, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Per port what says which ring a packet goes to; none where each socket has its port's packets to itself. */
function fanoutPrograms(
  { ports, workers, known }: RingsOptions,
  steering: readonly Uint8Array[],
): readonly Uint8Array[] {
  if (known === undefined) return steering;
  return ports.map((_, index) => lanesProgram(index, steering[index], workers, known.plan, known.fd));
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

/** What this host sends has another Ethernet address as its destination, or is told apart by its type. */
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
