// The fast path's programs over maps of their own, for BPF_PROG_TEST_RUN: sessions between ends that are said
// as text, frames, and what becomes of them.
import { Activity } from '../../src/fast/activity.ts';
import { type FastPathKind, loadFastPath } from '../../src/fast/attachment.ts';
import { Hops, type Way } from '../../src/fast/hops.ts';
import { HotEntries } from '../../src/fast/hot-entries.ts';
import { type Ends, HotRecords, INBOUND, OUTBOUND } from '../../src/fast/hot-records.ts';
import { type FastPathReason, macBytes, nowTick } from '../../src/fast/layout.ts';
import { openMaps } from '../../src/fast/maps.ts';
import { readPassed, readUncounted } from '../../src/fast/passed.ts';
import { PortRows } from '../../src/fast/port-rows.ts';
import { testRun, updateMap } from '../../src/sys/libbpf.ts';
import { parseAddressInto } from '../../src/wire/address.ts';
import type { Cleanup } from '../io/namespaces.ts';
import { concat, unhex } from '../packets/bytes.ts';
import type { EitherFields } from '../packets/uoa-builder.ts';

export const KINDS: readonly FastPathKind[] = ['xdp', 'tc'];
/** The interface that packets come in by; it needs not be there. */
export const PORT = 99;
/** One that there is, and XDP may redirect to. */
export const LOOPBACK = 1;
export const ROW = 1;
export const PORT_MAC = '02:00:00:00:00:01';
export const TO_SERVER = 0;
export const TO_CLIENT = 1;
export const MTU = 1500;
export const DIRECTIONS = [INBOUND, OUTBOUND] as const;
/** The destination and source of frames by each hop. */
const WAYS = [
  ['02:00:00:00:00:22', '02:00:00:00:00:02'],
  ['02:00:00:00:00:33', '02:00:00:00:00:03'],
];

/** Ends of a packet. */
export interface Way4Or6 {
  src: string;
  sport: number;
  dst: string;
  dport: number;
}

/** What a session's packets of both directions come and leave with. */
export interface TestSession {
  from: readonly [Way4Or6, Way4Or6];
  to: readonly [Way4Or6, Way4Or6];
}

export function sessionOf(
  client: [string, number],
  vip: [string, number],
  lip: [string, number],
  rip: [string, number],
): TestSession {
  const way = ([src, sport]: [string, number], [dst, dport]: [string, number]) => ({
    src,
    sport,
    dst,
    dport,
  });
  return { from: [way(client, vip), way(rip, lip)], to: [way(lip, rip), way(vip, client)] };
}

export const SESSION4 = sessionOf(
  ['192.0.2.7', 4000],
  ['10.1.0.100', 6000],
  ['10.2.0.200', 5000],
  ['10.2.0.2', 7000],
);
export const SESSION6 = sessionOf(
  ['2001:db8::7', 4000],
  ['fd00:1::100', 6000],
  ['fd00:2::200', 5000],
  ['fd00:2::2', 7000],
);

export const endsOf = ({ src, sport, dst, dport }: Way4Or6): Ends => {
  const addresses = new Int32Array(8);
  parseAddressInto(addresses, 0, src);
  parseAddressInto(addresses, 4, dst);
  return { addresses, sport, dport };
};

export const withEnds = (ends: Way4Or6, fields: Partial<EitherFields>): EitherFields =>
  ({ ...ends, ...fields }) as EitherFields;

const typeOf = (packet: Uint8Array) => ((packet[0] ?? 0) >> 4 === 6 ? '86dd' : '0800');
export const frameOf = (packet: Uint8Array, destination = PORT_MAC, type = typeOf(packet)): Uint8Array =>
  concat(macBytes(destination), unhex(`02000000eeee ${type}`), packet);

/** The frame that a packet leaves as in a direction. */
export const leavingFrame = (direction: number, packet: Uint8Array): Uint8Array =>
  concat(...WAYS[direction].map(macBytes), unhex(typeOf(packet)), packet);

export interface Ran {
  /** What the program did; the reason where it passed the packet on. */
  did: 'redirect' | 'transmit' | FastPathReason;
  frame: Buffer;
}

