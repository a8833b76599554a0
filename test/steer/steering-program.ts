// A program for tests: the rings of several workers on `device`, steered by the kernel, or with `isFiltered`
// the ring of one, behind the capture filter that takes the steering program's place. For each line it gets,
// it opens them anew, sends Ethernet frames on `sender`, the last of which must arrive, and says which member
// of the fanout group each came to: { arrivals }, -1 for one that came to no ring. Frames and the IP packets
// as which they arrive are given as hexadecimal digits; where two are alike, they are one.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { captureFilters } from '../../src/io/capture-program.ts';
import { SIDE } from '../../src/io/packet-io.ts';
import { applyFilters, openFilteredRings, openSteeredRings } from '../../src/io/ring-sockets.ts';
import { openKernelSteering, SINK } from '../../src/steer/kernel-steering.ts';
import { knownSpec } from '../../src/steer/known-sources.ts';
import type { SteeringSpec } from '../../src/steer/steering.ts';
import { bindSocket, check, socket } from '../../src/sys/libc.ts';
import {
  CAPTURED_LEN,
  LINK_OFF,
  linkAddress,
  NETWORK_OFF,
  PacketRing,
  RING_STATUS,
} from '../../src/sys/packet-ring.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';
import { attachFilter, DROP_ALL } from '../../src/sys/socket-filter.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const BUFFER_BYTES = 16 << 20;
/** Sent before they are looked for: fewer than the kernel's queue between the interfaces takes (1,000). */
const CHUNK = 500;
const ARRIVE_WITHIN_MS = 120_000;

export interface SteeringTask {
  spec: SteeringSpec;
  /** Without a frame: `before` sends it. */
  packets: { frame?: string | undefined; packet: string }[];
  /** A command to run between opening the sockets and sending. */
  before?: string | undefined;
}

const { device, sender, isFiltered } = JSON.parse(process.argv[2]) as {
  device: string;
  sender: string;
  isFiltered?: boolean;
};
const mac = readFileSync(`/sys/class/net/${device}/address`, 'utf8').trim();
const port = { name: device, side: SIDE.both, mtu: 1500, mac, loopback: false };
const out = check(socket(AF_PACKET, SOCK_RAW, 0), 'socket');
const address = linkAddress(interfaceIndex(sender));
check(bindSocket(out, address, address.length), 'bind');

class Reader {
  readonly #ring: PacketRing;
  readonly #view: DataView;
  #head = 0;

  constructor(ring: PacketRing) {
    this.#ring = ring;
    const { buffer, byteOffset, byteLength } = ring.bytes;
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  drain(onPacket: (packet: string) => void): void {
    const { frameBytes, frames, bytes } = this.#ring;
    for (;;) {
      const base = this.#head * frameBytes;
      if ((this.#view.getUint32(base, true) & RING_STATUS.user) === 0) return;
      const end =
        base + this.#view.getUint16(base + LINK_OFF, true) + this.#view.getUint32(base + CAPTURED_LEN, true);
      const off = base + this.#view.getUint16(base + NETWORK_OFF, true);
      onPacket(Buffer.from(bytes.subarray(off, end)).toString('hex'));
      this.#view.setUint32(base, 0, true);
      this.#head = (this.#head + 1) % frames;
    }
  }
}

/** In the order of the fanout group's members. */
function openSteered(spec: SteeringSpec) {
  const { workers, key } = spec;
  const steering = openKernelSteering(1, workers, key, knownSpec(1));
  steering.change(spec);
  const { programs } = steering;
  const rings = openSteeredRings({ ports: [port], bufferSize: BUFFER_BYTES, workers, programs });
  const close = () => {
    rings.close();
    steering.close();
  };
  return { sockets: [0, 1].flatMap((of) => rings.sockets.map((own) => own[of])), start: rings.start, close };
}

function openFiltered({ vips, lips }: SteeringSpec) {
  const { sockets, close } = openFilteredRings({ ports: [port], bufferSize: BUFFER_BYTES });
  const capture = { services: 1, ports: [port], vips, lips };
  const filters = captureFilters(capture, { because: '', instead: '' });
  return { sockets, start: () => applyFilters(sockets, filters), close };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { spec, packets, before } = JSON.parse(line) as SteeringTask;
  const { sockets, start, close } = isFiltered ? openFiltered(spec) : openSteered(spec);
  const packetRings = sockets.map((one) => new PacketRing(one));
  const readers = packetRings.map((ring) => new Reader(ring));
  start();
  if (before !== undefined) execFileSync('bash', ['-c', before]);
  const arrivals = new Map<string, number>();
  const look = () => {
    for (const [index, reader] of readers.entries())
      reader.drain((packet) => arrivals.set(packet, SINK + 1 + index));
  };
  for (let at = 0; at < packets.length; at += CHUNK) {
    const chunk = packets.slice(at, at + CHUNK);
    for (const { frame } of chunk) if (frame !== undefined) writeSync(out, Buffer.from(frame, 'hex'));
    const deadline = performance.now() + ARRIVE_WITHIN_MS;
    const last = chunk.at(-1)!.packet;
    while (!arrivals.has(last) && performance.now() < deadline) {
      await sleep(1);
      look();
    }
    look(); // what came before it to others
  }
  for (const { fd } of packetRings) attachFilter(fd, DROP_ALL); // their mapping keeps them open
  close();
  console.log(JSON.stringify({ arrivals: packets.map(({ packet }) => arrivals.get(packet) ?? -1) }));
}
