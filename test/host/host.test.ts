// What the proxy finds out about its host, in namespaces set up as operators would.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { namespace, sh, startProgram, threeInARow, WITHOUT_IPV6 } from '../io/namespaces.ts';
import { forgePathMtu } from '../route/forged-mtu.ts';
import type { Asked, Found } from './host-program.ts';

async function inspect(t: TestContext, ns: string, request: Asked): Promise<Found> {
  return startProgram(t, ns, 'host/host-program.ts', request).next<Found>('facts');
}

async function failure(
  t: TestContext,
  ns: string,
  request: Asked,
): Promise<{ message: string; hint: string }> {
  return startProgram(t, ns, 'host/host-program.ts', request).next('error');
}

/**
 * A namespace with dummy-like interfaces (one end of a veth pair), as name and addresses, separated by
 * spaces.
 */
function host(t: TestContext, interfaces: Record<string, string>): string {
  const ns = namespace(t, 'h');
  for (const [name, addresses] of Object.entries(interfaces)) {
    sh(`ip -n ${ns} link add ${name} type veth peer name ${name}p`);
    sh(`ip -n ${ns} link set ${name} up && ip -n ${ns} link set ${name}p up`);
    for (const address of addresses.split(' ')) {
      sh(`ip -n ${ns} address add ${address} dev ${name} ${address.includes(':') ? 'nodad' : ''}`);
    }
  }
  return ns;
}

const sides = ({ ports }: Found) => ports.map(({ name, side }) => [name, side]);

test('two-arm: interfaces are found from the VIP and from the route to the real server', async (t) => {
  const { lb } = threeInARow(t);
  const found = await inspect(t, lb, { vips: ['10.1.0.1'], lips: ['10.2.0.1'], rips: ['10.2.0.2'] });
  assert.deepEqual(sides(found), [
    ['wan0', 1],
    ['lan0', 2],
  ]);
  assert.deepEqual(found.mtuTowards, { '10.2.0.2': 1500 });
  assert.deepEqual(found.missing, []);
  assert.match(found.ports[0].mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  assert.equal(found.ports[0].loopback, false);
});

test('one-arm: one interface is both sides', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  const found = await inspect(t, ns, {
    vips: ['10.1.0.1'],
    lips: ['10.1.0.1'],
    rips: ['10.1.0.2', '10.1.0.3'],
  });
  assert.deepEqual(sides(found), [['eth9', 3]]);
});

test('sidecar: a server in the same namespace is reached through the loopback interface', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  const request = { vips: ['10.1.0.1'], lips: ['127.0.0.2'], rips: ['127.0.0.1', '10.1.0.1'] };
  const found = await inspect(t, ns, request);
  assert.deepEqual(sides(found), [
    ['eth9', 1],
    ['lo', 2],
  ]);
  assert.deepEqual(found.mtuTowards, { '127.0.0.1': 65536, '10.1.0.1': 65536 });
  assert.deepEqual(found.missing, [], '127.0.0.2 is local although no interface lists it');
  assert.equal(found.ports[1].loopback, true);
});

test('a VIP on the loopback interface is received where its subnet is, else by the default route', async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24', eth9: '10.1.0.1/24' });
  sh(`ip -n ${ns} address add 10.1.0.100/32 dev lo && ip -n ${ns} address add 192.0.2.7/32 dev lo`);
  const base = { lips: ['10.7.0.1'], rips: ['10.7.0.2'] };
  assert.deepEqual(sides(await inspect(t, ns, { ...base, vips: ['10.1.0.100'] })), [
    ['eth9', 1],
    ['eth8', 2],
  ]);
  const { troubles } = await inspect(t, ns, { ...base, vips: ['192.0.2.7', '10.1.0.100'] });
  assert.match(troubles[0].text, /which interface receives packets to the VIP 192\.0\.2\.7/);
  assert.match(troubles[0].hint, /io\.wan.*eth8.*eth9/);
  sh(`ip -n ${ns} route add default via 10.1.0.254`);
  assert.deepEqual(sides(await inspect(t, ns, { ...base, vips: ['192.0.2.7'] })), [
    ['eth9', 1],
    ['eth8', 2],
  ]);
});

