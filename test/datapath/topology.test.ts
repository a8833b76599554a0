// Which packets are ours: services, LIPs and ports; two-arm, one-arm, and the sidecar that shares a
// namespace.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icmp4, ipv4 } from '../packets/builder.ts';
import { pattern } from '../packets/bytes.ts';
import { PORT, Rig, realServer, SIDE } from './rig.ts';
import { CIP, fromClient, fromRealServer, LIP, toClient, toRealServer, VIP } from './roles.ts';
import { rows } from './rows.ts';

const PLAIN = { service: { maxTrials: 0 } };
const OPEN = { wan: fromClient(), verdict: 'forward' };
const GOOD = { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] };
const TCP = 6;

rows('packets that are not ours', [
  {
    name: 'another port of the VIP is the business of the host',
    plan: PLAIN,
    steps: [{ wan: fromClient({ dport: 6001 }), verdict: 'pass', changed: {}, sessions: 0 }, GOOD],
  },
  {
    name: 'another address is the business of the host',
    plan: PLAIN,
    steps: [{ wan: fromClient({ dst: '10.1.0.101' }), verdict: 'pass', changed: {}, sessions: 0 }, GOOD],
  },
  {
    name: 'ping to the VIP passes',
    plan: PLAIN,
    steps: [
      { wan: icmp4({ src: CIP, dst: VIP, type: 8, code: 0, body: pattern(56) }), verdict: 'pass' },
      GOOD,
    ],
  },
  {
    name: 'TCP to VIP:vport passes',
    plan: PLAIN,
    steps: [{ wan: ipv4({ src: CIP, dst: VIP }, TCP, fromClient().subarray(20)), verdict: 'pass' }, GOOD],
  },
  {
    name: 'a LIP with a port outside its lports is the business of the host',
    plan: PLAIN,
    steps: [
      { lan: fromRealServer({ dport: 20004 }), verdict: 'pass' },
      { lan: fromRealServer({ dport: 20105 }), verdict: 'pass' },
      { lan: fromRealServer({ dport: 53 }), verdict: 'pass' },
      GOOD,
    ],
  },
  {
    name: 'packets that the proxy itself sent and sees again pass or are dropped, and are never sent twice',
    plan: PLAIN,
    steps: [OPEN, { lan: toRealServer(), verdict: 'pass' }, { wan: toClient(), verdict: 'pass' }],
  },
]);

