// Which port packets to a destination leave by and how large they may be, beside what `ip route get` says of
// the same.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { sh, startProgram } from '../io/namespaces.ts';
import { icmp6 } from '../packets/builder6.ts';
import { forgePathMtu } from './forged-mtu.ts';
import { type Finder, routedHost, startFinder } from './next-hop.ts';

const NETWORKS = 3;

interface Host {
  ns: string;
  peer: string;
  run(command: string): string;
  finder: Finder;
}

async function host(t: TestContext, options: object = {}): Promise<Host> {
  const { ns, peer } = routedHost(t, NETWORKS);
  const run = (command: string) => sh(`ip -n ${ns} ${command}`);
  const finder = await startFinder(t, ns, { ports: ['e1', 'e2'], ...options });
  return { ns, peer, run, finder };
}

test('the MTU of a route counts before that of its interface, in both families, and never more than the interface carries', async (t) => {
  const { run, finder } = await host(t);
  run('link set e2 mtu 1400');
  run('route add 10.40.0.0/16 via 10.1.0.2');
  run('route add 10.41.0.0/16 via 10.1.0.2 mtu 1300');
  run('route add 10.42.0.0/16 via 10.2.0.2 mtu 9000');
  run('-6 route add fd40::/16 via fd00:2::2');
  run('-6 route add fd41::/16 via fd00:1::2 mtu 1320');
  const all = ['10.40.0.9', '10.41.0.9', '10.42.0.9', '10.3.0.9', 'fd40::9', 'fd41::9', '10.2.0.9'];
  assert.deepEqual(await finder.paths(...all), {
    paths: ['e1 1500', 'e1 1300', 'e2 1400', '1500', 'e2 1400', 'e1 1320', 'e2 1400'],
    leastMtu: 1300,
  });
});

test('what a route sends over a bridge leaves by the port that is captured, if it is one', async (t) => {
  const { run, finder } = await host(t);
  run('link add br9 type bridge');
  run('link set e1 master br9');
  run('address add 10.99.0.1/24 dev br9');
  run('link set br9 up');
  const look = async () => (await finder.paths('10.99.0.9')).paths;
  assert.deepEqual(await look(), ['e1 1500']);
  run('link set e2 master br9');
  assert.deepEqual(await look(), ['1500'], 'that of two it cannot tell');
  run('link set e1 nomaster');
  assert.deepEqual(await look(), ['e2 1500']);
});

test('a route that changes its MTU, and an interface that does, are followed', async (t) => {
  const { run, finder } = await host(t);
  run('route add 10.40.0.0/16 via 10.1.0.2');
  run('-6 route add fd40::/16 via fd00:1::2');
  run('-6 route add fd41::/16 via fd00:2::2 mtu 1450');
  const look = async () => (await finder.paths('10.40.0.9', 'fd40::9', 'fd41::9')).paths;
  assert.deepEqual(await look(), ['e1 1500', 'e1 1500', 'e2 1450']);
  run('route change 10.40.0.0/16 via 10.1.0.2 mtu 1400');
  run('-6 route change fd40::/16 via fd00:1::2 mtu 1380');
  assert.deepEqual(await look(), ['e1 1400', 'e1 1380', 'e2 1450']);
  run('route change 10.40.0.0/16 via 10.1.0.2');
  run('-6 route change fd40::/16 via fd00:1::2');
  run('link set e1 mtu 1350');
  // The kernel lowers the route's own MTU with it, and does not say so.
  run('link set e2 mtu 1330');
  assert.deepEqual(await look(), ['e1 1350', 'e1 1350', 'e2 1330']);
  run('link set e1 mtu 1500');
  run('link set e2 mtu 1500');
  assert.deepEqual(await look(), ['e1 1500', 'e1 1500', 'e2 1500']);
});

test('the MTU of IPv6 that a router announced counts for IPv6 only', async (t) => {
  const { ns, run, finder } = await host(t);
  sh(`ip netns exec ${ns} sysctl -qw net.ipv6.conf.e1.mtu=1400`);
  run('link set e1 txqueuelen 900'); // the sysctl is set without a word: any other change tells of it
  assert.deepEqual((await finder.paths('10.1.0.9', 'fd00:1::9')).paths, ['e1 1500', 'e1 1400']);
});