test('a VIP on the loopback interface is received by the uplink that a rule says for it', async (t) => {
  const ns = host(t, {
    eth6: '10.6.0.1/24 fd00:6::1/64',
    eth8: '10.7.0.1/24',
    eth9: '10.1.0.1/24 fd00:1::1/64',
  });
  const base = { lips: ['10.7.0.1'], rips: ['10.7.0.2'] };
  const rules = [
    { vip: '192.0.2.7', other: '192.0.2.8', length: 32, uplink: '10.6.0.254', main: '10.1.0.254' },
    { vip: '2001:db8::7', other: '2001:db8::8', length: 128, uplink: 'fd00:6::254', main: 'fd00:1::254' },
  ];
  for (const { vip, other, length, uplink, main } of rules) {
    const family = length === 32 ? '-4' : '-6';
    for (const ip of [vip, other]) sh(`ip -n ${ns} address add ${ip}/${length} dev lo`);
    sh(`ip -n ${ns} ${family} route add default via ${uplink} table 100`);
    sh(`ip -n ${ns} ${family} rule add from ${vip} lookup 100`);
    const alone = await inspect(t, ns, { ...base, vips: [vip] });
    assert.deepEqual(sides(alone), [
      ['eth6', 1],
      ['eth8', 2],
    ]);
    assert.deepEqual(alone.troubles, [], 'without a default route for others');
    sh(`ip -n ${ns} ${family} route add default via ${main}`);
    assert.deepEqual(sides(await inspect(t, ns, { ...base, vips: [vip, other] })), [
      ['eth6', 1],
      ['eth9', 1],
      ['eth8', 2],
    ]);
  }
});

test("a default route out of the real servers' interface is told of where a VIP's answers take it", async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24 fd00:7::1/64', eth9: '10.1.0.1/24 10.1.0.2/24 fd00:1::1/64' });
  const request = { vips: ['10.1.0.1', '10.1.0.2'], lips: ['10.7.0.1'], rips: ['10.7.0.2'] };
  const warnings = async (vips = request.vips) => (await inspect(t, ns, { ...request, vips })).warnings;
  assert.deepEqual(await warnings(), []);
  sh(`ip -n ${ns} route add default via 10.7.0.254`);
  const told = (ip: string) =>
    `the default route from the VIP ${ip} leads out of eth8, which only real servers are behind: clients that it leads to are not served (bad_source)`;
  assert.deepEqual(await warnings(), [told('10.1.0.1 and 1 more')]);
  sh(
    `ip -n ${ns} route add default via 10.1.0.254 table 100 && ip -n ${ns} rule add from 10.1.0.1 lookup 100`,
  );
  assert.deepEqual(await warnings(), [told('10.1.0.2')]);
  assert.deepEqual(await warnings(['10.1.0.1', 'fd00:1::1']), []);
});

test('interfaces that are named are taken as they are', async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24', eth9: '10.1.0.1/24' });
  const request = { vips: ['10.1.0.1'], lips: ['10.7.0.1'], rips: ['10.7.0.2'], wan: 'eth8', lan: 'eth9' };
  assert.deepEqual(sides(await inspect(t, ns, request)), [
    ['eth8', 1],
    ['eth9', 2],
  ]);
});

test('the MTU towards a real server is that of its route before that of its interface', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  sh(`ip -n ${ns} link set eth9 mtu 1400 && ip -n ${ns} route add 10.8.0.0/24 via 10.1.0.9 mtu 1300`);
  const { mtuTowards } = await inspect(t, ns, {
    vips: ['10.1.0.1'],
    lips: [],
    rips: ['10.1.0.2', '10.8.0.2'],
  });
  assert.deepEqual(mtuTowards, { '10.1.0.2': 1400, '10.8.0.2': 1300 });
});

test('a path MTU that attackers made the kernel believe is no MTU of a route, in either family', async (t) => {
  const { client, lb } = threeInARow(t);
  sh(`ip -n ${lb} route add 10.8.0.0/24 via 10.2.0.2 mtu 1400`);
  sh(`ip -n ${lb} -6 route add fd00:8::/64 via fd00:2::2 mtu 1400`);
  const link = { ns: client, device: 'c0', host: lb, hostDevice: 'wan0' };
  const v4 = { ...link, attacker: '10.1.0.77', own: '10.1.0.1', mtu: 600 };
  const v6 = { ...link, attacker: 'fd00:1::77', own: 'fd00:1::1', mtu: 1280 };
  for (const towards of ['10.2.0.2', '10.8.0.2']) await forgePathMtu(t, { ...v4, towards });
  for (const towards of ['fd00:2::2', 'fd00:8::2']) await forgePathMtu(t, { ...v6, towards });
  const rips = ['10.2.0.2', '10.8.0.2', 'fd00:2::2', 'fd00:8::2'];
  const { mtuTowards } = await inspect(t, lb, { vips: ['10.1.0.1'], lips: [], rips });
  assert.deepEqual(mtuTowards, {
    '10.2.0.2': 1500,
    '10.8.0.2': 1400,
    'fd00:2::2': 1500,
    'fd00:8::2': 1400,
  });
});

