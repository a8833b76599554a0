// The guard between the host's kernel and the proxy's packets, on real packets in namespaces.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuardSpec } from '../../src/host/guard.ts';
import { namespace, type Program, sh, startProgram, threeInARow } from '../io/namespaces.ts';
import { ask, startEndpoint } from './endpoint.ts';
import type { ReceivedDatagram } from './endpoint-program.ts';

const [CIP, VIP, LIP, RIP] = ['10.1.0.2', '10.1.0.1', '10.2.0.1', '10.2.0.2'] as const;
const [CIP6, VIP6, LIP6, RIP6] = ['fd00:1::2', 'fd00:1::1', 'fd00:2::1', 'fd00:2::2'] as const;
const SPEC: GuardSpec = {
  vips: [{ ip: VIP, port: 6000 }],
  lips: [{ ip: LIP, first: 5000, last: 5999 }],
};
const DUAL: GuardSpec = {
  vips: [...SPEC.vips, { ip: VIP6, port: 6000 }],
  lips: [...SPEC.lips, { ip: LIP6, first: 5000, last: 5999 }],
};
/** Of another proxy on the same host. */
const OTHER: GuardSpec = {
  vips: DUAL.vips.map(({ ip }) => ({ ip, port: 7000 })),
  lips: DUAL.lips.map(({ ip }) => ({ ip, first: 6000, last: 6999 })),
};
/** `refused` and `unknown`: how the kernel answers for a port where nobody listens, and for protocol 248. */
const FAMILIES = [
  { name: 'IPv4', cip: CIP, vip: VIP, lip: LIP, rip: RIP, refused: '3/3', unknown: '3/2' },
  { name: 'IPv6', cip: CIP6, vip: VIP6, lip: LIP6, rip: RIP6, refused: '1/4', unknown: '4/1' },
];

async function startGuard(t: TestContext, ns: string, spec: GuardSpec = SPEC): Promise<[Program, string]> {
  const program = startProgram(t, ns, 'host/guard-program.ts', spec);
  return [program, await program.next<string>('ready')];
}

/** Sends a datagram; the ping that follows it is answered later than the datagram would be. */
async function icmpAfter(endpoint: Program, ip: string, port: number): Promise<string[]> {
  await ask(endpoint, { send: { hex: 'aa', ip, port } });
  assert.equal(await ask(endpoint, { ping: ip }), true, `${ip} answers a ping`);
  return ask<string[]>(endpoint, { icmp: true });
}

function tables(ns: string): string[] {
  return sh(`ip netns exec ${ns} nft list tables`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ')[2]);
}

async function untilTables(ns: string, isWanted: (names: string[]) => boolean): Promise<string[]> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    const names = tables(ns);
    if (isWanted(names)) return names;
    assert.ok(performance.now() < deadline, `still ${names}`);
    await sleep(20);
  }
}

function holderOf(program: Program): number {
  const { pid } = program.child;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return Number(children.find((child) => readFileSync(`/proc/${child}/comm`, 'utf8') === 'nft\n'));
}

