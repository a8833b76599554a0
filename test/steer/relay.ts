// A relay between a client and a server in namespaces, run by relay-program.ts, and how to drive it: for the
// tests of each packet I/O.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { IoCounterName } from '../../src/io/packet-io.ts';
import { startEndpoint } from '../host/endpoint.ts';
import type { ReceivedDatagram } from '../host/endpoint-program.ts';
import type { FloodSpec } from '../io/flood-program.ts';
import { type Cleanup, type Program, sh, startProgram, threeInARow } from '../io/namespaces.ts';
import type { RelayReport, RelaySpec } from './relay-program.ts';

export const [CIP, VIP, LIP, RIP] = ['10.1.0.2', '10.1.0.1', '10.2.0.1', '10.2.0.2'] as const;
export const VPORT = 6000;
export const TWO_ARM: RelaySpec = {
  vips: [{ ip: VIP, port: VPORT }],
  lips: [{ ip: LIP, first: 1024, last: 65535 }],
  rips: [RIP],
  rewrite: { [VIP]: { src: LIP, dst: RIP }, [LIP]: { src: VIP, dst: CIP } },
};

export const RING_BYTES = 4 << 20;
/** As few frames as a ring can have here: 512. */
export const SMALL_RING_BYTES = 1 << 20;
export const FRAMES_OF_SMALL_RING = 512;
export const [CIP6, VIP6, LIP6, RIP6] = ['fd00:1::2', 'fd00:1::1', 'fd00:2::1', 'fd00:2::2'] as const;

export const RING: RelaySpec = { ...TWO_ARM, ring: RING_BYTES };
export const BOTH_FAMILIES: RelaySpec = {
  ...RING,
  vips: [...RING.vips, { ip: VIP6, port: VPORT }],
  lips: [...RING.lips, { ip: LIP6, first: 1024, last: 65535 }],
  rips: [RIP, RIP6],
  rewrite: { ...RING.rewrite, [VIP6]: { src: LIP6, dst: RIP6 }, [LIP6]: { src: VIP6, dst: CIP6 } },
};

export async function startRelay(t: Cleanup, ns: string, spec: RelaySpec): Promise<Program> {
  const relay = startProgram(t, ns, 'steer/relay-program.ts', spec);
  await relay.next('ready');
  return relay;
}

interface Row {
  client: string;
  lb: string;
  server: string;
}

interface Walk extends Row {
  relay: Program;
  endpoint: Program;
}

/** threeInARow, whose links carry packets of this length. */
export function rowOfMtu(t: Cleanup, mtu: number): Row {
  const row = threeInARow(t);
  for (const [ns, device] of [
    [row.client, 'c0'],
    [row.lb, 'wan0'],
    [row.lb, 'lan0'],
    [row.server, 's0'],
  ])
    sh(`ip -n ${ns} link set ${device} mtu ${mtu}`);
  return row;
}

/** The relay between an echo server and a client that can be asked. */
export async function startWalk(t: Cleanup, spec: RelaySpec = RING, mtu = 1500): Promise<Walk> {
  const row = rowOfMtu(t, mtu);
  const relay = await startRelay(t, row.lb, spec);
  await startEndpoint(t, row.server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, row.client, { ip: CIP });
  return { ...row, relay, endpoint };
}

export async function report(relay: Program): Promise<RelayReport> {
  relay.write({});
  return relay.next<RelayReport>('report');
}

/** Asks for reports until one is as wanted; fails when none is within two minutes. */
export async function reportOnce(
  relay: Program,
  isWanted: (r: RelayReport) => boolean,
): Promise<RelayReport> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    const latest = await report(relay);
    if (isWanted(latest)) return latest;
    assert.ok(
      performance.now() < deadline,
      `still ${JSON.stringify({ ...latest, captured: latest.captured.length })}`,
    );
    await sleep(20);
  }
}

export async function exchange(client: Program, vip: string, hex: string): Promise<ReceivedDatagram | null> {
  client.write({ send: { hex, ip: vip, port: VPORT } });
  await client.next('answer');
  client.write({ receive: { timeoutMs: 60_000 } });
  return client.next<ReceivedDatagram | null>('answer');
}

export async function flood(t: Cleanup, ns: string, spec: FloodSpec): Promise<number> {
  const program = startProgram(t, ns, 'io/flood-program.ts', spec);
  const sent = await program.next<number>('sent');
  await program.stop();
  return sent;
}

export function pattern(byteLength: number): string {
  return Buffer.from(
    Array.from({ length: byteLength }, (_, index) => (index * 31 + byteLength) & 255),
  ).toString('hex');
}

/** Rows of the counters: of the ring of known sources, and of both. */
export const WAN_KNOWN = 3;
export const ofWan = ({ counters }: Pick<RelayReport, 'counters'>, name: IoCounterName): number =>
  counters[0][name] + counters[WAN_KNOWN][name];

/** Each payload comes back. */
export async function assertPass(endpoint: Program, vip: string, sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    const { hex } = (await exchange(endpoint, vip, pattern(size))) ?? { hex: 'nothing' };
    assert.ok(hex === pattern(size), `${size} bytes come back as they were: ${hex.slice(0, 100)}`);
  }
}
