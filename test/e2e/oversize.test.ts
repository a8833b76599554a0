// Packets longer than the MTU of the interface that takes them in: ends of a link may differ in it, and a
// bridge or an overlay may have a smaller one. What the host's own sockets would get, real servers get.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LB_WAN_IPS, type Topology } from '../../src/lab/topology.ts';
import { type IoUnderTest, type Rig, startPython, startRig } from './harness.ts';
import { PAIRS } from './pairs.ts';
import { endAll, joined, sumOf } from './tally.ts';

const [LINK_MTU, BRIDGE_MTU] = [9000, 1400];
/** Whole on the link, each in one packet; then one in fragments of the link's length. */
const LARGE = [1500, 1900, 2100, 3000, 4000, 6000, 8000, 8900];
const IN_FRAGMENTS = 20_000;
const OTHER_PORT = 6999;

/** Clients reach the load balancer over a link of LINK_MTU, and it has them on a bridge of BRIDGE_MTU. */
function smallBridge(topology: Topology): void {
  const on = (role: 'lb' | 'client', ...lines: string[]) => {
    for (const line of lines) topology.exec(role, ['ip', ...line.split(' ')]);
  };
  const { 4: ipv4, 6: ipv6 } = LB_WAN_IPS;
  on('client', `link set eth0 mtu ${LINK_MTU}`);
  on(
    'lb',
    'link set wan0 down',
    'address flush dev wan0',
    'link set wan0 name wan0p',
    'link add wan0 type bridge stp_state 0 forward_delay 0',
    `link set wan0p mtu ${LINK_MTU}`,
    'link set wan0p master wan0',
    `link set wan0 mtu ${BRIDGE_MTU}`,
    'link set wan0p up',
    'link set wan0 up',
    `address add ${ipv4}/24 dev wan0`,
    `address add ${ipv6}/64 dev wan0 nodad`,
  );
  assert.match(topology.exec('lb', ['ip', 'link', 'show', 'wan0']), new RegExp(`mtu ${BRIDGE_MTU} `));
}

async function start(io: IoUnderTest, t: Parameters<typeof startRig>[0], pair: (typeof PAIRS)[4 | 6]) {
  const rig = await startRig(t, {
    io,
    pair,
    clients: 1,
    servers: 1,
    lanMtu: 9100,
    uoa: { dialect: pair.dialect },
    beforeProxy: smallBridge,
  });
  return { rig, servers: await rig.startServers() };
}

/** What a plain server on the load balancer gets of the same. */
async function plainServerGets(rig: Rig, sizes: readonly number[]): Promise<number> {
  const ip = LB_WAN_IPS[rig.pair.client];
  const plain = startPython(rig.topology, 'lb', 'server.py', { ip, port: OTHER_PORT });
  await plain.ready;
  await rig.probe('exchange', { to: [ip, OTHER_PORT], sizes });
  return Number((await plain.end()).received);
}

const IOS: (IoUnderTest & { mode: 'ring' | 'pcap' })[] = [{ mode: 'ring', workers: 1 }, { mode: 'pcap' }];
for (const io of IOS) {
  for (const pair of [PAIRS[4], PAIRS[6]]) {
    test(`${io.mode}, ${pair.name}: packets and fragments longer than the interface’s own MTU are served`, async (t) => {
      const { rig, servers } = await start(io, t, pair);
      const sizes = [...LARGE, IN_FRAGMENTS];
      assert.equal(await plainServerGets(rig, sizes), sizes.length, 'the host itself takes them in');
      // Whether the answer fits its way back is not the subject.
      await rig.probe('exchange', { sizes });
      const ended = await endAll(servers);
      assert.equal(sumOf(ended, 'received'), sizes.length);
      const received = joined(ended, 'sizes') as Record<string, number>;
      assert.deepEqual(
        Object.keys(received)
          .map(Number)
          .sort((a, b) => a - b),
        sizes,
      );
      assert.equal(sumOf(ended, 'wrong'), 0);
      assert.equal(await rig.metric('drops_total', { reason: 'super_packet' }), 0);
    });

    test(`${io.mode}, ${pair.name}: a super packet to an interface with a small MTU is taken apart`, async (t) => {
      const { rig, servers } = await start(io, t, pair);
      const { replies } = await rig.probe('segment', { size: 1000, segments: 9 });
      assert.deepEqual(replies, Array(9).fill(1000));
      assert.equal(sumOf(await endAll(servers), 'received'), 9);
    });
  }
}
