// A flood of spoofed datagrams that no real server answers, from a process that makes it (flood-source.ts).
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nodeArgv } from '../../src/lab/programs.ts';
import { type Role, type Topology, VIPS, VPORT } from '../../src/lab/topology.ts';
import type { FloodOptions } from './flood-source.ts';
import type { Answer, Rig } from './harness.ts';

/** For prepareFlood: as fast as this machine makes it. */
export const HIGHEST_RATE = 0;
/** What the real servers' host answers is not of this length. */
const FLOOD_PAYLOAD = 24;
const UDP_HEADER = 8;
const ROLES: readonly Role[] = ['client', 'lb', 'rs'];

export function macOf(topology: Topology, role: Role, device: string): string {
  const [link] = JSON.parse(topology.exec(role, ['ip', '-j', 'link', 'show', device])) as [
    { address: string },
  ];
  return link.address;
}

/** The real servers' host takes the flood off before a socket sees it: no answer, no error. */
export const ignoreFlood = (topology: Topology): unknown =>
  topology.exec(
    'rs',
    ['nft', '-f', '-'],
    `table ip flood {
      chain in {
        type filter hook prerouting priority raw
        udp length ${UDP_HEADER + FLOOD_PAYLOAD} counter drop
      }
    }`,
  );

/** Towards the VIP over IPv4, so many per second; it begins when the result is called. */
export async function prepareFlood(
  { topology }: Rig,
  rate: number,
  seconds: number,
): Promise<() => Promise<Answer>> {
  const options: FloodOptions = {
    fields: {
      srcMac: macOf(topology, 'client', 'eth0'),
      dstMac: macOf(topology, 'lb', topology.wan),
      dst: VIPS[4],
      dport: VPORT,
      payloadLen: FLOOD_PAYLOAD,
    },
    namespace: topology.namespaces.lb,
    device: topology.wan,
    rate,
    seconds,
  };
  const program = fileURLToPath(new URL('./flood-source.ts', import.meta.url));
  const child = topology.spawn('lb', nodeArgv(program, JSON.stringify(options)), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async (): Promise<Answer> => {
    const { value, done } = await lines.next();
    assert.ok(!done, 'the source of the flood goes on');
    return JSON.parse(value) as Answer;
  };
  assert.equal((await next()).event, 'ready');
  return async () => {
    child.stdin!.write('go\n');
    return await next();
  };
}

/** What a link that was full lost of any packets, or did not take. */
export function lostByLinks(topology: Topology): number {
  return linksOf(topology).reduce((sum, { rx, tx }) => sum + rx.dropped + tx.dropped, 0);
}

/** The same without what a receiver had no use for, of what these sent. */
export function lostInSending(topology: Topology, by: readonly Role[] = ROLES): number {
  return linksOf(topology, by).reduce((sum, { tx }) => sum + tx.dropped, 0);
}

function linksOf(
  topology: Topology,
  of: readonly Role[] = ROLES,
): Record<'rx' | 'tx', { dropped: number }>[] {
  const ends = [
    ['client', 'eth0'],
    ['lb', topology.wan],
    ['lb', topology.lan],
    ['rs', 'eth0'],
  ] as const;
  return ends
    .filter(([role]) => of.includes(role))
    .map(([role, device]) => {
      const shown = topology.exec(role, ['ip', '-j', '-s', 'link', 'show', device]);
      const [{ stats64 }] = JSON.parse(shown) as [{ stats64: Record<'rx' | 'tx', { dropped: number }> }];
      return stats64;
    });
}
