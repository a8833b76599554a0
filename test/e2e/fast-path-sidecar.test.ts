// A real server on the proxy's own host, whose packets go by the loopback interface: its sessions are hot at
// tc, over IPv4 where sysctls of lo let the kernel take packets from its own addresses there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LB_WAN_IPS, type Topology } from '../../src/lab/topology.ts';
import { until } from './harness.ts';
import { assertAllRight, Client, goingFast, hotCount, startHot } from './hot.ts';
import { PAIRS } from './pairs.ts';

const COUNT = 30;
const MOST = 48;
const LIP_6 = 'fd00:3::2';
const ALLOWED = ['accept_local', 'route_localnet'];

const setOnLo = (topology: Topology, names: readonly string[], value: number) =>
  topology.exec('lb', ['sysctl', '-qw', ...names.map((name) => `net.ipv4.conf.lo.${name}=${value}`)]);

const cases = [
  { pair: PAIRS[4], ip: '127.0.0.1', lip: '127.0.0.2', names: ALLOWED },
  { pair: PAIRS[4], ip: LB_WAN_IPS[4], lip: '10.3.0.1', names: ['accept_local'] },
  { pair: PAIRS[6], ip: '::1', lip: LIP_6, names: [] },
  { pair: PAIRS[6], ip: LB_WAN_IPS[6], lip: LIP_6, names: [] },
];

async function start(t: Parameters<typeof startHot>[0], { pair, ip, lip, names }: (typeof cases)[number]) {
  return await startHot(t, 'tc', {
    kind: 'sidecar',
    pair,
    realServers: [{ ip, port: 7000 }],
    lips: [lip],
    beforeProxy: (topology) => {
      const host = lip.includes(':') ? [`${lip}/128`, 'nodad'] : [`${lip}/32`];
      if (!lip.startsWith('127.')) topology.exec('lb', ['ip', 'address', 'add', ...host, 'dev', 'lo']);
      if (names.length > 0) setOnLo(topology, names, 1);
    },
  });
}

for (const one of cases) {
  test(`tc, ${one.pair.name}: a server on ${one.ip}, LIP ${one.lip}: datagrams and super packets pass`, async (t) => {
    const { rig, servers } = await start(t, one);
    const client = await Client.start(rig);
    await client.heat(rig);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    await goingFast(rig, MOST, () => client.exchange(COUNT, { size: one.pair.full }));
    await goingFast(rig, 50, () => client.segment(5, 16, 1200));
    await assertAllRight(rig, servers, client);
  });
}

test('tc, IPv4: without the sysctls sessions go by the datapath, also when these are taken back', async (t) => {
  const [one] = cases;
  const { rig, servers } = await start(t, { ...one!, names: [] });
  const client = await Client.start(rig);
  await client.exchange(100);
  assert.equal(await hotCount(rig), 0);
  setOnLo(rig.topology, ['accept_local'], 1);
  await client.exchange(100, { pauseMs: 15 });
  assert.equal(await hotCount(rig), 0, '127/8 takes both');
  setOnLo(rig.topology, ['route_localnet'], 1);
  await client.heat(rig);
  setOnLo(rig.topology, ['accept_local'], 0);
  await until('it is hot no more', async () => (await hotCount(rig)) === 0);
  await client.exchange(COUNT);
  await assertAllRight(rig, servers, client);
});