test('the MTU that a router announces counts at once, and the port of a bridge stays one', async (t) => {
  const { ns, peer, run, finder } = await host(t);
  sh(`ip netns exec ${ns} sysctl -qw net.ipv6.conf.e1.accept_ra=2`);
  run('link add br9 type bridge');
  run('link set e2 master br9');
  run('address add 10.99.0.1/24 dev br9');
  run('link set br9 up');
  const look = async () => (await finder.paths('fd00:1::9', '10.1.0.9', '10.99.0.9')).paths;
  assert.deepEqual(await look(), ['e1 1500', 'e1 1500', 'e2 1500']);
  const advertisement = icmp6({
    ...{ src: 'fe80::99', dst: 'ff02::1', hopLimit: 255, type: 134, code: 0 },
    // Both timers unspecified; the option MTU (RFC 4861, 4.6.4).
    body: Uint8Array.of(...Array(8).fill(0), 5, 1, 0, 0, 0, 0, 1400 >> 8, 1400 & 0xff),
  });
  const frames = [`33330000000102000000009986dd${Buffer.from(advertisement).toString('hex')}`];
  await startProgram(t, peer, 'io/frame-program.ts', { device: 'p1', frames }).next('done');
  const mtu6 = () => sh(`ip netns exec ${ns} sysctl -n net.ipv6.conf.e1.mtu`).trim();
  for (let tries = 0; mtu6() !== '1400'; tries++) {
    assert.ok(tries < 100, 'the kernel takes it in');
    await setTimeout(50);
  }
  assert.deepEqual(await look(), ['e1 1400', 'e1 1500', 'e2 1500']);
});

test('several gateways and rules count, and their changes', async (t) => {
  const { run, finder } = await host(t);
  run('link set e1 mtu 1450');
  run('link set e2 mtu 1450');
  run('route add 10.50.0.0/16 mtu 1300 nexthop via 10.1.0.2 nexthop via 10.2.0.2');
  run('rule add to 10.51.0.0/16 lookup 100');
  run('route add 10.51.0.0/16 via 10.2.0.2 mtu 1310 table 100');
  run('-6 rule add to fd51::/16 lookup 100');
  run('-6 route add fd51::/16 via fd00:2::2 mtu 1320 table 100');
  const look = async () => (await finder.paths('10.51.0.9', 'fd51::9')).paths;
  const { paths, leastMtu } = await finder.paths('10.50.0.9');
  assert.match(paths[0], /^e[12] 1300$/);
  assert.equal(leastMtu, 1300, 'of all tables');
  assert.deepEqual(await look(), ['e2 1310', 'e2 1320']);
  run('route change 10.51.0.0/16 via 10.1.0.2 table 100');
  run('-6 route delete fd51::/16 table 100');
  run('-6 route add unreachable fd51::/16 table 100');
  assert.deepEqual(await look(), ['e1 1450', '0']);
});

test('with more prefixes than are kept it is the same, but no least MTU is known', async (t) => {
  const { run, finder } = await host(t, { maxPrefixes: 4 });
  run('route add 10.40.0.0/16 via 10.1.0.2 mtu 1400');
  run('-6 route add fd40::/16 via fd00:2::2 mtu 1450');
  assert.deepEqual(await finder.paths('10.40.0.9', 'fd40::9', '10.1.0.9', '10.40.0.9'), {
    paths: ['e1 1400', 'e2 1450', 'e1 1500', 'e1 1400'],
    leastMtu: 0,
  });
});

test('what an ICMP error taught the kernel is no MTU of a way', async (t) => {
  const { ns, peer, run, finder } = await host(t);
  run('route add 10.40.0.0/16 via 10.1.0.2 mtu 1400');
  run('-6 route add fd40::/16 via fd00:1::2 mtu 1400');
  run('rule add to 10.40.1.0/24 lookup 100');
  run('route add 10.40.1.0/24 via 10.1.0.2 mtu 1380 table 100');
  const link = { ns: peer, device: 'p1', host: ns, hostDevice: 'e1', mtu: 600 };
  const v4 = { ...link, attacker: '10.1.0.77', own: '10.1.0.1' };
  await forgePathMtu(t, { ...v4, towards: '10.40.0.9' });
  await forgePathMtu(t, { ...v4, towards: '10.40.1.9' });
  await forgePathMtu(t, { ...link, attacker: 'fd00:1::77', own: 'fd00:1::1', towards: 'fd40::9', mtu: 1280 });
  const { paths } = await finder.paths('10.40.0.9', '10.40.1.9', 'fd40::9');
  assert.deepEqual(paths, ['e1 1400', 'e1 1380', 'e1 1400']);
});