const VERDICTS: Record<FastPathKind, Record<number, 'redirect' | 'transmit' | 'pass'>> = {
  xdp: { 2: 'pass', 3: 'transmit', 4: 'redirect' },
  tc: { 4294967295: 'pass', 7: 'redirect' },
};
/** struct __sk_buff, and where it has the size of segments. */
const CONTEXT_LEN = 192;
const GSO_SIZE = 176;

/** A way with addresses as text. */
export const wayOf = (interfaceIndex: number, mtu: number, destination: string, source: string): Way => ({
  interfaceIndex,
  mtu,
  destination: macBytes(destination),
  source: macBytes(source),
});

export type Rig = ReturnType<typeof openRig>;

/** Programs that forward, with both hops, and no session. */
export function openRig(t: Cleanup, sessions = 16) {
  const maps = openMaps({ sessions, hops: 4, ports: 2 });
  t.after(() => maps.close());
  const { fds } = maps;
  const loaded = loadFastPath(maps, ROW);
  t.after(() => loaded.close());
  const records = new HotRecords(fds, { sessions });
  const hot = new HotEntries(records, fds);
  const activity = new Activity(records);
  const hops = new Hops(fds.hops, 4);
  const ports = new PortRows(fds.control, 2);
  const now = nowTick();
  /** Whom the interface faces. */
  let facesClients = true;
  const face = (clients: boolean, realServers: boolean) => {
    facesClients = clients;
    const mac = macBytes(PORT_MAC);
    ports.set(ROW, { interfaceIndex: PORT, mac, facesClients: clients, facesRealServers: realServers });
    ports.switchOn(ROW, now + 10_000);
  };
  face(true, true);
  const way = (hop: number, change: Partial<Way> = {}): Way => {
    const [destination, source] = WAYS[hop];
    return { ...wayOf(LOOPBACK, MTU, destination, source), ...change };
  };
  for (const hop of [TO_SERVER, TO_CLIENT]) {
    hops.set(hop, way(hop));
    hops.confirmAt(hop, now + 10_000);
  }
  const device = Buffer.alloc(4);
  device.writeUInt32LE(LOOPBACK);
  updateMap(fds.ports, device, device);

  const passed = () => readPassed(fds.passed);
  let counts = passed();
  return {
    maps,
    records,
    hot,
    activity,
    hops,
    ports,
    face,
    way,
    passed,
    uncounted: () => readUncounted(fds.passed),
    get facesClients() {
      return facesClients;
    },
    /** Takes all entries out. */
    clear(): void {
      for (let session = 0; session < sessions; session++) hot.remove(session);
    },
    /** Makes a session hot in this slot, with its last packets so many ticks ago. */
    add({ from }: TestSession, slot = 0, { idleMs = 0, silence = 0 } = {}): void {
      hot.remove(slot);
      activity.start(slot, nowTick() - silence);
      const hops = [TO_SERVER, TO_CLIENT] as const;
      if (!hot.put(slot, endsOf(from[INBOUND]), endsOf(from[OUTBOUND]), hops, idleMs))
        throw new Error(`no room for session ${slot}`);
    },
    /**
     * What a program does with a frame, and that it counts it for that. `gsoSize`: of a super packet, at tc.
     */
    run(kind: FastPathKind, data: Uint8Array, { gsoSize = 0, flags = 0 } = {}): Ran {
      const before = counts;
      const context = Buffer.alloc(CONTEXT_LEN);
      context.writeUInt32LE(gsoSize, GSO_SIZE);
      const run = { data, room: data.length, flags, ...(gsoSize > 0 ? { context } : {}) };
      const { result, data: frame } = testRun(loaded.programs[kind], run);
      const after = passed();
      counts = after;
      const counted = (Object.keys(after) as FastPathReason[]).flatMap((reason) =>
        new Array<FastPathReason>(after[reason] - before[reason]).fill(reason),
      );
      const verdict = VERDICTS[kind][result];
      if (verdict === undefined) throw new Error(`verdict ${result}`);
      if (counted.length !== (verdict === 'pass' ? 1 : 0)) throw new Error(`${verdict}, counted: ${counted}`);
      return { did: verdict === 'pass' ? counted[0]! : verdict, frame };
    },
  };
}
