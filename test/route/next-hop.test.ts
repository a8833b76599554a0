// Next hops on a host whose routes, rules, neighbors and interfaces change under them.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { namespace, sh, threeInARow } from '../io/namespaces.ts';
import {
  addAddresses,
  addNeighbor,
  deviceIndex,
  type Finder,
  macOf,
  routedHost,
  startFinder,
  watchIpLayer,
} from './next-hop.ts';

const FAR = '198.51.100.7';
const FAR6 = '2001:db8::7';

/**
 * A host with two interfaces, the neighbors .2 and .3 on each, and its default routes by 10.1.0.2 and
 * fd00:1::2.
 */
function twoArms(t: TestContext): string {
  const { ns } = routedHost(t, 2);
  for (const network of [1, 2]) for (const host of [2, 3]) addNeighbor(ns, network, host);
  sh(`ip -n ${ns} route add default via 10.1.0.2 && ip -n ${ns} -6 route add default via fd00:1::2`);
  return ns;
}

test('a hop is a gateway or the destination itself, with interface, addresses and MTU', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} link set e2 mtu 1400 address 02:aa:bb:cc:dd:ee`);
  addNeighbor(ns, 2, 3); // the kernel forgets neighbors when an interface gets another address
  const finder = await startFinder(t, ns);
  const [far, far6, near, near6] = await finder.find([FAR, FAR6, '10.2.0.3', 'fd00:2::3']);
  assert.equal(far!.device, deviceIndex(ns, 'e1'));
  assert.equal(far!.mtu, 1500);
  assert.equal(far!.dst, macOf(1, 2));
  assert.deepEqual(far6, far);
  const expected = { device: deviceIndex(ns, 'e2'), dst: macOf(2, 3), src: '02:aa:bb:cc:dd:ee', mtu: 1400 };
  assert.deepEqual([near, near6], [expected, expected]);
  sh(`ip -n ${ns} link set e2 mtu 1300 address 02:aa:bb:cc:dd:00`);
  addNeighbor(ns, 2, 3);
  const changed = { ...expected, src: '02:aa:bb:cc:dd:00', mtu: 1300 };
  assert.deepEqual(await finder.find(['10.2.0.3', 'fd00:2::3']), [changed, changed]);
  await finder.program.stop();
});

test('this host, broadcasts, groups and unknown neighbors are left to the IP layer', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} address add 192.0.2.0/24 dev lo && ip -n ${ns} route add local 203.0.113.0/24 dev lo`);
  sh(`ip -n ${ns} route add 203.0.113.128/25 via 10.1.0.2`);
  const finder = await startFinder(t, ns);
  const addresses = [
    ...['10.1.0.1', '10.1.0.255', '255.255.255.255', '127.0.0.9', '224.0.0.5', '192.0.2.77'],
    ...['fd00:1::1', 'fd00:1::', '::1', 'ff02::1', 'fe80::2', '203.0.113.9'],
    ...['10.1.0.77', 'fd00:2::77'],
  ];
  assert.deepEqual(
    await finder.find(addresses),
    addresses.map(() => null),
  );
  await finder.program.stop();
});

test('routes are followed as they come, change and go', async (t) => {
  const ns = twoArms(t);
  const finder = await startFinder(t, ns);
  const targets = [FAR, FAR6] as const;
  assert.deepEqual(await finder.macs(...targets), [macOf(1, 2), macOf(1, 2)]);
  sh(`ip -n ${ns} route replace default via 10.2.0.2 && ip -n ${ns} -6 route replace default via fd00:2::2`);
  assert.deepEqual(await finder.macs(...targets), [macOf(2, 2), macOf(2, 2)]);
  sh(
    `ip -n ${ns} route add 198.51.100.0/24 via 10.1.0.3 && ip -n ${ns} -6 route add 2001:db8::/48 via fd00:1::3`,
  );
  assert.deepEqual(await finder.macs(...targets), [macOf(1, 3), macOf(1, 3)]);
  sh(`ip -n ${ns} route add blackhole ${FAR} && ip -n ${ns} -6 route add unreachable ${FAR6}`);
  assert.deepEqual(await finder.macs(...targets, '198.51.100.8'), ['', '', macOf(1, 3)]);
  sh(`ip -n ${ns} route delete blackhole ${FAR} && ip -n ${ns} -6 route delete unreachable ${FAR6}`);
  assert.deepEqual(await finder.macs(...targets), [macOf(1, 3), macOf(1, 3)]);
  sh(`ip -n ${ns} route delete 198.51.100.0/24 && ip -n ${ns} -6 route delete 2001:db8::/48`);
  assert.deepEqual(await finder.macs(...targets), [macOf(2, 2), macOf(2, 2)]);
  sh(`ip -n ${ns} route delete default && ip -n ${ns} -6 route delete default`);
  assert.deepEqual(await finder.macs(...targets), ['', '']);
  await finder.program.stop();
});

