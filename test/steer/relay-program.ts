// A program for tests: opens packet I/O and the guard in its namespace, and relays each packet that has an
// entry in `rewrite` with other addresses, the same ports and no UDP checksum (over IPv6 a right one). Prints
// { ready: ports }; answers each line of input with { report }; stops when its input ends.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { installGuard } from '../../src/host/guard.ts';
import { inspectHost } from '../../src/host/host.ts';
import { compileFilter } from '../../src/io/capture-program.ts';
import { captureFilter } from '../../src/io/filter.ts';
import {
  IO_COLUMN,
  IO_COUNTERS,
  type IoCounterName,
  type IoOptions,
  type IoPort,
  ioRows,
  type PacketIo,
} from '../../src/io/packet-io.ts';
import { openPcapIo } from '../../src/io/pcap.ts';
import { openRingIo } from '../../src/io/ring.ts';
import { BEGUN } from '../../src/io/ring-port.ts';
import { applyFilters, openFilteredRings, openSteeredRings } from '../../src/io/ring-sockets.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { openKernelSteering } from '../../src/steer/kernel-steering.ts';
import { KnownSources, knownSpec } from '../../src/steer/known-sources.ts';
import { randomSteeringKey } from '../../src/steer/steering.ts';
import { PacketRing, RING_STATUS } from '../../src/sys/packet-ring.ts';
import { attachFilter } from '../../src/sys/socket-filter.ts';
import type { Frame } from '../../src/wire/frame.ts';

export interface RelaySpec {
  wan?: string;
  lan?: string;
  vips: { ip: string; port: number }[];
  lips: { ip: string; first: number; last: number }[];
  rips: string[];
  /**
   * New addresses by the old destination; with `spread` one packet after the other to so many addresses from
   * `dst` on.
   */
  rewrite: Record<string, { src: string; dst: string; spread?: number }>;
  /** Microseconds of work to add per packet processed. */
  burdenUs?: number;
  /** Microseconds to add per packet fetched, also when it only goes to the backlog. */
  fetchBurdenUs?: number;
  /** Fail at each packet with this destination. */
  failAt?: string;
  /** Bytes of a ring per port; without it packet I/O is pcap. */
  ring?: number | undefined;
  busyPoll?: boolean;
  /**
   * With rings for known sources, those of packets that are relayed, by the steering program; else by a
   * filter.
   */
  known?: boolean;
  /**
   * After a failure another ring I/O goes on with the same rings and counters, as when a datapath process
   * ended.
   */
  succeeds?: boolean;
  /** Fail whenever this many frames more are counted as received, right after that. */
  failEvery?: number;
  /**
   * Say { waiting } and begin with this many packets in the ring, the first as if a process had ended before
   * it read it.
   */
  succeedsAt?: number;
}
export interface RelayReport {
  /** By IoOptions.counters' rows: one per port, one for sending, and those of the rings for known sources. */
  counters: Record<IoCounterName, number>[];
  ports: IoPort[];
  /** How often a timer of 10 ms fired. */
  ticks: number;
  longestTickMs: number;
  /** Processor time used so far, user and system. */
  cpuMs: number;
  /** Packets relayed, by the port they came from. */
  relayed: number[];
  /** Packets whose checksum was said to be right. */
  verified: number;
  /** Packets that were announced, in their order, before they came. */
  ahead: number;
  failures: string[];
  /** The first packets as hexadecimal digits, from the IP header on. */
  captured: string[];
}

const spec = JSON.parse(process.argv[2]) as RelaySpec;
const { ports } = await inspectHost({
  wan: spec.wan,
  lan: spec.lan,
  services: [{ vips: spec.vips.map(({ ip }) => ip), lips: spec.lips.map(({ ip }) => ip), rips: spec.rips }],
});
const counters = new Float64Array(ioRows(ports.length) * IO_COUNTERS.length);
const relayed = ports.map(() => 0);
let verified = 0;
let ahead = 0;
/** Where the packets stand that were announced. */
const announced: number[] = [];
let isFetched = false;
const failures: string[] = [];
const captured: string[] = [];
/** By the key of the old destination: the new source and destination, one after the other. */
const rewrite = new Map(
  Object.entries(spec.rewrite).map(([old, { src, dst, spread = 1 }]) => [
    keyOf(bytesOf(old)),
    { addresses: Buffer.concat([bytesOf(src), bytesOf(dst)]), spread, count: 0 },
  ]),
);
const failAt = spec.failAt === undefined ? undefined : keyOf(bytesOf(spec.failAt));

