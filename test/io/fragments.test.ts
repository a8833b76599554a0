// Fragments on a host that tracks connections: those that the proxy sends leave it one by one, those that
// come in for a service neither wait in the kernel nor get an answer, and those of others are put together as
// always.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuardSpec } from '../../src/host/guard.ts';
import { ask, startEndpoint } from '../host/endpoint.ts';
import type { ReceivedDatagram } from '../host/endpoint-program.ts';
import { type Cleanup, sh, startProgram, threeInARow, WITHOUT_IPV6 } from './namespaces.ts';

interface FamilyCase {
  name: string;
  cip: string;
  vip: string;
  lip: string;
  rip: string;
  refused: string;
  /** Where the kernel counts fragments that came in to be put together, and those that wait. */
  counter: string;
  waiting: string;
}
const FAMILIES: FamilyCase[] = [
  {
    name: 'IPv4',
    cip: '10.1.0.2',
    vip: '10.1.0.1',
    lip: '10.2.0.1',
    rip: '10.2.0.2',
    refused: '3/3',
    counter: 'awk \'$1 == "Ip:" {value = $15} END {print value}\' /proc/net/snmp',
    waiting: 'awk \'$1 == "FRAG:" {print $3}\' /proc/net/sockstat',
  },
  {
    name: 'IPv6',
    cip: 'fd00:1::2',
    vip: 'fd00:1::1',
    lip: 'fd00:2::1',
    rip: 'fd00:2::2',
    refused: '1/4',
    counter: 'awk \'$1 == "Ip6ReasmReqds" {print $2}\' /proc/net/snmp6',
    waiting: 'awk \'$1 == "FRAG6:" {print $3}\' /proc/net/sockstat6',
  },
];

const number = (ns: string, command: string) => Number(sh(`ip netns exec ${ns} ${command}`));

/**
 * Makes the kernel of the namespace track connections, and so put fragments together before anything else.
 */
function track(ns: string): void {
  sh(
    `ip netns exec ${ns} nft -f -`,
    'table inet tracking { chain in { type filter hook prerouting priority filter; ct state new counter; }; ' +
      'chain out { type filter hook output priority filter; ct state new counter; }; }',
  );
}

async function startGuard(t: Cleanup, ns: string, { vip, lip }: FamilyCase): Promise<void> {
  const spec: GuardSpec = { vips: [{ ip: vip, port: 6000 }], lips: [{ ip: lip, first: 5000, last: 5999 }] };
  await startProgram(t, ns, 'host/guard-program.ts', spec).next('ready');
}

/** A datagram of 24 zero bytes from lport to port 6000 in two fragments; over IPv4 without a UDP checksum. */
function twoFragments({ name, lip, rip }: FamilyCase, lport: number): [string, string] {
  const udpHeader = (checksum: number) =>
    [lport, 6000, 32, checksum].map((word) => word.toString(16).padStart(4, '0')).join('');
  if (name === 'IPv4') {
    const header = (field: string) => `45000024abcd${field}40110000${[lip, rip].map(hex4).join('')}`;
    return [header('2000') + udpHeader(0) + '00'.repeat(8), header('0002') + '00'.repeat(16)];
  }
  const addresses = ['fd0000020000000000000000000000', '01', 'fd0000020000000000000000000000', '02'].join('');
  let sum = 17 + 2 * 32 + lport + 6000;
  for (let at = 0; at < addresses.length; at += 4) sum += Number.parseInt(addresses.slice(at, at + 4), 16);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const header = (field: string) => `6000000000182c40${addresses}1100${field}0000abcd`;
  return [header('0001') + udpHeader(~sum & 0xffff) + '00'.repeat(8), header('0010') + '00'.repeat(16)];
}

const hex4 = (ip: string) => Buffer.from(ip.split('.').map(Number)).toString('hex');

for (const family of FAMILIES) {
  const { name, cip, vip, rip, refused, counter, waiting } = family;

  test(`${name} fragments that are sent one by one leave one by one, and are put together by the real server`, async (t) => {
    const { lb, server } = threeInARow(t);
    track(lb);
    await startGuard(t, lb, family);
    const endpoint = await startEndpoint(t, server, { ip: rip, port: 6000 });
    const [first, second] = twoFragments(family, 5001);
    const send = async (packet: string) => {
      const program = startProgram(t, lb, 'io/send-program.ts', { packets: [packet] });
      assert.deepEqual(await program.next('sent'), [true]);
    };
    await send(first);
    const deadline = performance.now() + 120_000;
    while (number(server, counter) < 1) {
      assert.ok(performance.now() < deadline, 'the first fragment waits for the second');
      await sleep(10);
    }
    await send(second);
    const datagram = await ask<ReceivedDatagram>(endpoint, { receive: { timeoutMs: 60_000 } });
    assert.deepEqual([datagram.hex, datagram.srcPort], ['00'.repeat(24), 5001]);
    assert.equal(number(server, counter), 2);
  });

  for (const tracking of [false, true]) {
    test(`${name} fragments of a datagram to VIP:vport leave nothing in a kernel that ${tracking ? 'tracks' : 'does not track'} connections`, async (t) => {
      const { client, lb } = threeInARow(t);
      if (tracking) track(lb);
      await startGuard(t, lb, family);
      const endpoint = await startEndpoint(t, client, { ip: cip });
      const sendTo = async (port: number) => {
        await ask(endpoint, { send: { hex: '00'.repeat(4_000), ip: vip, port } });
        assert.equal(await ask(endpoint, { ping: vip }), true);
        return ask<string[]>(endpoint, { icmp: true });
      };
      assert.deepEqual(await sendTo(6000), []);
      assert.equal(number(lb, waiting), 0);
      assert.deepEqual(await sendTo(6001), [refused], 'another port is answered as always');
    });
  }
}

test('without IPv6 in the kernel, IPv4 packets are sent and IPv6 ones counted as unreachable', async (t) => {
  const { lb } = threeInARow(t);
  const packets = FAMILIES.map((family) => twoFragments(family, 5001)[0]);
  const program = startProgram(t, lb, 'io/send-program.ts', { packets }, WITHOUT_IPV6);
  assert.deepEqual(await program.next('sent'), [true, false]);
});