test('of routes to one prefix the lowest metric counts, and of equal ones that which the kernel takes', async (t) => {
  const ns = twoArms(t);
  addOwn(ns);
  const finder = await startFinder(t, ns);
  const both = (what: string, via: string) => {
    sh(`ip -n ${ns} route ${what} 198.51.100.0/24 via 10.${via}`);
    sh(`ip -n ${ns} -6 route ${what} 2001:db8::/32 via fd00:${via.replace(/^(\d)\.0\./, '$1::')}`);
  };
  both('add', '1.0.3 metric 900');
  both('add', '2.0.3 metric 800');
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(2, 3), macOf(2, 3)]);
  both('delete', '2.0.3 metric 800');
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(1, 3), macOf(1, 3)]);
  both('append', '2.0.2 metric 900');
  const taken = [macTaken(ns, FAR, 'from 10.9.0.1'), macTaken(ns, FAR6, 'from fd00:9::1')];
  assert.deepEqual(
    [...(await finder.macsFrom('10.9.0.1', FAR)), ...(await finder.macsFrom('fd00:9::1', FAR6))],
    taken,
  );
  both('delete', '1.0.3 metric 900');
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(2, 2), macOf(2, 2)]);
  await finder.program.stop();
});

/**
 * Addresses of the host that are of no link: of the gateways, too, the kernel prefers one on the link of the
 * source.
 */
function addOwn(ns: string): void {
  sh(`ip -n ${ns} address add 10.9.0.1/32 dev lo && ip -n ${ns} address add fd00:9::1/128 dev lo nodad`);
}

/**
 * The Ethernet address of the gateway that the kernel takes to a destination; they are hosts 2 and 3 of both
 * networks.
 */
function macTaken(ns: string, dst: string, from = ''): string {
  const taken = /via \S+?(\d)[.:]+(?:0\.)?(\d) dev/.exec(sh(`ip -n ${ns} route get ${dst} ${from}`));
  assert.ok(taken !== null);
  return macOf(Number(taken[1]), Number(taken[2]));
}

test('of several gateways each destination goes to that which the kernel takes, and all are used', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} route add 198.51.100.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2`);
  sh(`ip -n ${ns} -6 route add 2001:db8::/32 nexthop via fd00:1::2 nexthop via fd00:2::2`);
  sh(`ip -n ${ns} nexthop add id 1 via 10.1.0.3 dev e1 && ip -n ${ns} nexthop add id 2 via 10.2.0.3 dev e2`);
  addOwn(ns);
  sh(`ip -n ${ns} nexthop add id 3 group 1/2 && ip -n ${ns} route add 203.0.113.0/24 nhid 3`);
  const finder = await startFinder(t, ns);
  for (const [from, prefix, hosts] of [
    ['10.9.0.1', '198.51.100.', [macOf(1, 2), macOf(2, 2)]],
    ['10.9.0.1', '203.0.113.', [macOf(1, 3), macOf(2, 3)]],
    ['fd00:9::1', '2001:db8::', [macOf(1, 2), macOf(2, 2)]],
  ] as const) {
    const addresses = Array.from({ length: 40 }, (_, n) => `${prefix}${n + 1}`);
    const macs = await finder.macsFrom(from, ...addresses);
    assert.deepEqual(
      macs,
      addresses.map((address) => macTaken(ns, address, `from ${from}`)),
    );
    assert.deepEqual([...new Set(macs)].sort(), hosts);
    assert.deepEqual(await finder.macsFrom(from, ...addresses), macs, 'always the same');
  }
  await finder.program.stop();
});

test('a route for some sources only, and one for a type of service, count for those', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} -6 route add 2001:db9::/32 from fd00:1::/64 via fd00:2::2`);
  sh(`ip -n ${ns} route add 203.0.113.0/24 tos 0x10 via 10.2.0.2`);
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macsFrom('fd00:1::1', '2001:db9::1'), [macOf(2, 2)]);
  assert.deepEqual(await finder.macsFrom('fd00:2::1', '2001:db9::1'), [macOf(1, 2)]);
  assert.deepEqual(await finder.macs('203.0.113.9'), [macOf(1, 2)]);
  await finder.program.stop();
});

