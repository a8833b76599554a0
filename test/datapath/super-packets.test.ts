// Super packets: which go on as they came, what they become, and that everything counts as if each of their
// datagrams had come by itself. Packets in and out are built by the tests' own builder.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hopByHop } from '../packets/builder6.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import type { EitherFields } from '../packets/uoa-builder.ts';
import { PAIRS, type Pair, pair } from './pair.ts';
import { type PlanChange, PORT, Rig, type RigOptions, realServer } from './rig.ts';

const SEGMENT = 1200;
const TOTAL = 16 * SEGMENT - 100;
const PAYLOAD = pattern(TOTAL);
const PARTIAL = { checksum: 'partial', payload: PAYLOAD } as const;
const DATAGRAMS = 16;

/** A session that both ends have used and whose handshake is over. */
function settle(
  { service, fromClient, fromRealServer }: Pair,
  change: PlanChange = {},
  options: RigOptions = {},
): Rig {
  const plan = { ...change, service: { ...service, maxTrials: 1, ...change.service } };
  const rig = new Rig(plan, options);
  for (let i = 0; i < 2; i++) assert.equal(rig.receive(fromClient(), PORT.wan).verdict, 'forward');
  assert.equal(rig.receive(fromRealServer(), PORT.lan).verdict, 'forward');
  rig.at = 1000;
  return rig;
}

/** The datagrams of a super packet, each a packet by itself. */
function apart(make: (fields: Partial<EitherFields>) => Uint8Array, id: number): Uint8Array[] {
  return Array.from({ length: DATAGRAMS }, (_, n) =>
    make({ id: id + n, checksum: 'partial', payload: PAYLOAD.subarray(n * SEGMENT, (n + 1) * SEGMENT) }),
  );
}

for (const pair of [PAIRS[0], PAIRS[1]]) {
  describe(`${pair.name}: a super packet of a settled session`, () => {
    const ways = [
      { name: 'of a client', port: PORT.wan, come: pair.fromClient, go: pair.toRealServer },
      { name: 'of a real server', port: PORT.lan, come: pair.fromRealServer, go: pair.toClient },
    ];
    for (const { name, port, come, go } of ways) {
      test(`${name} goes on as one`, () => {
        const { datagrams, sent } = settle(pair).receiveSuper(come(PARTIAL), port, SEGMENT);
        assert.equal(datagrams, DATAGRAMS);
        assert.deepEqual(sent, [{ packet: go(PARTIAL), segmentLen: SEGMENT }]);
      });

      test(`${name} counts as its datagrams do by themselves, in all that is counted and noted`, () => {
        const whole = settle(pair);
        whole.receiveSuper(come(PARTIAL), port, SEGMENT);
        const single = settle(pair);
        for (const datagram of apart(come, 0x1234))
          assert.equal(single.receive(datagram, port).verdict, 'forward');
        for (const part of ['counters', 'servers', 'records', 'begun'] as const)
          assert.deepEqual(whole.memory[part], single.memory[part], part);
      });

      test(`${name} of which only some datagrams are sent counts the others as not sent`, () => {
        const rig = settle(pair);
        const before = rig.counter(port === PORT.wan ? 'inboundForwarded' : 'outboundForwarded');
        rig.receiveSuper(come(PARTIAL), port, SEGMENT, { taken: 5 });
        const after = rig.counter(port === PORT.wan ? 'inboundForwarded' : 'outboundForwarded');
        assert.equal(after - before, 5);
      });

      test(`${name} keeps the session alive`, () => {
        const rig = settle(pair, { service: { normalMs: 3000 } });
        for (let n = 0; n < 5; n++) {
          rig.at += 1500;
          assert.equal(rig.receiveSuper(come(PARTIAL), port, SEGMENT).datagrams, DATAGRAMS);
        }
      });

      for (const [what, fields] of Object.entries<Partial<EitherFields>>({
        'whose checksum is finished': { payload: PAYLOAD, checksum: 'zero' },
        'whose TTL ends here': { ...PARTIAL, ttl: 1 },
        'of a single datagram': { checksum: 'partial', payload: pattern(SEGMENT) },
        'without payload': { checksum: 'partial', payload: pattern(0) },
        'with bytes behind its datagram': { ...PARTIAL, surplus: pattern(4) },
      })) {
        test(`${name} ${what} is to be taken apart`, () => {
          assert.equal(settle(pair).receiveSuper(come(fields), port, SEGMENT).datagrams, 0);
        });
      }
    }
  });
}

