// A relay between a client and a server in namespaces, run by relay-program.ts, and how to drive it: for the tests of each
// packet I/O.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReceivedDatagram } from './endpoint-program.ts';
import type { FloodSpec } from './flood-program.ts';
import { type Cleanup, type Program, startProgram } from './namespaces.ts';
import type { RelayReport, RelaySpec } from './relay-program.ts';

export const [CIP, VIP, LIP, RIP] = ['10.1.0.2', '10.1.0.1', '10.2.0.1', '10.2.0.2'] as const;
export const VPORT = 6000;
export const TWO_ARM: RelaySpec = {
  vips: [{ ip: VIP, port: VPORT }],
  lips: [{ ip: LIP, first: 1024, last: 65535 }],
  rips: [RIP],
  rewrite: { [VIP]: { src: LIP, dst: RIP }, [LIP]: { src: VIP, dst: CIP } },
};

export async function startRelay(t: Cleanup, ns: string, spec: RelaySpec): Promise<Program> {
  const relay = startProgram(t, ns, './relay-program.ts', spec);
  await relay.next('ready');
  return relay;
}

export async function report(relay: Program): Promise<RelayReport> {
  relay.write({});
  return relay.next<RelayReport>('report');
}

/** Asks for reports until one is as wanted; fails when none is within half a minute. */
export async function reportOnce(
  relay: Program,
  isWanted: (r: RelayReport) => boolean,
): Promise<RelayReport> {
  const deadline = performance.now() + 30_000;
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
  client.write({ receive: { timeoutMs: 5_000 } });
  return client.next<ReceivedDatagram | null>('answer');
}

export async function flood(t: Cleanup, ns: string, spec: FloodSpec): Promise<number> {
  const program = startProgram(t, ns, './flood-program.ts', spec);
  const sent = await program.next<number>('sent');
  await program.stop();
  return sent;
}

export function pattern(byteLength: number): string {
  return Buffer.from(
    Array.from({ length: byteLength }, (_, index) => (index * 31 + byteLength) & 255),
  ).toString('hex');
}