const guard = await installGuard(spec, (message) => failures.push(message));
// The tests count datagrams; ports where nobody listens any more would add errors about them.
const WITHOUT_ERRORS = 'not icmp and not icmp6';
const filters = ports.map((port) => {
  return compileFilter(port, `${captureFilter(spec.vips, spec.lips)} and ${WITHOUT_ERRORS}`);
});
const rings = spec.ring === undefined ? undefined : openRings(spec.ring);
const options: Omit<IoOptions, 'hops'> = {
  ports,
  onPacket,
  counters: disturbed(),
  onFailure: (message) => failures.push(message),
  onSettled: () => {},
  lookAhead: {
    begin: () => {
      announced.length = 0;
      isFetched = false;
      return true;
    },
    see: (_, off) => announced.push(off),
    fetch: () => {
      isFetched = true;
    },
  },
  nowMs: () => performance.now() | 0,
  others: [],
  messagesFd: -1,
};
const ringOptions = {
  known: rings?.known,
  busyPoll: spec.busyPoll ?? false,
  filters: undefined,
};
const open = (): PacketIo => {
  const onIpLayer = (message: string) => failures.push(message);
  const all = { ...options, hops: new NextHops({ nowMs: options.nowMs(), onIpLayer }) };
  return rings === undefined
    ? openPcapIo({ ...all, filters, bufferSize: 64 << 20 })
    : openRingIo({ ...all, ...ringOptions }, rings.sockets);
};
rings?.start();
if (spec.succeedsAt !== undefined) await leaveBegun(new PacketRing(rings!.sockets[0]), spec.succeedsAt);
let io = open();
if (spec.succeeds) {
  process.on('uncaughtException', (error) => {
    failures.push(error.message);
    io.close();
    io = open();
  });
}

/** Of one worker: steered with rings for known sources, else filtered. */
function openRings(bufferSize: number) {
  if (!spec.known) {
    const { sockets } = openFilteredRings({ ports, bufferSize });
    return { sockets, start: () => applyFilters(sockets, filters), known: undefined };
  }
  const known = knownSpec(1024);
  const { programs, knownFd, change } = openKernelSteering(ports.length, 1, randomSteeringKey(), known);
  change(spec);
  const { sockets, start } = openSteeredRings({ ports, bufferSize, workers: 1, programs });
  for (const [index, { fd }] of sockets[0].entries())
    attachFilter(fd, compileFilter(ports[index % ports.length], WITHOUT_ERRORS));
  return { sockets: sockets[0], start, known: new KnownSources(known, knownFd) };
}

async function leaveBegun({ bytes, frameBytes }: PacketRing, packets: number): Promise<void> {
  console.log(JSON.stringify({ waiting: packets }));
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const lastWord = ((packets - 1) * frameBytes) / 4;
  while ((Atomics.load(words, lastWord) & RING_STATUS.user) === 0) await sleep(5);
  words[0] |= BEGUN;
}

function onPacket(
  frame: Frame,
  off: number,
  end: number,
  portIndex: number,
  _nowMs: number,
  _isMerged: boolean,
  isVerified: boolean,
): boolean {
  if (isVerified) verified++;
  if (isFetched && announced[0] === off) {
    announced.shift();
    ahead++;
  }
  const { view, bytes } = frame;
  if (captured.length < 64) captured.push(Buffer.from(bytes.subarray(off, end)).toString('hex'));
  burn(spec.burdenUs ?? 0);
  const isIpv6 = view.getUint8(off) >>> 4 === 6;
  const dst = isIpv6 ? view.getInt32(off + 24) ^ view.getInt32(off + 36) : view.getInt32(off + 16);
  if (dst === failAt) throw new Error('failed on purpose');
  const next = rewrite.get(dst);
  if (next === undefined) return false;
  bytes.set(next.addresses, off + (isIpv6 ? 8 : 12));
  bytes[off + (isIpv6 ? 39 : 19)] += next.count++ % next.spread;
  const udpOff = off + (isIpv6 ? 40 : (view.getUint8(off) & 15) * 4);
  view.setUint16(udpOff + 6, 0);
  const len = isIpv6 ? 40 + view.getUint16(off + 4) : view.getUint16(off + 2);
  if (isIpv6) view.setUint16(udpOff + 6, checksum6(view, off, off + len) || 0xffff);
  else fillHeaderChecksum(view, off, udpOff);
  const isSent = io.send(frame, off, len) !== false;
  if (isSent) relayed[portIndex]++;
  return isSent;
}

