// Checks over a network of namespaces: echo requests, and what only routers and firewalls do to the other
// kinds.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { namespace, type Program, sh, startProgram, threeInARow } from '../io/namespaces.ts';
import type { Check } from './probe-program.ts';

interface Network {
  router: string;
  server: string;
  /** Checks from behind the router, all at the same time. */
  checks(...wanted: Check[]): Promise<string[]>;
}

/**
 * The checks run on 10.1.0.2 and fd00:1::2; the server is 10.2.0.2, fd00:2::2, and all of 10.3/16 and
 * fd00:3::/64.
 */
async function network(t: TestContext): Promise<Network> {
  const { client, lb: router, server } = threeInARow(t);
  const routes: [string, string][] = [
    [client, 'default via 10.1.0.1'],
    [client, 'default via fd00:1::1'],
    [server, 'default via 10.2.0.1'],
    [server, 'default via fd00:2::1'],
    [router, '10.3.0.0/16 via 10.2.0.2'],
    [router, 'fd00:3::/64 via fd00:2::2'],
    [server, 'local 10.3.0.0/16 dev lo'],
    [server, 'local fd00:3::/64 dev lo'],
    [router, 'unreachable 10.9.0.0/16'],
    [router, 'unreachable fd00:9::/64'],
    [router, 'prohibit 10.8.0.0/16'],
    [router, 'prohibit fd00:8::/64'],
  ];
  const forwarding = 'net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1';
  sh(
    `ip netns exec ${router} sysctl -qw ${forwarding} net.ipv4.icmp_msgs_per_sec=10000 net.ipv4.icmp_ratelimit=0`,
  );
  for (const [ns, route] of routes) sh(`ip -n ${ns} ${route.includes(':') ? '-6' : ''} route add ${route}`);
  const program = await startChecks(t, client);
  return { router, server, checks: (...wanted) => ask(program, wanted) };
}

async function startChecks(t: TestContext, ns: string, wrapper: readonly string[] = []): Promise<Program> {
  const program = startProgram(t, ns, 'health/probe-program.ts', {}, wrapper);
  await program.next('ready');
  return program;
}

async function ask(program: Program, wanted: Check[]): Promise<string[]> {
  program.write(wanted);
  return await program.next('results');
}

function filter(ns: string, hook: string, rules: string): void {
  const type = hook === 'output' ? 'route' : 'filter';
  sh(
    `ip netns exec ${ns} nft -f -`,
    `table inet test {\n chain ${hook} {\n type ${type} hook ${hook} priority 0;\n ${rules}\n }\n }`,
  );
}

const ICMP = { type: 'icmp' };
const SHORT = { timeout: '500ms' };

test('hundreds of servers answer echo requests at the same time, in both families', async (t) => {
  const { checks } = await network(t);
  // The neighbors are resolved first: the kernel keeps only so many packets for one that is not.
  const gateways: Check[] = [
    [ICMP, { ip: '10.2.0.2' }],
    [ICMP, { ip: 'fd00:2::2' }],
  ];
  assert.deepEqual(await checks(...gateways), ['success', 'success']);
  const numbers = Array.from({ length: 300 }, (_, index) => index);
  const ips = numbers.flatMap((n) => [`10.3.${n >> 8}.${n & 255}`, `fd00:3::0:${n.toString(16)}`]);
  const results = await checks(...ips.map((ip): Check => [ICMP, { ip }]));
  assert.deepEqual([...new Set(results)], ['success']);
  assert.equal(results.length, 600);
});

test('a server behind a black hole fails, while others answer', async (t) => {
  const { server, checks } = await network(t);
  filter(server, 'input', 'ip daddr 10.3.0.7 drop\n ip6 daddr fd00:3::7 drop');
  const results = await checks(
    [{ ...ICMP, ...SHORT }, { ip: '10.3.0.7' }],
    [{ ...ICMP, ...SHORT }, { ip: 'fd00:3::7' }],
    [ICMP, { ip: '10.3.0.8' }],
    [ICMP, { ip: 'fd00:3::8' }],
    [{ type: 'tcp', ...SHORT }, { ip: '10.3.0.7' }],
    [{ type: 'tcp', ...SHORT }, { ip: 'fd00:3::7' }],
    [{ type: 'http', ...SHORT }, { ip: '10.3.0.7' }],
    [{ type: 'udp', expect: 'pong', ...SHORT }, { ip: '10.3.0.7' }],
    [{ type: 'udp', ...SHORT }, { ip: '10.3.0.7' }],
  );
  const late = 'no reply within 500ms';
  assert.deepEqual(results, [
    ...[late, late, 'success', 'success', late, late],
    ...['no answer within 500ms', late, 'success'],
  ]);
});

test('an echo reply counts only from the address that was asked, and with the bytes that were sent', async (t) => {
  const { server, checks } = await network(t);
  const rules = [
    // No pseudo-header: the checksum stays right.
    'ip saddr 10.3.0.1 icmp type echo-reply ip saddr set 10.3.0.9',
    'ip saddr 10.3.0.2 icmp type echo-reply @th,64,32 set 0x0', // raw sockets of IPv4 do not check it
    'ip saddr 10.3.0.3 icmp type echo-reply @th,48,16 set 0xffff',
  ];
  filter(server, 'output', rules.join('\n '));
  const ips = ['10.3.0.1', '10.3.0.2', '10.3.0.3', '10.3.0.4'];
  const late = 'no reply within 500ms';
  assert.deepEqual(await checks(...ips.map((ip): Check => [{ ...ICMP, ...SHORT }, { ip }])), [
    ...[late, late, late],
    'success',
  ]);
});

test('a router that says that a server cannot be reached makes its check fail at once', async (t) => {
  const { checks } = await network(t);
  const rows: [string, Check][] = [
    ['host unreachable', [{ type: 'udp' }, { ip: '10.9.0.1' }]],
    ['host unreachable', [{ type: 'udp', expect: 'pong' }, { ip: '10.9.0.1' }]],
    ['host unreachable', [{ type: 'udp' }, { ip: '10.8.0.1' }]],
    ['network unreachable', [{ type: 'udp' }, { ip: 'fd00:9::1' }]],
    ['administratively prohibited', [{ type: 'udp' }, { ip: 'fd00:8::1' }]],
    ['host unreachable', [{ type: 'tcp' }, { ip: '10.8.0.1' }]],
    ['administratively prohibited', [{ type: 'tcp' }, { ip: 'fd00:8::1' }]],
  ];
  assert.deepEqual(
    await checks(...rows.map(([, wanted]) => wanted)),
    rows.map(([words]) => words),
  );
});

test('without a route a check fails, and without CAP_NET_RAW one by ICMP cannot be made', async (t) => {
  const ns = namespace(t, 'n');
  const kinds = ['udp', 'tcp', 'http', 'icmp'];
  const words = Array(2 * kinds.length).fill('network unreachable');
  const targets = kinds.flatMap((type): Check[] => [
    [{ type }, { ip: '10.2.0.2' }],
    [{ type }, { ip: 'fd00:2::2' }],
  ]);
  assert.deepEqual(await ask(await startChecks(t, ns), targets), words);
  const unprivileged = await startChecks(t, ns, ['setpriv', '--bounding-set', '-net_raw']);
  const hint = 'no socket for echo requests (socket failed: EPERM): health.type icmp needs CAP_NET_RAW';
  assert.deepEqual(await ask(unprivileged, [[ICMP, { ip: '127.0.0.1' }]]), [`CannotCheck: ${hint}`]);
});