test('a path MTU that the kernel learned, and will forget, is no MTU of the route', async (t) => {
  const { client, lb } = threeInARow(t);
  sh(`ip -n ${client} route add 10.2.0.0/24 via 10.1.0.1 && ip -n ${lb} link set lan0 mtu 1300`);
  sh(`ip netns exec ${lb} sysctl -qw net.ipv4.ip_forward=1`);
  const learned = `ip netns exec ${client} ping -c 1 -W 1 -M do -s 1400 10.2.0.2; ip -n ${client} route get 10.2.0.2`;
  assert.match(sh(`for i in 1 2 3 4 5; do ${learned} | grep -m 1 'mtu 1300' && break; done`), /expires/);
  const { mtuTowards } = await inspect(t, client, { vips: ['10.1.0.2'], lips: [], rips: ['10.2.0.2'] });
  assert.deepEqual(mtuTowards, { '10.2.0.2': 1500 });
});

test('a missing address comes with the command that adds it, which assigning runs and undoes', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['10.1.0.100', '10.1.0.1'], lips: ['10.2.0.200'], rips: ['10.2.0.2'] };
  const { missing } = await inspect(t, lb, request);
  assert.deepEqual(missing, [
    { ip: '10.1.0.100', device: 'wan0', command: 'ip address add 10.1.0.100/32 dev wan0' },
    { ip: '10.2.0.200', device: 'lan0', command: 'ip address add 10.2.0.200/32 dev lan0' },
  ]);
  const program = startProgram(t, lb, 'host/host-program.ts', { ...request, assign: true });
  assert.equal(await program.next('assigned'), 2);
  assert.deepEqual((await inspect(t, lb, request)).missing, []);
  sh(`ip -n ${lb} address delete 10.1.0.100/32 dev wan0`); // somebody else was faster
  await program.stop();
  assert.equal((await inspect(t, lb, request)).missing.length, 2);
});