for (const { name, cip, vip, lip, rip, refused, unknown } of FAMILIES) {
  test(`over ${name}, the kernel refuses datagrams to VIP:vport without the guard and is silent with it`, async (t) => {
    const { client, lb } = threeInARow(t);
    const endpoint = await startEndpoint(t, client, { ip: cip });
    assert.deepEqual(await icmpAfter(endpoint, vip, 6000), [refused]);
    const [guard] = await startGuard(t, lb, DUAL);
    assert.deepEqual(await icmpAfter(endpoint, vip, 6000), [refused], 'no second one');
    assert.deepEqual(
      await icmpAfter(endpoint, vip, 6001),
      [refused, refused],
      'another port is still refused',
    );
    await guard.stop();
    assert.deepEqual(tables(lb), []);
  });

  test(`over ${name}, answers of a real server to LIP:lport are not refused, those to other ports are`, async (t) => {
    const { lb, server } = threeInARow(t);
    await startGuard(t, lb, DUAL);
    const endpoint = await startEndpoint(t, server, { ip: rip, port: 6000 });
    assert.deepEqual(await icmpAfter(endpoint, lip, 5000), []);
    assert.deepEqual(await icmpAfter(endpoint, lip, 5999), []);
    assert.deepEqual(await icmpAfter(endpoint, lip, 6000), [refused]);
  });

  test(`over ${name}, protocol 248 to a VIP is refused without the guard and not with it`, async (t) => {
    const { client, lb } = threeInARow(t);
    const endpoint = await startEndpoint(t, client, { ip: cip });
    const icmpAfterOpp = async () => {
      await ask(endpoint, { raw: { protocol: 248, hex: '00'.repeat(16), ip: vip } });
      assert.equal(await ask(endpoint, { ping: vip }), true);
      return ask<string[]>(endpoint, { icmp: true });
    };
    assert.deepEqual(await icmpAfterOpp(), [unknown]);
    await startGuard(t, lb, DUAL);
    assert.deepEqual(await icmpAfterOpp(), [unknown], 'no second one');
  });

  test(`over ${name}, datagrams to a VIP on another host are not forwarded`, async (t) => {
    const { client, lb, server } = threeInARow(t);
    const all = name === 'IPv6' ? 'net.ipv6.conf.all.forwarding' : 'net.ipv4.ip_forward';
    sh(`ip netns exec ${lb} sysctl -qw ${all}=1`);
    sh(`ip -n ${client} route add ${rip} via ${vip}`);
    const receiver = await startEndpoint(t, server, { ip: rip, port: 6000 });
    const other = await startEndpoint(t, server, { ip: rip, port: 6001 });
    sh(`ip -n ${server} route add ${cip} via ${lip}`);
    await startGuard(t, lb, { vips: [{ ip: rip, port: 6000 }], lips: [] });
    const endpoint = await startEndpoint(t, client, { ip: cip });
    await ask(endpoint, { send: { hex: 'aa', ip: rip, port: 6000 } });
    await ask(endpoint, { send: { hex: 'bb', ip: rip, port: 6001 } });
    assert.equal((await ask<ReceivedDatagram>(other, { receive: { timeoutMs: 60_000 } })).hex, 'bb');
    assert.equal(await ask(receiver, { receive: { timeoutMs: 1 } }), null);
  });
}

test('datagrams behind IPv6 destination options are not refused', async (t) => {
  const { client, lb } = threeInARow(t);
  const options = '1100'.padEnd(16, '0'); // UDP follows, 8 bytes: six times Pad1
  const endpoint = await startEndpoint(t, client, { ip: CIP6 });
  const icmpAfterOptions = async (port: number) => {
    await ask(endpoint, { send: { hex: 'aa', ip: VIP6, port, options } });
    assert.equal(await ask(endpoint, { ping: VIP6 }), true);
    return ask<string[]>(endpoint, { icmp: true });
  };
  await startGuard(t, lb, DUAL);
  assert.deepEqual(await icmpAfterOptions(6000), []);
  assert.deepEqual(await icmpAfterOptions(6001), ['1/4']);
});

test('a guard of IPv4 addresses makes no table of IPv6', async (t) => {
  const ns = namespace(t, 'g');
  const [, name] = await startGuard(t, ns);
  assert.equal(sh(`ip netns exec ${ns} nft list tables`), `table ip ${name}\n`);
  const [, dual] = await startGuard(t, ns, OTHER);
  assert.equal(sh(`ip netns exec ${ns} nft list tables ip6`), `table ip6 ${dual}\n`);
});

test('a process on the host that has the port does not get the datagrams', async (t) => {
  const { client, lb } = threeInARow(t);
  await startGuard(t, lb);
  const intruder = await startEndpoint(t, lb, { ip: VIP, port: 6000 });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  await icmpAfter(endpoint, VIP, 6000);
  assert.equal(await ask(intruder, { receive: { timeoutMs: 1 } }), null);
});

test('the guard vanishes when the process that holds it is killed', async (t) => {
  const { lb } = threeInARow(t);
  const [guard, table] = await startGuard(t, lb);
  assert.deepEqual(tables(lb), [table]);
  guard.child.kill('SIGKILL');
  await untilTables(lb, (names) => names.length === 0);
});

