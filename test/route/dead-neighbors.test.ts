// Real servers and clients that answer no ARP or neighbor solicitation: what waits for them in the kernel
// takes nothing from a living session whose packets go through the IP layer, too.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { IoCounterName } from '../../src/io/packet-io.ts';
import { startEndpoint } from '../host/endpoint.ts';
import { sh, threeInARow } from '../io/namespaces.ts';
import { udp4 } from '../packets/builder.ts';
import { udp6 } from '../packets/builder6.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  CIP6,
  flood,
  LIP,
  LIP6,
  RIP,
  RIP6,
  report,
  reportOnce,
  startRelay,
  VIP,
  VIP6,
  VPORT,
} from '../steer/relay.ts';
import { addNeighbor, type Finder, routedHost, startFinder } from './next-hop.ts';

/** Of each side. */
const DEAD = 100;
const PACKETS = 20_000;
/** Per second: with more, the capture of pcap loses packets. */
const RATE = 8_000;
const EXCHANGES = 20;
/** What the kernel lets wait at first, and what it gets while it is asked again. */
const ROOM = 64;

const FAMILIES = [
  {
    ...{ name: 'IPv4', ip: 'ip', cip: CIP, vip: VIP, lip: LIP, rip: RIP, bits: 32 },
    toServers: { vip: '10.1.0.8', dst: '10.2.0.100' },
    toClients: { vip: '10.1.0.9', dst: '10.1.0.100' },
  },
  {
    ...{ name: 'IPv6', ip: 'ip -6', cip: CIP6, vip: VIP6, lip: LIP6, rip: RIP6, bits: 128 },
    toServers: { vip: 'fd00:1::8', dst: 'fd00:2::10' },
    toClients: { vip: 'fd00:1::9', dst: 'fd00:1::10' },
  },
];
const SENT: IoCounterName[] = [
  'sent',
  'sendTooBig',
  'sendNoBuffer',
  'sendUnresolved',
  'sendUnreachable',
  'sendError',
];

const WAYS = [
  { name: 'pcap', isRing: false, hasRule: false },
  { name: 'pcap with a rule before the table main', isRing: false, hasRule: true },
  { name: 'ring', isRing: true, hasRule: false },
  { name: 'ring with a rule before the table main', isRing: true, hasRule: true },
];

for (const { name: way, isRing, hasRule } of WAYS) {
  for (const { name, ip, cip, vip, lip, rip, bits, toServers, toClients } of FAMILIES) {
    test(`${DEAD} dead real servers and ${DEAD} dead clients over ${name} cost a living session nothing: ${way}`, async (t) => {
      const { client, lb, server } = threeInARow(t);
      const dead = [toServers, toClients];
      for (const { vip } of dead)
        sh(`ip -n ${lb} address add ${vip}/${bits} dev wan0 ${bits > 32 ? 'nodad' : ''}`);
      if (hasRule) sh(`${ip.replace('ip', `ip -n ${lb}`)} rule add priority 100 lookup 200`);
      const relay = await startRelay(t, lb, {
        ...BOTH_FAMILIES,
        vips: [...BOTH_FAMILIES.vips, ...dead.map(({ vip }) => ({ ip: vip, port: VPORT }))],
        rewrite: {
          ...BOTH_FAMILIES.rewrite,
          ...Object.fromEntries(dead.map(({ vip, dst }) => [vip, { src: lip, dst, spread: DEAD }])),
        },
        ...(isRing ? { ring: 64 << 20 } : { ring: undefined }),
      });
      await startEndpoint(t, server, { ip: rip, port: VPORT, echo: true });
      const endpoint = await startEndpoint(t, client, { ip: cip });
      await assertPass(endpoint, vip, [64]);

      let handed = 2;
      for (const { vip: deadVip } of dead) {
        const load = { port: VPORT, payloadLen: 1_400, rate: RATE, durationMs: 60_000, count: PACKETS };
        handed += await flood(t, client, { ip: deadVip, ...load });
        // A capture that is full would lose the living session's packets, too.
        await reportOnce(relay, ({ counters }) => {
          const [wan, lan] = counters;
          return wan.received + lan.received + wan.lostKernel >= handed;
        });
        // The living session's neighbor must be asked now and then, too.
        sh(`ip -n ${lb} neighbor delete ${rip} dev lan0`);
        await assertPass(endpoint, vip, new Array(EXCHANGES).fill(64));
        handed += 2 * EXCHANGES;
      }
      const { counters } = await report(relay);
      const living = handed - dead.length * PACKETS;
      const sum = SENT.reduce((sum, column) => sum + counters[2][column], 0);
      const received = counters[0].received + counters[1].received;
      assert.equal(sum, received, 'each is sent or counted');
      assert.equal(counters[2].sendNoBuffer, 0);
      const { sent, sendUnresolved } = counters[2];
      assert.ok(sent <= living + 4 * DEAD * ROOM, `${sent} of ${handed}`);
      assert.ok(sendUnresolved > 0);
      await relay.stop();
    });
  }
}