test('a route with an encapsulation is left to the IP layer, and the operator told once', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} route add 192.0.2.0/24 encap ip id 7 dst 10.2.0.2 dev e2`);
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.told(), []);
  assert.deepEqual(await finder.macs('192.0.2.9', '192.0.2.10'), ['', '']);
  const told = await finder.told();
  assert.equal(told.length, 1);
  assert.match(told[0], /routes that have an encapsulation go through the kernel's IP layer/);
  sh(`ip -n ${ns} route delete 192.0.2.0/24`);
  assert.deepEqual(await finder.macs('192.0.2.9'), [macOf(1, 2)]);
  await finder.program.stop();
});

test('a nexthop object whose link lost its carrier is not used, and again when it has one', async (t) => {
  const { ns, peer } = routedHost(t, 2);
  for (const network of [1, 2]) addNeighbor(ns, network, 2);
  const route = () => {
    sh(
      `ip -n ${ns} nexthop replace id 1 via 10.1.0.2 dev e1 && ip -n ${ns} nexthop replace id 2 via fd00:1::2 dev e1`,
    );
    sh(
      `ip -n ${ns} route replace default nhid 1 metric 10 && ip -n ${ns} -6 route replace default nhid 2 metric 10`,
    );
  };
  route();
  sh(`ip -n ${ns} route add default via 10.2.0.2 metric 20`);
  sh(`ip -n ${ns} -6 route add default via fd00:2::2 metric 20`);
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(1, 2), macOf(1, 2)]);
  sh(`ip -n ${peer} link set p1 down`);
  await becomes(finder, macOf(2, 2), FAR);
  await becomes(finder, macOf(2, 2), FAR6);
  sh(`ip -n ${peer} link set p1 up`);
  await becomes(finder, macOf(1, 2), '10.1.0.2');
  route(); // as a routing daemon does
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(1, 2), macOf(1, 2)]);
  await finder.program.stop();
});

test('an IPv4 route over an IPv6 gateway, an onlink route and a nexthop object are followed', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} route add 198.51.100.0/24 via inet6 fd00:2::3`);
  sh(`ip -n ${ns} route add 203.0.113.0/24 via 192.0.2.9 dev e2 onlink`);
  sh(`ip -n ${ns} neigh add 192.0.2.9 lladdr 02:00:00:00:00:99 dev e2`);
  sh(`ip -n ${ns} nexthop add id 7 via 10.2.0.2 dev e2 && ip -n ${ns} route add 100.64.0.0/10 nhid 7`);
  const finder = await startFinder(t, ns);
  const addresses = [FAR, '203.0.113.1', '100.64.0.1'];
  assert.deepEqual(await finder.macs(...addresses), [macOf(2, 3), '02:00:00:00:00:99', macOf(2, 2)]);
  sh(`ip -n ${ns} nexthop replace id 7 via 10.1.0.3 dev e1`);
  assert.deepEqual(await finder.macs('100.64.0.1'), [macOf(1, 3)]);
  sh(`ip -n ${ns} nexthop delete id 7`);
  assert.deepEqual(await finder.macs('100.64.0.1'), [macOf(1, 2)], 'the route went without a word');
  await finder.program.stop();
});

/** Addresses of the host: those of the rules below, and others. */
const SOURCES = ['10.9.0.5', '10.1.0.1', '192.0.2.1'];
const SOURCES6 = ['2001:db8:9::5', 'fd00:1::1', '2001:db8:77::1'];
const BY_MAIN = macOf(1, 2);
/** By the table 100. */
const ELSEWHERE = macOf(2, 2);
const [M, E] = [BY_MAIN, ELSEWHERE];