rows('packets to LIP:lport', [
  {
    name: 'without a session they are dropped, not left to the kernel',
    plan: PLAIN,
    steps: [{ lan: fromRealServer(), verdict: 'drop:no_session', sessions: 0 }, GOOD],
  },
  {
    name: 'from another machine than the real server of that session they are dropped',
    plan: PLAIN,
    steps: [
      OPEN,
      { lan: fromRealServer({ src: '10.2.0.11' }), verdict: 'drop:no_session', changed: {} },
      { lan: fromRealServer({ sport: 6001 }), verdict: 'drop:no_session', changed: {} },
      { lan: fromRealServer({ dport: 20006 }), verdict: 'drop:no_session', changed: {} },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'from the side of the clients they are dropped, with and without a session',
    plan: PLAIN,
    steps: [
      { wan: fromRealServer(), verdict: 'drop:wrong_interface' },
      OPEN,
      { wan: fromRealServer(), verdict: 'drop:wrong_interface', changed: {} },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
]);

const GAME_AND_CHAT = {
  services: [
    { name: 'game', maxTrials: 0 },
    {
      name: 'chat',
      maxTrials: 0,
      vport: 7000,
      lips: ['10.2.0.201'],
      realServers: [realServer('10.2.0.20', { port: 7777 })],
    },
    {
      name: 'voice',
      maxTrials: 0,
      vips: ['10.1.0.101'],
      lips: ['10.2.0.202'],
      realServers: [realServer('10.2.0.30')],
    },
  ],
};

rows('topologies', [
  {
    name: 'services on one VIP with several vports, and on several VIPs, have their own real servers',
    plan: GAME_AND_CHAT,
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
      {
        wan: fromClient({ dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ src: '10.2.0.201', dst: '10.2.0.20', dport: 7777 })],
      },
      {
        wan: fromClient({ dst: '10.1.0.101' }),
        verdict: 'forward',
        sent: [toRealServer({ src: '10.2.0.202', dst: '10.2.0.30' })],
        sessions: 3,
      },
      {
        lan: fromRealServer({ src: '10.2.0.20', sport: 7777, dst: '10.2.0.201' }),
        verdict: 'forward',
        sent: [toClient({ sport: 7000 })],
      },
      {
        lan: fromRealServer({ src: '10.2.0.30', dst: '10.2.0.202' }),
        verdict: 'forward',
        sent: [toClient({ src: '10.1.0.101' })],
      },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'one-arm: clients and real servers on one port',
    plan: { ...PLAIN, ports: [{ side: SIDE.both, loopback: false }] },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'sidecar: the real server is on 127.0.0.1 and its replies come from the loopback interface',
    plan: {
      service: { maxTrials: 0, lips: ['127.0.0.2'], realServers: [realServer('127.0.0.1', { mtu: 65536 })] },
      ports: [
        { side: SIDE.wan, loopback: false },
        { side: SIDE.lan, loopback: true },
      ],
    },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer({ src: '127.0.0.2', dst: '127.0.0.1' })] },
      { lan: fromRealServer({ src: '127.0.0.1', dst: '127.0.0.2' }), verdict: 'forward', sent: [toClient()] },
      { wan: fromRealServer({ src: '127.0.0.1', dst: '127.0.0.2' }), verdict: 'drop:wrong_interface' },
    ],
  },
  {
    name: 'sidecar: a client on the loopback interface is served',
    plan: {
      service: {
        maxTrials: 0,
        vips: ['127.0.0.100'],
        lips: ['127.0.0.2'],
        realServers: [realServer('127.0.0.1')],
      },
      ports: [{ side: SIDE.both, loopback: true }],
    },
    steps: [
      {
        wan: fromClient({ src: '127.0.0.1', dst: '127.0.0.100' }),
        verdict: 'forward',
        sent: [toRealServer({ src: '127.0.0.2', dst: '127.0.0.1' })],
      },
      {
        wan: fromRealServer({ src: '127.0.0.1', dst: '127.0.0.2' }),
        verdict: 'forward',
        sent: [toClient({ src: '127.0.0.100', dst: '127.0.0.1' })],
      },
    ],
  },
]);

describe('traffic counters', () => {
  test('packets and bytes are counted per service and direction', () => {
    const rig = new Rig(GAME_AND_CHAT);
    const request = fromClient({ dport: 7000, payload: pattern(100) });
    const reply = fromRealServer({ src: '10.2.0.20', sport: 7777, dst: '10.2.0.201', payload: pattern(7) });
    rig.receive(request, PORT.wan);
    rig.receive(request, PORT.wan);
    rig.receive(reply, PORT.lan);
    const seen = (service: number) => ({
      inboundPackets: rig.counter('inboundPackets', service),
      inboundBytes: rig.counter('inboundBytes', service),
      inboundForwarded: rig.counter('inboundForwarded', service),
      outboundPackets: rig.counter('outboundPackets', service),
      outboundBytes: rig.counter('outboundBytes', service),
      outboundForwarded: rig.counter('outboundForwarded', service),
      sessionsCreated: rig.counter('sessionsCreated', service),
    });
    assert.deepEqual(seen(1), {
      inboundPackets: 2,
      inboundBytes: 256,
      inboundForwarded: 2,
      outboundPackets: 1,
      outboundBytes: 35,
      outboundForwarded: 1,
      sessionsCreated: 1,
    });
    for (const service of [0, 2]) assert.deepEqual(new Set(Object.values(seen(service))), new Set([0]));
  });

  test('the bytes of Ethernet padding are not counted', () => {
    const rig = new Rig(PLAIN);
    const padded = new Uint8Array(46);
    padded.set(fromClient({ payload: pattern(1) }));
    rig.receive(padded, PORT.wan);
    assert.equal(rig.counter('inboundBytes'), 29);
  });

  test('lports in use follow the sessions', () => {
    const rig = new Rig(PLAIN);
    for (const sport of [1, 2, 3]) rig.receive(fromClient({ sport }), PORT.wan);
    assert.equal(rig.legsInUse(), 3);
    rig.at = 301_000;
    rig.tick();
    assert.equal(rig.legsInUse(), 0);
  });

  test('a LIP is not a service: its packets from the client side reach nobody', () => {
    const rig = new Rig(PLAIN);
    const outcome = rig.receive(fromClient({ dst: LIP, dport: 20005 }), PORT.wan);
    assert.deepEqual(outcome, { verdict: 'drop:wrong_interface', sent: [], changed: {} });
  });
});