test('two-arm over both families: interfaces, routes and own addresses, without link-local ones', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip -n ${lb} route add fd00:8::/64 via fd00:2::9 mtu 1400`);
  sh(`ip netns exec ${lb} sysctl -qw net.ipv6.conf.lan0.mtu=1480`);
  const found = await inspect(t, lb, {
    vips: ['10.1.0.1', 'fd00:1::1'],
    lips: ['10.2.0.1', 'fd00:2::1'],
    rips: ['10.2.0.2', 'fd00:2::2', 'fd00:8::2'],
  });
  assert.deepEqual(sides(found), [
    ['wan0', 1],
    ['lan0', 2],
  ]);
  assert.deepEqual(found.mtuTowards, { '10.2.0.2': 1500, 'fd00:2::2': 1480, 'fd00:8::2': 1400 });
  assert.deepEqual(found.missing, []);
  assert.deepEqual(found.own.sort(), ['10.1.0.1', '10.2.0.1', 'fd00:1::1', 'fd00:2::1']);
});

test('an address on the loopback interface that is none of loopback is an own one, a router id for instance', async (t) => {
  const { lb } = threeInARow(t);
  for (const ip of ['10.255.0.1/32', '127.0.0.9/8', 'fd00:ff::1/128'])
    sh(`ip -n ${lb} address add ${ip} dev lo`);
  const { own } = await inspect(t, lb, { vips: ['10.1.0.1'], lips: ['10.2.0.1'], rips: ['10.2.0.2'] });
  assert.deepEqual(own.filter((ip) => !/^(10\.[12]\.|fd00:[12]:)/.test(ip)).sort(), [
    '10.255.0.1',
    'fd00:ff::1',
  ]);
});

test('an interface that is down is in the way of the VIPs that it has, not of others', async (t) => {
  const ns = host(t, { eth7: '10.6.0.1/24', eth8: '10.7.0.1/24', eth9: '10.1.0.1/24' });
  sh(`ip -n ${ns} link set eth8 down`);
  const base = { lips: ['10.1.0.1'], rips: ['10.1.0.2'] };
  const { troubles } = await inspect(t, ns, { vips: ['10.6.0.1', '10.7.0.1'], ...base });
  assert.deepEqual(
    troubles.map(({ ip, text }) => [ip, text]),
    [['10.7.0.1', 'the interface eth8 is down']],
  );
});

test('first and last addresses of IPv4 subnets are broadcasts, but not in a /31, a /32 or on loopback', async (t) => {
  const eth8 = '10.7.0.1/24 10.7.0.9/24 172.31.5.1/16 10.8.0.5/30 10.8.0.10/31 10.8.0.20/32 fd00:7::1/64';
  const ns = host(t, { eth8, eth9: '10.9.192.1/18' });
  sh(`ip -n ${ns} address add 10.10.0.1/24 dev lo`);
  const { broadcasts } = await inspect(t, ns, { vips: ['10.7.0.1'], lips: ['10.7.0.9'], rips: ['10.7.0.2'] });
  assert.deepEqual(broadcasts, [
    ...['10.7.0.0', '10.7.0.255'],
    ...['172.31.0.0', '172.31.255.255'],
    ...['10.8.0.4', '10.8.0.7'],
    ...['10.9.192.0', '10.9.255.255'],
  ]);
});

test('an IPv6 VIP is received where it is, else where its subnet is, else by the IPv6 default route', async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24 fd00:7::1/64', eth9: '10.1.0.1/24 fd00:1:0:0:8000::1/65' });
  sh(`ip -n ${ns} route add default via 10.7.0.254`);
  const base = { lips: ['10.7.0.1'], rips: ['10.7.0.2'] };
  const wanOf = async (vip: string) => {
    const { ports } = await inspect(t, ns, { ...base, vips: [vip] });
    return ports.filter(({ side }) => side % 2 === 1).map(({ name }) => name);
  };
  assert.deepEqual(await wanOf('fd00:7::1'), ['eth8']);
  assert.deepEqual(await wanOf('fd00:1::8000:0:0:7'), ['eth9']);
  const [trouble] = (await inspect(t, ns, { ...base, vips: ['fd00:1::7'] })).troubles;
  assert.match(
    trouble.text,
    /which interface receives packets to the VIP fd00:1::7: .* no default route for IPv6/,
  );
  assert.match(trouble.hint, /io\.wan/);
  sh(`ip -n ${ns} -6 route add default nexthop via fd00:1::8000:0:0:5 nexthop via fd00:1::8000:0:0:6`);
  assert.deepEqual(await wanOf('fd00:1::7'), ['eth9']);
});

test('the default route is found where addresses of nobody are refused, and only there', async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24 fd00:7::1/64', eth9: '10.1.0.1/24 fd00:1::1/64' });
  const base = { lips: ['10.7.0.1'], rips: ['10.7.0.2'] };
  const wanOf = async (vip: string) => {
    const { ports } = await inspect(t, ns, { ...base, vips: [vip, '10.7.0.1'] });
    return ports.filter(({ side }) => side % 2 === 1).map(({ name }) => name);
  };
  for (const route of ['blackhole 240.0.0.0/4', 'unreachable 192.0.2.0/24', 'unreachable ::/96'])
    sh(`ip -n ${ns} route add ${route}`);
  sh(`ip -n ${ns} route add 198.51.100.0/24 via 10.1.0.9`);
  assert.deepEqual(await wanOf('198.18.0.1'), ['eth8'], 'no default route');
  sh(`ip -n ${ns} route add default via 10.1.0.9 && ip -n ${ns} route add default via fd00:1::9`);
  assert.deepEqual(await wanOf('198.18.0.1'), ['eth9', 'eth8']);
  assert.deepEqual(await wanOf('fd00:18::1'), ['eth9', 'eth8']);
});

test('a missing IPv6 address comes with the command that adds it, which makes it usable at once', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['fd00:1::100'], lips: ['fd00:2::200'], rips: ['fd00:2::2'] };
  const { missing } = await inspect(t, lb, request);
  assert.deepEqual(missing, [
    {
      ip: 'fd00:1::100',
      device: 'wan0',
      command: 'ip address add fd00:1::100/128 dev wan0 nodad preferred_lft 0',
    },
    {
      ip: 'fd00:2::200',
      device: 'lan0',
      command: 'ip address add fd00:2::200/128 dev lan0 nodad preferred_lft 0',
    },
  ]);
  const program = startProgram(t, lb, 'host/host-program.ts', { ...request, assign: true });
  assert.equal(await program.next('assigned'), 2);
  assert.equal(sh(`ip -n ${lb} address show tentative scope global`), '');
  assert.deepEqual((await inspect(t, lb, request)).missing, []);
  sh(`ip -n ${lb} address delete fd00:1::100/128 dev wan0`); // somebody else was faster
  await program.stop();
  assert.equal((await inspect(t, lb, request)).missing.length, 2);
});

test('an IPv6 address that the kernel still looks for on other hosts is not missing', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip -n ${lb} address add fd00:1::100/64 dev wan0`);
  const request = { vips: ['fd00:1::100'], lips: ['fd00:2::1'], rips: ['fd00:2::2'] };
  const found = await inspect(t, lb, request);
  assert.deepEqual(found.missing, []);
  assert.equal(sh(`ip -n ${lb} address show tentative scope global`), '');
});

