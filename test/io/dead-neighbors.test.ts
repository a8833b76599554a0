// Real servers and clients that answer no ARP or neighbor solicitation: what waits for them in the kernel takes nothing
// from a living session whose packets go through the IP layer, too.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { IoCounterName } from '../../src/io/packet-io.ts';
import { startEndpoint } from './endpoint.ts';
import { sh, threeInARow } from './namespaces.ts';
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
} from './relay.ts';

/** Of each side. */
const DEAD = 100;
const PACKETS = 12_000;
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
          return wan!.received + lan!.received + wan!.lostKernel >= handed;
        });
        // The living session's neighbor must be asked now and then, too.
        sh(`ip -n ${lb} neighbor delete ${rip} dev lan0`);
        await assertPass(endpoint, vip, new Array(EXCHANGES).fill(64));
        handed += 2 * EXCHANGES;
      }
      const { counters } = await report(relay);
      const living = handed - dead.length * PACKETS;
      const sum = SENT.reduce((sum, column) => sum + counters[2]![column], 0);
      const received = counters[0]!.received + counters[1]!.received;
      assert.equal(sum, received, 'each is sent or counted');
      assert.equal(counters[2]!.sendNoBuffer, 0);
      if (!hasRule) {
        const { sent, sendUnresolved } = counters[2]!;
        assert.ok(sent <= living + 4 * DEAD * ROOM, `${sent} of ${handed}`);
        assert.ok(sendUnresolved > 0);
      }
      await relay.stop();
    });
  }
}