test('a guard whose nft process dies is installed again and tells so', async (t) => {
  const { lb } = threeInARow(t);
  const [guard, table] = await startGuard(t, lb);
  const holder = holderOf(guard);
  process.kill(holder, 'SIGKILL');
  assert.match(await guard.next<string>('lost'), /installing the guard again/);
  await untilTables(lb, (names) => names.includes(table));
  assert.notEqual(holderOf(guard), holder);
  await guard.stop();
  assert.deepEqual(tables(lb), []);
});

test('two guards in one namespace do not disturb each other', async (t) => {
  const ns = namespace(t, 'g');
  const [first, firstTable] = await startGuard(t, ns);
  const [second, secondTable] = await startGuard(t, ns, OTHER);
  assert.deepEqual(tables(ns).sort(), [firstTable, secondTable, secondTable].sort());
  // Neither makes those that come later wait for what becomes of it.
  while (sh(`ip netns exec ${ns} nft list chains`).includes('undecided')) await sleep(20);
  await first.stop();
  assert.deepEqual(tables(ns), [secondTable, secondTable]);
  await second.stop();
  assert.deepEqual(tables(ns), []);
});

test('a masquerading rule rewrites what is sent from LIP:lport without the guard and not with it', async (t) => {
  const { lb, server } = threeInARow(t);
  sh(
    `ip netns exec ${lb} nft -f -`,
    'table inet nat { chain post { type nat hook postrouting priority srcnat; ' +
      'oifname "lan0" meta l4proto udp masquerade to :20000-20010; }; }',
  );
  // LIP:lport -> RIP:6000, 2 bytes. Over IPv4 without a UDP checksum, the kernel fills in that of the header.
  const port = (lport: number) => lport.toString(16);
  const packets = {
    IPv4: (lport: number) => `4500001e00014000401100000a0200010a020002${port(lport)}1770000a0000abcd`,
    IPv6: (lport: number) => {
      let sum = 2 * 0xfd00 + 2 * 2 + 1 + 2 + 17 + 10 + lport + 6000 + 10 + 0xabcd;
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      const checksum = (~sum & 0xffff).toString(16).padStart(4, '0');
      const address = (last: string) => `fd000002${'00'.repeat(11)}${last}`;
      return `60000000000a1140${address('01')}${address('02')}${port(lport)}1770000a${checksum}abcd`;
    },
  };
  const endpoints = {
    IPv4: await startEndpoint(t, server, { ip: RIP, port: 6000 }),
    IPv6: await startEndpoint(t, server, { ip: RIP6, port: 6000 }),
  };
  const srcPortAfterSending = async (family: 'IPv4' | 'IPv6', lport: number) => {
    await startProgram(t, lb, 'io/send-program.ts', { packets: [packets[family](lport)] }).stop();
    return (await ask<ReceivedDatagram>(endpoints[family], { receive: { timeoutMs: 60_000 } })).srcPort;
  };
  for (const family of ['IPv4', 'IPv6'] as const)
    assert.notEqual(await srcPortAfterSending(family, 5001), 5001);
  const [guard] = await startGuard(t, lb, DUAL);
  for (const family of ['IPv4', 'IPv6'] as const) assert.equal(await srcPortAfterSending(family, 5002), 5002);
  await guard.stop();
});

test('a host without nft is an error that names the package', async (t) => {
  const ns = namespace(t, 'g');
  // In a mount namespace of its own, the folder that holds nft is empty.
  const hideNft = 'mount -t tmpfs none /usr/sbin && exec "$@"';
  const program = startProgram(t, ns, 'host/guard-program.ts', SPEC, [
    'unshare',
    '-m',
    'sh',
    '-c',
    hideNft,
    'sh',
  ]);
  assert.match(await program.next<string>('hint'), /Debian package nftables/);
});

test('a process without CAP_NET_ADMIN gets an error that names it', async (t) => {
  const ns = namespace(t, 'g');
  const program = startProgram(t, ns, 'host/guard-program.ts', SPEC, [
    'setpriv',
    '--bounding-set',
    '-net_admin',
    '--inh-caps',
    '-net_admin',
  ]);
  assert.match(await program.next<string>('hint'), /CAP_NET_ADMIN/);
});