test('a proxy at work does not wait for an address that the kernel still looks for on other hosts', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['fd00:1::100', 'fd00:1::1'], lips: ['fd00:2::1'], rips: ['fd00:2::2'] };
  const { ports } = await inspect(t, lb, { ...request, vips: ['fd00:1::1'] });
  sh(`ip netns exec ${lb} sysctl -qw net.ipv6.conf.wan0.dad_transmits=100`); // a second for each
  sh(`ip -n ${lb} address add fd00:1::100/64 dev wan0`);
  const patient = { ...request, ports, stopsClock: true };
  const found = await startProgram(t, lb, 'host/host-program.ts', patient).next<Found>('facts');
  assert.deepEqual([found.missing, found.troubles], [[], []]);
  assert.notEqual(sh(`ip -n ${lb} address show tentative scope global`), '');
});

test('an IPv6 address that another host has is said to be', async (t) => {
  const { client, lb } = threeInARow(t);
  sh(`ip -n ${client} address add fd00:1::100/64 dev c0 nodad`);
  sh(`ip -n ${lb} address add fd00:1::100/64 dev wan0`);
  const request = { vips: ['fd00:1::100'], lips: ['fd00:2::1'], rips: ['fd00:2::2'] };
  const { troubles } = await inspect(t, lb, request);
  assert.equal(troubles[0].ip, 'fd00:1::100');
  assert.match(troubles[0].text, /fd00:1::100 of wan0 is in use by another host/);
  assert.match(troubles[0].hint, /ip address delete fd00:1::100 dev wan0/);
});