// A rule, and where packets from each of the sources go then.
const RULES = [
  ['rule add to 198.51.100.0/24 lookup 100', [E, E, E]],
  ['rule add to 198.51.100.0/24 lookup main', [M, M, M]],
  ['rule add from 10.9.0.0/16 lookup 100', [E, M, M]],
  ['rule add from 10.1.0.1 lookup 100', [M, E, M]],
  ['rule add from 10.9.0.0/16 to 198.51.100.0/24 lookup 100', [E, M, M]],
  ['rule add from 0.0.0.0/1 lookup 100', [E, E, M]],
  ['rule add not from 10.9.0.0/16 lookup 100', [M, E, E]],
  ['rule add not from 10.9.0.0/16 to 198.51.100.0/24 lookup 100', [M, E, E]],
  ['rule add fwmark 1 lookup 100', [M, M, M]],
  ['rule add fwmark 0x200/0xf00 lookup 100', [M, M, M]],
  ['rule add fwmark 0x80/0x80 lookup main', [M, M, M]],
  ['rule add fwmark 0/0xff lookup 100', [E, E, E]],
  ['rule add fwmark 0x100/0xff lookup 100', [E, E, E]],
  ['rule add not fwmark 1 lookup 100', [E, E, E]],
  ['rule add not iif e1 lookup 100', [E, E, E]],
  ['rule add iif lo lookup 100', [E, E, E]],
  ['rule add iif e1 lookup 100', [M, M, M]],
  ['rule add uidrange 0-0 lookup 100', [E, E, E]],
  ['rule add lookup main suppress_prefixlength 0', [M, M, M]],
  ['rule add from 10.9.0.0/16 unreachable', ['', M, M]],
  ['rule add from 10.9.0.0/16 blackhole', ['', M, M]],
  ['rule add lookup local', [M, M, M]],
  ['rule add lookup 100 pref 32800', [M, M, M]],
  ['-6 rule add to 2001:db8::/32 lookup 100', [E, E, E]],
  ['-6 rule add from 2001:db8:9::/48 lookup 100', [E, M, M]],
  ['-6 rule add from fd00:1::1 lookup 100', [M, E, M]],
  ['-6 rule add from ::/1 lookup 100', [E, M, E]],
  ['-6 rule add not from ::/1 lookup 100', [M, E, M]],
  ['-6 rule add fwmark 1 lookup 100', [M, M, M]],
  ['-6 rule add fwmark 0x100/0xff lookup 100', [E, E, E]],
  ['-6 rule add blackhole', ['', '', '']],
  ['-6 rule add from fd00::/16 unreachable', [M, '', M]],
  ['-6 rule add unreachable pref 32800', [M, M, M]],
  ['rule add ipproto udp lookup 100', [M, M, M]],
] as const;

test('rules are followed, for the source that a packet has, at layer 2 and by the IP layer', async (t) => {
  const ns = twoArms(t);
  for (const ip of SOURCES) sh(`ip -n ${ns} address replace ${ip}/32 dev lo`);
  for (const ip of SOURCES6) sh(`ip -n ${ns} address replace ${ip}/128 dev lo nodad`);
  sh(`ip -n ${ns} route add default via 10.2.0.2 table 100`);
  sh(`ip -n ${ns} -6 route add default via fd00:2::2 table 100`);
  const finder = await startFinder(t, ns);
  const ipLayer = watchIpLayer(ns, finder, [FAR, FAR6]);
  for (const [said, ways] of RULES) {
    const text = said.includes(' pref ') ? said : `${said} pref 50`;
    const [dst, sources] = text.startsWith('-6') ? [FAR6, SOURCES6] : [FAR, SOURCES];
    sh(`ip -n ${ns} ${text}`);
    for (const [index, source] of sources.entries()) {
      const what = `from ${source} with ${text}`;
      assert.deepEqual(await finder.macsFrom(source, dst), [ways[index]], what);
      assert.equal(await ipLayer.macTo(dst, [source]), ways[index], `the IP layer, ${what}`);
    }
    sh(`ip -n ${ns} ${text.replace(' add ', ' delete ')}`);
    for (const source of sources)
      assert.deepEqual(await finder.macsFrom(source, dst), [BY_MAIN], `without ${text}`);
  }
  sh(`ip -n ${ns} rule delete lookup main`);
  assert.deepEqual(await finder.macs(FAR, FAR6), ['', BY_MAIN]);
  await finder.program.stop();
});