/** Of 100 packets to the address, or to the addresses in turn, how many the kernel gets. */
async function admitted({ program }: Finder, ...addresses: string[]): Promise<number> {
  const send = Array.from({ length: 100 }, (_, n) => {
    const dst = addresses[n % addresses.length];
    const packetOf = dst.includes(':') ? udp6 : udp4;
    const src = dst.includes(':') ? 'fd00:1::1' : '10.1.0.1';
    return Buffer.from(packetOf({ src, dst, sport: 5001, dport: 6000 })).toString('hex');
  });
  program.write({ send, nowMs: 0 });
  return (await program.next<boolean[]>('sent')).filter(Boolean).length;
}

for (const hasRule of [false, true])
  test(`only who must be asked for an Ethernet address and has not said it is limited${hasRule ? ', whatever rules there are' : ''}`, async (t) => {
    const { ns } = routedHost(t, 2);
    if (hasRule) for (const family of [4, 6]) sh(`ip -n ${ns} -${family} rule add priority 100 lookup 200`);
    sh(`ip -n ${ns} tuntap add t0 mode tun && ip -n ${ns} link set t0 up`);
    sh(`ip -n ${ns} address add 10.8.0.1/24 dev t0 && ip -n ${ns} address add fd00:8::1/64 dev t0 nodad`);
    addNeighbor(ns, 1, 2);
    sh(`ip -n ${ns} route add 10.7.0.0/16 via 10.1.0.2 && ip -n ${ns} route add fd00:7::/64 via fd00:1::2`);
    sh(`ip -n ${ns} route add 10.6.0.0/16 via 10.1.0.66 && ip -n ${ns} route add fd00:6::/64 via fd00:1::66`);
    const finder = await startFinder(t, ns);
    for (const [what, ipv4, ipv6] of [
      ['a known neighbor', '10.1.0.2', 'fd00:1::2'],
      ['behind a known gateway', '10.7.0.1', 'fd00:7::1'],
      ['this host', '10.1.0.1', 'fd00:1::1'],
      ['without Ethernet', '10.8.0.2', 'fd00:8::2'],
    ])
      for (const ip of [ipv4, ipv6]) assert.equal(await admitted(finder, ip), 100, `${what}: ${ip}`);
    for (const ip of ['10.1.0.77', 'fd00:1::77']) assert.equal(await admitted(finder, ip), ROOM, ip);
    // What waits for a gateway is one budget, whoever is behind it.
    for (const ips of [
      ['10.6.0.1', '10.6.0.2'],
      ['fd00:6::1', 'fd00:6::2'],
    ])
      assert.equal(await admitted(finder, ...ips), ROOM, ips.join());
    for (const ip of ['10.6.0.3', 'fd00:6::3'])
      assert.equal(await admitted(finder, ip), 0, `behind a dead gateway: ${ip}`);

    sh(`ip -n ${ns} link set e2 arp off`);
    await finder.told(); // takes it in
    for (const ip of ['10.2.0.77', 'fd00:2::77'])
      assert.equal(await admitted(finder, ip), 100, `no ARP: ${ip}`);
    addNeighbor(ns, 1, 77);
    for (const ip of ['10.1.0.77', 'fd00:1::77'])
      assert.equal(await admitted(finder, ip), 100, `it answered: ${ip}`);
    await finder.program.stop();
  });