test('an IPv6 address on an interface with IPv6 turned off is an error that says how to turn it on', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip netns exec ${lb} sysctl -qw net.ipv6.conf.wan0.disable_ipv6=1`);
  const request = { wan: 'wan0', vips: ['fd00:1::100'], lips: ['fd00:2::1'], rips: ['fd00:2::2'] };
  const program = startProgram(t, lb, 'host/host-program.ts', { ...request, assign: true });
  const { hint } = await program.next<{ hint: string }>('error');
  assert.match(hint, /sysctl net\.ipv6\.conf\.wan0\.disable_ipv6=0/);
});

test('IPv6 addresses on a kernel without IPv6 are in trouble, IPv4 ones are not', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['10.1.0.1'], lips: ['10.2.0.1'], rips: ['10.2.0.2'] };
  const start = (vips: string[]) =>
    startProgram(t, lb, 'host/host-program.ts', { ...request, vips }, WITHOUT_IPV6);
  assert.equal((await start(['10.1.0.1']).next<Found>('facts')).ports.length, 2);
  const { troubles } = await start(['10.1.0.1', 'fd00:1::1']).next<Found>('facts');
  assert.deepEqual(
    troubles.map(({ ip }) => ip),
    ['fd00:1::1'],
  );
  assert.match(troubles[0].text, /names the IPv6 address fd00:1::1, but this kernel has no IPv6/);
  assert.match(troubles[0].hint, /ipv6\.disable=1/);
});

test('real servers on this host are told apart', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['10.1.0.1'], lips: ['127.0.0.2', 'fd00:2::1'], rips: ['fd00:2::2', '127.0.0.1'] };
  const { missing, onHost } = await inspect(t, lb, request);
  assert.deepEqual([missing, onHost], [[], ['127.0.0.1']]);
});

test('an unknown interface is an error that names those that exist', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  const request = { vips: ['10.1.0.1'], lips: [], rips: ['10.1.0.2'], wan: 'eth7' };
  const { message, hint } = await failure(t, ns, request);
  assert.equal(message, 'there is no interface eth7');
  assert.match(hint, /lo, .*eth9/);
});

test('an interface of a VRF is an error that says so', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  try {
    sh(`ip -n ${ns} link add red type vrf table 10 && ip -n ${ns} link set eth9 master red`);
  } catch (error) {
    assert.match(String(error), /Unknown device type/);
    t.skip('this kernel has no VRFs');
    return;
  }
  sh(
    `ip -n ${ns} link add br0 type bridge && ip -n ${ns} link set br0 up && ip -n ${ns} link set br0 master red`,
  );
  sh(`ip -n ${ns} link add eth8 type veth peer name eth8p && ip -n ${ns} link set eth8 up master br0`);
  for (const wan of ['eth9', 'red', 'br0', 'eth8']) {
    const { message, hint } = await failure(t, ns, { vips: ['10.1.0.1'], lips: [], rips: ['10.1.0.2'], wan });
    assert.equal(message, `the interface ${wan} is of a VRF`);
    assert.match(hint, /ip link set/);
  }
});

test('of a real server the routes from the LIPs of its services count, as rules say', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24 fd00:1::1/64', eth8: '10.8.0.1/24 fd00:8::1/64' });
  const ways = [
    {
      lips: ['10.1.0.1', '10.8.0.1'],
      rips: ['10.9.0.2', '10.9.1.2'],
      length: 24,
      by: ['10.1.0.2', '10.8.0.2'],
    },
    {
      lips: ['fd00:1::1', 'fd00:8::1'],
      rips: ['fd00:9::2', 'fd00:9:1::2'],
      length: 48,
      by: ['fd00:1::2', 'fd00:8::2'],
    },
  ] as const;
  for (const { lips, rips, length, by } of ways) {
    const run = (command: string) => sh(`ip -n ${ns} ${command}`);
    const route = (rip: string, gateway: string, more = '') =>
      run(`route add ${rip.replace(/2$/, length === 24 ? '0' : '')}/${length} via ${gateway} ${more}`);
    const services = [lips.slice(0, 1), lips.slice(1), lips].map((own) => ({
      vips: [lips[0]],
      lips: own,
      rips,
    }));
    route(rips[0], by[0]);
    const { reach } = await inspect(t, ns, { services });
    const [good, bad] = [
      { mtu: 1500, unreachable: '', isOnHost: false },
      { mtu: 0, unreachable: 'no route to it', isOnHost: false },
    ];
    assert.deepEqual(reach, Array(3).fill({ [rips[0]]: good, [rips[1]]: bad }));
    route(rips[0], by[1], 'mtu 1400 table 100');
    route(rips[1], by[1], 'table 100');
    run(`${length === 24 ? '-4' : '-6'} rule add from ${lips[1]} lookup 100`);
    const found = await inspect(t, ns, { services });
    const ofBoth = { ...bad, unreachable: `from the LIP ${lips[0]}: no route to it` };
    assert.deepEqual(found.reach, [
      { [rips[0]]: good, [rips[1]]: bad },
      { [rips[0]]: { ...good, mtu: 1400 }, [rips[1]]: good },
      { [rips[0]]: { ...good, mtu: 1400 }, [rips[1]]: ofBoth },
    ]);
    assert.deepEqual(sides(found), [
      ['eth9', 3],
      ['eth8', 2],
    ]);
    const { reach: named } = await inspect(t, ns, { services, lan: 'eth9' });
    const astray = 'the route to it leads over eth8, not over eth9 (io.lan)';
    assert.equal(named[1][rips[1]].unreachable, astray);
  }
});

test('of a real server the IPv6 route from a LIP counts, where a route is for some sources only', async (t) => {
  const ns = host(t, { eth9: 'fd00:1::1/64 fd00:8::1/64' });
  sh(`ip -n ${ns} route add fd00:9::/48 from fd00:1::/64 via fd00:1::2 mtu 1300`);
  sh(`ip -n ${ns} route add fd00:9::/48 from fd00:8::/64 via fd00:1::2 mtu 1400`);
  const services = ['fd00:1::1', 'fd00:8::1'].map((lip) => ({
    vips: [lip],
    lips: [lip],
    rips: ['fd00:9::2'],
  }));
  const { reach } = await inspect(t, ns, { services });
  assert.deepEqual(
    reach.map((ofService) => ofService['fd00:9::2'].mtu),
    [1300, 1400],
  );
});

test('an interface that is down is an error with the command that brings it up', async (t) => {
  const ns = host(t, { eth9: '10.1.0.1/24' });
  sh(`ip -n ${ns} link add eth5 type veth peer name eth5p`);
  const request = { vips: ['10.1.0.1'], lips: [], rips: ['10.1.0.2'], wan: 'eth5' };
  assert.deepEqual(await failure(t, ns, request), {
    message: 'the interface eth5 is down',
    hint: 'bring it up: ip link set eth5 up',
  });
});

test('a real server that cannot be reached is said to be, with its reason, and the others are planned for', async (t) => {
  const { lb } = threeInARow(t);
  const run = (command: string) => sh(`ip -n ${lb} ${command}`);
  run('route add unreachable 203.0.114.0/24');
  run('route add 203.0.115.0/24 via 10.2.0.2 mtu 60');
  run('-6 route add 2001:db8:1::/48 via fd00:2::2 mtu 1000');
  run('route add 203.0.116.0/24 via 10.1.0.2');
  const rips = ['10.2.0.2', '203.0.113.1', '2001:db8::1', '203.0.114.1', '203.0.115.1', '2001:db8:1::1'];
  const request = { vips: ['10.1.0.1'], lips: ['10.2.0.1', 'fd00:2::1'], rips: [...rips, '203.0.116.1'] };
  const found = await inspect(t, lb, { ...request, wan: 'wan0', lan: 'lan0' });
  assert.deepEqual(found.mtuTowards, { '10.2.0.2': 1500 });
  assert.deepEqual(found.unreachable, {
    '203.0.113.1': 'no route to it',
    '2001:db8::1': 'no route to it',
    '203.0.114.1': 'no route to it',
    '203.0.115.1': 'the MTU of the route to it is 60, less than the 68 that IPv4 needs',
    '2001:db8:1::1': 'the MTU of the route to it is 1000, less than the 1280 that IPv6 needs',
    '203.0.116.1': 'the route to it leads over wan0, not over lan0 (io.lan)',
  });
});

test('without any route to a real server the LIPs tell the interface, else that of the clients is both', async (t) => {
  const ns = host(t, { eth8: '10.7.0.1/24', eth9: '10.1.0.1/24' });
  const base = { vips: ['10.1.0.1'], rips: ['203.0.113.1'] };
  const { unreachable, ...found } = await inspect(t, ns, { ...base, lips: ['10.7.0.200'] });
  assert.deepEqual(sides(found as Found), [
    ['eth9', 1],
    ['eth8', 2],
  ]);
  assert.deepEqual(unreachable, { '203.0.113.1': 'no route to it' });
  assert.deepEqual(
    found.missing.map(({ device }) => device),
    ['eth8'],
  );
  assert.deepEqual(sides(await inspect(t, ns, { ...base, lips: ['192.0.2.200'] })), [['eth9', 3]]);
});

test('a proxy at work keeps its interfaces, whatever became of them, and hears what is wrong', async (t) => {
  const { lb } = threeInARow(t);
  const run = (command: string) => sh(`ip -n ${lb} ${command}`);
  const request = { vips: ['10.1.0.1'], lips: ['10.2.0.1'], rips: ['10.2.0.2', '10.9.0.2'] };
  run('route add 10.9.0.0/24 via 10.2.0.2');
  const { ports } = await inspect(t, lb, request);
  assert.deepEqual(
    ports.map(({ name, side }) => [name, side]),
    [
      ['wan0', 1],
      ['lan0', 2],
    ],
  );
  run('link add eth5 type veth peer name eth5p');
  run('link set eth5 up');
  run('link set eth5p up');
  run('address add 10.5.0.1/24 dev eth5');
  run('route replace 10.9.0.0/24 via 10.5.0.2');
  run('address delete 10.1.0.1/24 dev wan0');
  run('address add 10.1.0.1/24 dev eth5');
  run('link set lan0 down');
  run('link set wan0 address 02:00:00:00:01:01');
  const found = await inspect(t, lb, { ...request, ports });
  assert.deepEqual(found.ports, [{ ...ports[0], mac: '02:00:00:00:01:01' }, ports[1]]);
  assert.deepEqual(found.unreachable, {
    '10.2.0.2': 'no route to it',
    '10.9.0.2': 'the route to it leads over eth5, where nothing is captured until a restart',
  });
  assert.deepEqual(
    found.troubles.map(({ ip, text }) => [ip, text]),
    [
      ['10.1.0.1', 'the VIP 10.1.0.1 is reached by eth5, where nothing is captured'],
      ['', 'the interface lan0 is down'],
    ],
  );
  run('address delete 10.1.0.1/24 dev eth5');
  run('link delete eth5');
  const { troubles, missing } = await inspect(t, lb, { ...request, ports });
  assert.match(troubles[0].text, /cannot tell which interface receives packets to the VIP 10\.1\.0\.1/);
  assert.deepEqual(
    missing.map(({ ip, device }) => [ip, device]),
    [['10.1.0.1', 'wan0']],
  );
});

test('what ports are down is asked of the kernel: sysfs may be that of another namespace', async (t) => {
  const ns = host(t, { eth6: '10.6.0.1/24', eth8: '10.7.0.1/24', eth9: '10.1.0.1/24' });
  sh(`ip -n ${ns} link set eth6 down && ip -n ${ns} link set eth8p down`);
  const port = { side: 3, mtu: 1500, mac: '02:00:00:00:00:01', loopback: false };
  const ports = ['lo', 'eth5', 'eth6', 'eth8', 'eth9'].map((name) => ({ ...port, name }));
  const request = { vips: ['10.1.0.1'], lips: ['10.1.0.1'], rips: ['10.1.0.2'], ports };
  const withoutSysfs = ['bash', '-c', 'mount -t tmpfs none /sys && exec "$@"', 'bash'];
  const program = startProgram(t, ns, 'host/host-program.ts', request, withoutSysfs);
  const { down, turnedOff } = await program.next<Found>('facts');
  assert.deepEqual(down, ['eth5 is gone', 'eth6 is down', 'eth8 is lowerlayerdown']);
  assert.deepEqual(turnedOff, ['eth5', 'eth6']);
});

test('a host without iproute2 is planned for, and gets its addresses', async (t) => {
  const { lb } = threeInARow(t);
  const request = { vips: ['10.1.0.100', 'fd00:1::100'], lips: ['10.2.0.1'], rips: ['10.2.0.2'] };
  const nowhere = ['env', 'PATH=/nonexistent'];
  const program = startProgram(t, lb, 'host/host-program.ts', { ...request, assign: true }, nowhere);
  assert.equal(await program.next('assigned'), 2);
  assert.deepEqual((await inspect(t, lb, request)).missing, []);
  await program.stop();
  assert.equal((await inspect(t, lb, request)).missing.length, 2);
});

/** Of both families by turns. */
const manyAddresses = (count: number): string[] =>
  Array.from({ length: count }, (_, index) =>
    index % 2 === 0 ? `198.18.${index >> 8}.${index & 255}` : `fd00:18::${index.toString(16)}`,
  );

const countOf = (ns: string): number =>
  sh(`ip -n ${ns} -o address show`)
    .split('\n')
    .filter((line) => / (198\.18\.|fd00:18:)/.test(line)).length;

test('thousands of addresses are added and removed in little more than one step', async (t) => {
  const { lb } = threeInARow(t);
  const vips = manyAddresses(2000);
  const request = { wan: 'wan0', vips, lips: ['10.2.0.1'], rips: ['10.2.0.2'] };
  const program = startProgram(t, lb, 'host/host-program.ts', { ...request, assign: true });
  assert.equal(await program.next('assigned'), 2000);
  assert.equal(countOf(lb), 2000);
  assert.deepEqual((await inspect(t, lb, request)).missing, []);
  sh(`ip -n ${lb} address delete ${vips[0]}/32 dev wan0`); // somebody else was faster
  sh(`ip -n ${lb} address delete ${vips[1999]}/128 dev wan0`);
  await program.stop();
  assert.equal(countOf(lb), 0);
});

test('where one of many addresses cannot be added, none is left, and the error names it', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip netns exec ${lb} sysctl -qw net.ipv6.conf.lan0.disable_ipv6=1`);
  const missing = manyAddresses(999).map((ip) => ({ ip, device: 'wan0', command: '' }));
  const refused = { ip: 'fd00:19::1', device: 'lan0', command: '' };
  const program = startProgram(t, lb, 'host/host-program.ts', { missing: [...missing, refused] });
  const { message, hint } = await program.next<{ message: string; hint: string }>('error');
  assert.match(message, /^cannot add the address fd00:19::1 to lan0: EACCES/);
  assert.match(hint, /sysctl net\.ipv6\.conf\.lan0\.disable_ipv6=0/);
  assert.equal(countOf(lb), 0);
});

test('without the right to add addresses the error says what is needed', async (t) => {
  const { lb } = threeInARow(t);
  const missing = [{ ip: '198.18.0.1', device: 'wan0', command: '' }];
  const without = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin'];
  const program = startProgram(t, lb, 'host/host-program.ts', { missing }, without);
  const { message, hint } = await program.next<{ message: string; hint: string }>('error');
  assert.equal(message, 'cannot add the address 198.18.0.1 to wan0: EPERM');
  assert.match(hint, /CAP_NET_ADMIN/);
});
