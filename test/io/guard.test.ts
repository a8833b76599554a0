// The guard between the host's kernel and the proxy's packets, on real packets in namespaces.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuardSpec } from '../../src/io/guard.ts';
import type { ReceivedDatagram, Request } from './endpoint-program.ts';
import { namespace, type Program, sh, startProgram, threeInARow } from './namespaces.ts';

const [CIP, VIP, LIP, RIP] = ['10.1.0.2', '10.1.0.1', '10.2.0.1', '10.2.0.2'] as const;
const SPEC: GuardSpec = {
  vips: [{ ip: VIP, port: 6000 }],
  lips: [{ ip: LIP, first: 5000, last: 5999 }],
};

async function startGuard(t: TestContext, ns: string, spec: GuardSpec = SPEC): Promise<[Program, string]> {
  const program = startProgram(t, ns, './guard-program.ts', spec);
  return [program, await program.next<string>('ready')];
}

async function startEndpoint(t: TestContext, ns: string, ip: string, port = 0): Promise<Program> {
  const endpoint = startProgram(t, ns, './endpoint-program.ts', { ip, port });
  await endpoint.next('ready');
  return endpoint;
}

async function ask<T>(endpoint: Program, request: Request): Promise<T> {
  endpoint.write(request);
  return endpoint.next<T>('answer');
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
    .map((line) => line.split(' ')[2]!);
}

async function untilTables(ns: string, isWanted: (names: string[]) => boolean): Promise<string[]> {
  const deadline = performance.now() + 30_000;
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

test('the kernel refuses datagrams to VIP:vport without the guard and is silent with it', async (t) => {
  const { client, lb } = threeInARow(t);
  const endpoint = await startEndpoint(t, client, CIP);
  assert.deepEqual(await icmpAfter(endpoint, VIP, 6000), ['3/3']);
  const [guard] = await startGuard(t, lb);
  assert.deepEqual(await icmpAfter(endpoint, VIP, 6000), ['3/3'], 'no second one');
  assert.deepEqual(await icmpAfter(endpoint, VIP, 6001), ['3/3', '3/3'], 'another port is still refused');
  await guard.stop();
  assert.deepEqual(tables(lb), []);
});

test('answers of a real server to LIP:lport are not refused, those to other ports are', async (t) => {
  const { lb, server } = threeInARow(t);
  await startGuard(t, lb);
  const endpoint = await startEndpoint(t, server, RIP, 6000);
  assert.deepEqual(await icmpAfter(endpoint, LIP, 5000), []);
  assert.deepEqual(await icmpAfter(endpoint, LIP, 5999), []);
  assert.deepEqual(await icmpAfter(endpoint, LIP, 6000), ['3/3']);
});

test('a process on the host that has the port does not get the datagrams', async (t) => {
  const { client, lb } = threeInARow(t);
  await startGuard(t, lb);
  const intruder = await startEndpoint(t, lb, VIP, 6000);
  const endpoint = await startEndpoint(t, client, CIP);
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
  const [second, secondTable] = await startGuard(t, ns);
  assert.deepEqual(tables(ns).sort(), [firstTable, secondTable].sort());
  await first.stop();
  assert.deepEqual(tables(ns), [secondTable]);
  await second.stop();
  assert.deepEqual(tables(ns), []);
});

test('a masquerading rule rewrites what is sent from LIP:lport without the guard and not with it', async (t) => {
  const { lb, server } = threeInARow(t);
  sh(
    `ip netns exec ${lb} nft -f -`,
    'table ip nat { chain post { type nat hook postrouting priority srcnat; ' +
      'oifname "lan0" meta l4proto udp masquerade to :20000-20010; }; }',
  );
  const endpoint = await startEndpoint(t, server, RIP, 6000);
  // 10.2.0.1:lport -> 10.2.0.2:6000, 2 bytes, no UDP checksum; the kernel fills in the header checksum.
  const packet = (lport: number) =>
    `4500001e00014000401100000a0200010a020002${lport.toString(16)}1770000a0000abcd`;
  const srcPortAfterSending = async (lport: number) => {
    await startProgram(t, lb, './send-program.ts', { packets: [packet(lport)] }).stop();
    return (await ask<ReceivedDatagram>(endpoint, { receive: { timeoutMs: 5_000 } })).srcPort;
  };
  assert.notEqual(await srcPortAfterSending(5001), 5001);
  const [guard] = await startGuard(t, lb);
  assert.equal(await srcPortAfterSending(5002), 5002);
  await guard.stop();
});

test('a host without nft is an error that names the package', async (t) => {
  const ns = namespace(t, 'g');
  // In a mount namespace of its own, the folder that holds nft is empty.
  const hideNft = 'mount -t tmpfs none /usr/sbin && exec "$@"';
  const program = startProgram(t, ns, './guard-program.ts', SPEC, [
    'unshare',
    '-m',
    'sh',
    '-c',
    hideNft,
    'sh',
  ]);
  await assert.rejects(program.next('ready'), /Debian package nftables/);
});

test('a process without CAP_NET_ADMIN gets an error that names it', async (t) => {
  const ns = namespace(t, 'g');
  const program = startProgram(t, ns, './guard-program.ts', SPEC, [
    'setpriv',
    '--bounding-set',
    '-net_admin',
    '--inh-caps',
    '-net_admin',
  ]);
  await assert.rejects(program.next('ready'), /CAP_NET_ADMIN/);
});