test('without a route in the table main the rules for a source still count', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} -6 route delete default && ip -n ${ns} -6 route add default via fd00:2::2 table 100`);
  sh(`ip -n ${ns} -6 rule add from fd00::/16 lookup 100 pref 50`);
  const finder = await startFinder(t, ns);
  const ipLayer = watchIpLayer(ns, finder, [FAR6]);
  assert.equal(await ipLayer.macTo(FAR6, ['fd00:1::1']), ELSEWHERE);
  assert.deepEqual(await finder.macsFrom('fd00:1::1', FAR6, 'fd00:1::3'), [ELSEWHERE, ELSEWHERE]);
  assert.deepEqual(await finder.macsFrom('2001:db8:77::1', FAR6, 'fd00:1::3'), ['', macOf(1, 3)]);
  await finder.program.stop();
});

test('a source that this host does not have goes as one that no rule means', async (t) => {
  const ns = twoArms(t);
  sh(`ip -n ${ns} route add default via 10.2.0.2 table 100 && ip -n ${ns} rule add from 10.1.0.1 lookup 100`);
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macsFrom('10.77.0.1', FAR, '10.2.0.3'), [BY_MAIN, macOf(2, 3)]);
  await finder.program.stop();
});

test('a VRF keeps its routes to itself and does not disturb the others', async (t) => {
  const ns = twoArms(t);
  const finder = await startFinder(t, ns);
  try {
    sh(`ip -n ${ns} link add red type vrf table 10 && ip -n ${ns} link set red up`);
  } catch (error) {
    assert.match(String(error), /Unknown device type/);
    await finder.program.stop();
    t.skip('this kernel has no VRFs');
    return;
  }
  sh(`ip -n ${ns} route add 198.51.100.0/24 via 10.2.0.2 table 10 onlink dev e2`);
  assert.deepEqual(await finder.macs(FAR, FAR6, '10.2.0.3'), [macOf(1, 2), macOf(1, 2), macOf(2, 3)]);
  sh(`ip -n ${ns} link set e2 master red`);
  assert.deepEqual(await finder.macs(FAR, '10.2.0.3'), [macOf(1, 2), macOf(1, 2)]);
  await finder.program.stop();
});

test('an interface that goes down takes its routes with it, and they come back with it', async (t) => {
  const ns = twoArms(t);
  sh(
    `ip -n ${ns} route add 198.51.100.0/24 via 10.2.0.2 && ip -n ${ns} -6 route add 2001:db8::/32 via fd00:2::2`,
  );
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(2, 2), macOf(2, 2)]);
  sh(`ip -n ${ns} link set e2 down`);
  assert.deepEqual(await finder.macs(FAR, FAR6, '10.2.0.3'), [macOf(1, 2), macOf(1, 2), macOf(1, 2)]);
  sh(`ip -n ${ns} link set e2 up`);
  addAddresses(ns, 2);
  addNeighbor(ns, 2, 2);
  sh(`ip -n ${ns} route add 198.51.100.0/24 via 10.2.0.2`);
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(2, 2), macOf(1, 2)]);
  sh(`ip -n ${ns} link delete e2`);
  assert.deepEqual(await finder.macs(FAR, FAR6), [macOf(1, 2), macOf(1, 2)]);
  await finder.program.stop();
});

/**
 * Waits until this is the hop to the address: the kernel takes up to a second to see what became of a
 * carrier.
 */
async function becomes(finder: Finder, mac: string, address = '10.1.0.2'): Promise<void> {
  for (let left = 100; left > 0; left--) {
    if ((await finder.macs(address))[0] === mac) return;
    await setTimeout(100);
  }
  assert.fail(`the hop to ${address} does not become '${mac}'`);
}

test('without a carrier nothing is sent at layer 2', async (t) => {
  const { ns, peer } = routedHost(t, 1);
  addNeighbor(ns, 1, 2);
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs('10.1.0.2'), [macOf(1, 2)]);
  sh(`ip -n ${peer} link set p1 down`);
  await becomes(finder, '');
  sh(`ip -n ${peer} link set p1 up`);
  await becomes(finder, macOf(1, 2));
  await finder.program.stop();
});

test('an address that goes takes the routes that prefer it as their source', async (t) => {
  const ns = twoArms(t);
  sh(
    `ip -n ${ns} address add 10.2.0.9/32 dev e2 && ip -n ${ns} route add 198.51.100.0/24 via 10.2.0.2 src 10.2.0.9`,
  );
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs(FAR), [macOf(2, 2)]);
  sh(`ip -n ${ns} address delete 10.2.0.9/32 dev e2`);
  assert.deepEqual(await finder.macs(FAR), [macOf(1, 2)]);
  await finder.program.stop();
});

test('a device without Ethernet is left to the IP layer', async (t) => {
  const ns = namespace(t, 'h');
  sh(
    `ip -n ${ns} tuntap add t0 mode tun && ip -n ${ns} link set t0 up && ip -n ${ns} address add 10.1.0.1/24 dev t0`,
  );
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs('10.1.0.2', '127.0.0.1'), ['', '']);
  assert.match((await finder.told()).join(), /lead over an interface without Ethernet/);
  await finder.program.stop();
});

test('a real neighbor is known once the kernel resolved it, and its new address at once', async (t) => {
  const { lb, server } = threeInARow(t);
  const finder = await startFinder(t, lb);
  const addresses = ['10.2.0.2', 'fd00:2::2'];
  assert.deepEqual(await finder.macs(...addresses), ['', '']);
  const ping = () => sh(addresses.map((ip) => `ip netns exec ${lb} ping -c 1 -W 2 ${ip}`).join(' && '));
  ping();
  const mac = sh(`ip netns exec ${server} cat /sys/class/net/s0/address`).trim();
  assert.deepEqual(await finder.macs(...addresses), [mac, mac]);

  sh(`ip -n ${server} link set s0 address 02:00:00:00:00:77 && ip -n ${server} neigh flush dev s0`);
  sh(`ip netns exec ${server} ping -c 1 -W 2 10.2.0.1 && ip netns exec ${server} ping -c 1 -W 2 fd00:2::1`);
  assert.deepEqual(await finder.macs(...addresses), ['02:00:00:00:00:77', '02:00:00:00:00:77']);

  sh(`ip -n ${lb} neigh flush dev lan0`);
  assert.deepEqual(await finder.macs(...addresses), ['', '']);
  ping();
  assert.deepEqual(await finder.macs(...addresses), ['02:00:00:00:00:77', '02:00:00:00:00:77']);
  await finder.program.stop();
});

test('a neighbor in use is left to the IP layer once every five seconds, a permanent one never', async (t) => {
  const { ns } = routedHost(t, 1);
  addNeighbor(ns, 1, 2, 'reachable');
  addNeighbor(ns, 1, 3, 'stale');
  addNeighbor(ns, 1, 4);
  const finder = await startFinder(t, ns);
  const [reachable, stale, fixed] = ['10.1.0.2', '10.1.0.3', '10.1.0.4'];
  const known = async (laterMs: number, address: string) =>
    (await finder.find([address, address, address], laterMs)).map((hop) => hop !== null);
  assert.deepEqual(await known(0, reachable), [true, true, true]);
  assert.deepEqual(await known(0, stale), [false, true, true]);
  assert.deepEqual(await known(0, fixed), [true, true, true]);
  assert.deepEqual(await known(4_999, reachable), [true, true, true]);
  assert.deepEqual(await known(0, stale), [true, true, true]);
  assert.deepEqual(await known(1, reachable), [false, true, true]);
  assert.deepEqual(await known(0, stale), [false, true, true]);
  assert.deepEqual(await known(1_000_000, fixed), [true, true, true]);
  assert.deepEqual(await known(2 ** 31, reachable), [false, true, true], 'also when the clock went round');
  await finder.program.stop();
});

test('a neighbor that cannot be resolved any more is left to the IP layer', async (t) => {
  const { ns } = routedHost(t, 1);
  addNeighbor(ns, 1, 2, 'reachable');
  const finder = await startFinder(t, ns);
  assert.deepEqual(await finder.macs('10.1.0.2'), [macOf(1, 2)]);
  sh(`ip -n ${ns} neigh change 10.1.0.2 dev e1 nud failed`);
  assert.deepEqual(await finder.macs('10.1.0.2'), ['']);
  await finder.program.stop();
});

test('the descriptor is readable when something changed', async (t) => {
  const { ns } = routedHost(t, 1);
  const finder = await startFinder(t, ns);
  await finder.find([]);
  finder.program.write({ watch: true });
  await finder.find([]);
  addNeighbor(ns, 1, 2);
  assert.equal(await finder.program.next('readable'), true);
  await finder.program.stop();
});
