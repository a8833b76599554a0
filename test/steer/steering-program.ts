// A program for tests: one socket per worker in a fanout group on `device`. For each line it gets, it sends Ethernet frames
// on `sender` and says which socket each arrived at: { arrivals }, -1 for one that did not. Frames and the IP packets as
// which they arrive are given as hexadecimal digits; where two are alike, they are one.
import { execFileSync } from 'node:child_process';
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { KnownSources, openKnown, planKnown } from '../../src/steer/known-sources.ts';
import { lanesProgram } from '../../src/steer/lanes-program.ts';
import { explainRefusal, loadProgram, PROGRAM_TYPE } from '../../src/sys/bpf.ts';
import { bindSocket, check, socket } from '../../src/sys/libc.ts';
import {
  CAPTURED_LEN,
  LINK_OFF,
  linkAddress,
  NETWORK_OFF,
  openRing,
  PacketRing,
  RING_STATUS,
  setFanoutProgram,
} from '../../src/sys/packet-ring.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';
import { attachFilter, DROP_ALL } from '../../src/sys/socket-filter.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const FRAME_BYTES = 2048;
const FRAMES = 1024;
/** Sent before they are looked for: fewer than the kernel's queue between the interfaces takes (1,000). */
const CHUNK = 500;
const ARRIVE_WITHIN_MS = 10_000;
/** BPF_RET | BPF_K, the whole packet. */
const TAKE_ALL = Uint8Array.of(0x06, 0, 0, 0, 0, 0, 4, 0);

export interface SteeringTask {
  /** The classic program; undefined for one worker, who has no need of it. */
  program?: string | undefined;
  workers: number;
  /** Packets whose sources are known: each worker has two sockets then, and the second half is for such. */
  known?: string[] | undefined;
  /** Without a frame: `before` sends it. */
  packets: { frame?: string | undefined; packet: string }[];
  /** A command to run between opening the sockets and sending. */
  before?: string | undefined;
}

const { device, sender } = JSON.parse(process.argv[2]!) as { device: string; sender: string };
const out = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket');
const address = linkAddress(interfaceIndex(sender));
check(bindSocket(out, address, address.length), 'bind');
let group = 0;

class Worker {
  readonly #ring: PacketRing;
  readonly #view: DataView;
  #head = 0;

  constructor(fanoutGroup: number, isExtended: boolean) {
    this.#ring = new PacketRing(
      openRing({
        interfaceIndex: interfaceIndex(device),
        frameBytes: FRAME_BYTES,
        frames: FRAMES,
        fanout: { group: fanoutGroup, isExtended, ignoresOutgoing: true },
      }),
    );
    const { buffer, byteOffset, byteLength } = this.#ring.bytes;
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  drain(onPacket: (packet: string) => void): void {
    for (;;) {
      const base = this.#head * FRAME_BYTES;
      if ((this.#view.getUint32(base, true) & RING_STATUS.user) === 0) return;
      const end =
        base + this.#view.getUint16(base + LINK_OFF, true) + this.#view.getUint32(base + CAPTURED_LEN, true);
      const off = base + this.#view.getUint16(base + NETWORK_OFF, true);
      onPacket(Buffer.from(this.#ring.bytes.subarray(off, end)).toString('hex'));
      this.#view.setUint32(base, 0, true);
      this.#head = (this.#head + 1) % this.#ring.frames;
    }
  }

  take(filter: Uint8Array): void {
    attachFilter(this.#ring.fd, filter);
  }

  steer(program: Uint8Array | number): void {
    setFanoutProgram(this.#ring.fd, program);
  }
}

const PORT_INDEX = 1;

/** What the kernel asks for a socket: a classic program, or an extended one that knows these sources. */
function programOf({ program, workers, known }: SteeringTask): Uint8Array | number {
  const classic = program === undefined ? undefined : new Uint8Array(Buffer.from(program, 'hex'));
  if (known === undefined) return classic!;
  const plan = planKnown(known.length);
  const fd = openKnown(plan);
  const sources = new KnownSources(plan, fd);
  for (const packet of known) {
    const bytes = new Uint8Array(Buffer.from(packet, 'hex'));
    if (sources.look(new DataView(bytes.buffer), 0, PORT_INDEX)) sources.note();
  }
  const extended = lanesProgram(PORT_INDEX, classic, workers, plan, fd);
  try {
    return loadProgram(PROGRAM_TYPE.socketFilter, extended);
  } catch (error) {
    throw new Error(explainRefusal(PROGRAM_TYPE.socketFilter, extended), { cause: error });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line) as SteeringTask;
  const program = programOf(task);
  const sockets = task.known === undefined ? task.workers : 2 * task.workers;
  const workers = Array.from({ length: sockets }, () => new Worker(group, typeof program === 'number'));
  workers[0]!.steer(program);
  for (const worker of workers) worker.take(TAKE_ALL);
  group++;
  if (task.before !== undefined) execFileSync('bash', ['-c', task.before]);
  const arrivals = new Map<string, number>();
  for (let at = 0; at < task.packets.length; at += CHUNK) {
    const chunk = task.packets.slice(at, at + CHUNK);
    for (const { frame } of chunk) if (frame !== undefined) writeSync(out, Buffer.from(frame, 'hex'));
    const deadline = performance.now() + ARRIVE_WITHIN_MS;
    while (chunk.some(({ packet }) => !arrivals.has(packet)) && performance.now() < deadline) {
      for (const [index, worker] of workers.entries()) worker.drain((packet) => arrivals.set(packet, index));
      await sleep(1);
    }
  }
  for (const worker of workers) worker.take(DROP_ALL); // their mapping keeps them open
  console.log(JSON.stringify({ arrivals: task.packets.map(({ packet }) => arrivals.get(packet) ?? -1) }));
}