function fillHeaderChecksum(view: DataView, off: number, end: number): void {
  view.setUint16(off + 10, 0);
  view.setUint16(off + 10, onesComplement(view, off, end, 0));
}

/** RFC 8200, 8.1, of a packet without extension headers. */
function checksum6(view: DataView, off: number, end: number): number {
  return onesComplement(view, off + 8, end, 17 + (end - off - 40));
}

function onesComplement(view: DataView, off: number, end: number, start: number): number {
  let sum = start;
  for (let at = off; at < end; at += 2) sum += at + 1 < end ? view.getUint16(at) : view.getUint8(at) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

let ticks = 0;
let longestTickMs = 0;
let lastTick = performance.now();
setInterval(() => {
  const now = performance.now();
  ticks++;
  longestTickMs = Math.max(longestTickMs, now - lastTick);
  lastTick = now;
  io.poll();
}, 10);

createInterface({ input: process.stdin })
  .on('line', () => {
    io.poll();
    const report: RelayReport = {
      counters: Array.from({ length: ioRows(ports.length) }, (_, row) => countersOf(row)),
      ports,
      ticks,
      longestTickMs,
      cpuMs: (process.cpuUsage().user + process.cpuUsage().system) / 1000,
      relayed,
      verified,
      ahead,
      failures,
      captured,
    };
    console.log(JSON.stringify({ report }));
    longestTickMs = 0;
  })
  .on('close', async () => {
    io.close();
    await guard.remove();
    process.exit(0);
  });
console.log(JSON.stringify({ ready: ports }));

function countersOf(row: number): Record<IoCounterName, number> {
  const entries = IO_COUNTERS.map((name) => [name, counters[row * IO_COUNTERS.length + IO_COLUMN[name]]]);
  return Object.fromEntries(entries) as Record<IoCounterName, number>;
}

function disturbed(): Float64Array {
  if (spec.fetchBurdenUs !== undefined) return slowly(counters, spec.fetchBurdenUs);
  return spec.failEvery === undefined ? counters : failing(counters, spec.failEvery);
}

/** The same counters, which fail after they count a received frame: each time `every` more are counted. */
function failing(array: Float64Array, every: number): Float64Array {
  let next = every;
  return new Proxy(array, {
    get: (target, key) => Reflect.get(target, key, target),
    set(target, key, value) {
      Reflect.set(target, key, value, target);
      if (Number(key) !== IO_COLUMN.received || value < next) return true;
      next = value + every;
      throw new Error('failed after counting');
    },
  });
}

/**
 * The same counters, each of whose reads takes its time: fetching a packet is slowed down, without a hook in
 * src.
 */
function slowly(array: Float64Array, burdenUs: number): Float64Array {
  return new Proxy(array, {
    get(target, key) {
      burn(burdenUs);
      return Reflect.get(target, key, target);
    },
  });
}

function burn(us: number) {
  if (us > 0) for (const end = performance.now() + us / 1000; performance.now() < end; );
}

/**
 * A number that is another one for each address of a test: an IPv6 address's ends, the whole IPv4 address.
 */
function keyOf(address: Buffer): number {
  return address.length === 4 ? address.readInt32BE(0) : address.readInt32BE(0) ^ address.readInt32BE(12);
}

/** The bytes of an address: dotted decimal, or groups around one `::`. */
function bytesOf(ip: string): Buffer {
  if (!ip.includes(':')) return Buffer.from(ip.split('.').map(Number));
  const [head = [], tail = []] = ip.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = new Array<string>(8 - head.length - tail.length).fill('0');
  return Buffer.from([...head, ...zeros, ...tail].map((group) => group.padStart(4, '0')).join(''), 'hex');
}