const V4 = pair(4, 4);
const V6 = pair(6, 6);

interface Case {
  name: string;
  of?: Pair;
  plan?: PlanChange;
  options?: RigOptions;
  before?: (rig: Rig) => void;
  packet?: Uint8Array;
  port?: number;
  segmentLen?: number;
  headerLen?: number;
}

const taken: Case[] = [
  {
    name: 'with IPv4 options',
    packet: V4.fromClient({ ...PARTIAL, options: unhex('94040000') }),
    headerLen: 24,
  },
  {
    name: 'with extension headers',
    of: V6,
    packet: V6.fromClient({ ...PARTIAL, extensions: [hopByHop(unhex('010400000000'))] }),
    headerLen: 48,
  },
  { name: 'from IPv6 to IPv4', of: pair(6, 4) },
  { name: 'from IPv4 to IPv6', of: pair(4, 6) },
  { name: 'of no session', packet: V4.fromClient({ ...PARTIAL, sport: 5999 }) },
  { name: 'of a session that is over', before: (rig) => (rig.at += 300_000) },
  { name: 'whose handshake goes on', plan: { service: { maxTrials: 3 } } },
  { name: 'that begins another round after a silence', before: (rig) => (rig.at += 121_000) },
  { name: 'that begins another round by refresh', plan: { service: { refreshMs: 900 } } },
  { name: 'whose real server is down', before: (rig) => rig.setWeight(0, -1) },
  {
    name: 'whose datagrams are larger than the way to the real server carries',
    plan: { service: { realServers: [realServer('10.2.0.10', { mtu: 1227 })] } },
  },
  {
    name: 'whose datagrams are larger than the way to the client carries',
    options: { mtus: { '10.1.0.2': 1227 } },
    packet: V4.fromRealServer(PARTIAL),
    port: PORT.lan,
  },
  { name: 'of a real server on the side of the clients', packet: V4.fromRealServer(PARTIAL), port: PORT.wan },
  { name: 'that is cut off', packet: V4.fromClient(PARTIAL).subarray(0, -1) },
  { name: 'whose unfinished checksum stands elsewhere', headerLen: 28 },
  { name: 'of a forged address of this host', packet: V4.fromClient({ ...PARTIAL, src: '10.2.0.200' }) },
  { name: 'that is no UDP packet', packet: concat(unhex('45')) },
];

describe('a super packet is to be taken apart', () => {
  for (const {
    name,
    of = V4,
    plan,
    options,
    before,
    packet,
    port = PORT.wan,
    segmentLen,
    headerLen,
  } of taken) {
    test(name, () => {
      const rig = settle(of, plan, options);
      before?.(rig);
      const { datagrams } = rig.receiveSuper(
        packet ?? of.fromClient(PARTIAL),
        port,
        segmentLen ?? SEGMENT,
        headerLen === undefined ? {} : { headerLen },
      );
      assert.equal(datagrams, 0);
    });
  }

  test('that is the first answer in its session', () => {
    const rig = new Rig({ service: { ...V4.service, maxTrials: 0 } });
    rig.receive(V4.fromClient(), PORT.wan);
    assert.equal(rig.receiveSuper(V4.fromRealServer(PARTIAL), PORT.lan, SEGMENT).datagrams, 0);
  });
});

test('datagrams as large as the ways carry go on as one', () => {
  const rig = settle(V4, { service: { realServers: [realServer('10.2.0.10', { mtu: 1228 })] } });
  assert.equal(rig.receiveSuper(V4.fromClient(PARTIAL), PORT.wan, SEGMENT).datagrams, DATAGRAMS);
});

test('a service that tells no UOA passes on whole what no real server has answered yet', () => {
  const rig = new Rig({ service: { ...V4.service, maxTrials: 0 } });
  rig.receive(V4.fromClient(), PORT.wan);
  const { sent } = rig.receiveSuper(V4.fromClient(PARTIAL), PORT.wan, SEGMENT);
  assert.deepEqual(sent, [{ packet: V4.toRealServer(PARTIAL), segmentLen: SEGMENT }]);
});
