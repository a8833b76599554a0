// Several datapaths are one proxy: turns, limits and lports are those of the service, not a share of each
// datapath.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { CONTROL } from '../../src/datapath/memory.ts';
import { icmp4 } from '../packets/builder.ts';
import { dissect } from '../packets/dissect.ts';
import { udp } from '../packets/uoa-builder.ts';
import { PORT, realServer } from './rig.ts';
import { CIP, fromClient, fromRealServer, VIP } from './roles.ts';
import { Siblings } from './sibling-rig.ts';

const SERVERS = ['10.2.0.11', '10.2.0.12', '10.2.0.13', '10.2.0.14'];
/** Even ones come to datapath 0, odd ones to datapath 1. */
const ownerOf = (sport: number) => sport % 2;
const sentTo = (siblings: Siblings) =>
  siblings.sent.flat().map((packet) => dissect(Buffer.from(packet, 'hex')));

describe('turns', () => {
  test('rr: whichever datapaths the first clients come to, each real server gets as many', () => {
    const realServers = SERVERS.map((ip) => realServer(ip));
    for (const sports of [
      [5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007],
      [5000, 5002, 5004, 5006, 5008, 5010, 5001, 5003],
    ]) {
      const siblings = new Siblings({ service: { maxTrials: 0, realServers } });
      for (const sport of sports) siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan);
      const counts = SERVERS.map((ip) => sentTo(siblings).filter(({ dst }) => dst === ip).length);
      assert.deepEqual(counts, [2, 2, 2, 2]);
    }
  });

  test('wrr: datapaths begin at different places of the round', () => {
    const realServers = SERVERS.map((ip) => realServer(ip));
    const siblings = new Siblings({ service: { maxTrials: 0, scheduler: 'wrr', realServers } });
    for (const sport of [5000, 5001, 5002, 5003])
      siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan);
    const servers = new Set(sentTo(siblings).map(({ dst }) => dst));
    assert.equal(servers.size, 4);
  });

  for (const scheduler of ['lc', 'wlc'] as const) {
    test(`${scheduler}: the sessions of all datapaths are compared`, () => {
      const realServers = SERVERS.map((ip) => realServer(ip));
      const siblings = new Siblings({ service: { maxTrials: 0, scheduler, realServers } });
      for (const sport of [5000, 5002, 5004, 5001, 5006, 5003, 5005, 5007])
        siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan);
      const counts = SERVERS.map((ip) => sentTo(siblings).filter(({ dst }) => dst === ip).length);
      assert.deepEqual(counts, [2, 2, 2, 2]);
    });
  }
});

test('a limit of sessions is exact, however clients are shared out', () => {
  const limits = {
    sessions: 10,
    sessionsPerClient: 0,
    newSessions: 0,
    newSessionsPerClient: 0,
    prefixV4: 32,
    prefixV6: 64,
  };
  const siblings = new Siblings({ service: { maxTrials: 0, limits } });
  const verdicts = Array.from({ length: 14 }, (_, n) => {
    const sport = n < 3 ? 5001 + 2 * n : 5000 + 2 * n;
    return siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan);
  });
  assert.deepEqual(verdicts, [...Array(10).fill('forward'), ...Array(4).fill('drop:session_limit')]);
});

describe('lports', () => {
  const EIGHT = { maxTrials: 0, lports: { first: 20_005, last: 20_012 } };
  /** Six clients of datapath 0 and two of datapath 1, which have four lports each. */
  const SPORTS = [5000, 5002, 5004, 5006, 5008, 5010, 5001, 5003];

  /** All have sessions that were answered. */
  function busy(): { siblings: Siblings; lportOf: Map<number, number> } {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    const lportOf = new Map<number, number>();
    for (const sport of SPORTS) {
      const before = siblings.sent.flat().length;
      assert.equal(siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan), 'forward');
      const all = sentTo(siblings);
      assert.equal(all.length, before + 1);
      const lport = all.map(({ sport: from }) => from).find((one) => ![...lportOf.values()].includes(one))!;
      lportOf.set(sport, lport);
      const answer = fromRealServer({ dport: lport });
      assert.equal(siblings.receive(lport % 2, answer, PORT.lan), 'forward', 'answers come straight');
      for (const sent of siblings.sent) sent.splice(0);
    }
    return { siblings, lportOf };
  }

  test('of one datapath serve the clients of another that has none left', () => {
    const { lportOf } = busy();
    assert.deepEqual(
      [...lportOf.values()].sort(),
      [20_005, 20_006, 20_007, 20_008, 20_009, 20_010, 20_011, 20_012],
    );
  });

  test('are exhausted when all of them are in use, and not before', () => {
    const { siblings } = busy();
    for (const sport of [5012, 5013])
      assert.equal(siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan), 'drop:lports_exhausted');
  });

  test('once borrowed stay with the session: its packets and ICMP errors find it', () => {
    const { siblings, lportOf } = busy();
    const sport = 5010;
    const lport = lportOf.get(sport)!;
    assert.equal(lport % 2, 1, 'datapath 1 serves it');
    for (let n = 0; n < 3; n++) {
      assert.equal(siblings.receive(0, fromClient({ sport }), PORT.wan), 'handedOver');
      assert.deepEqual(siblings.deliver(), ['forward']);
      assert.equal(dissect(Buffer.from(siblings.sent[1].pop()!, 'hex')).sport, lport);
    }
    assert.equal(siblings.receive(1, fromRealServer({ dport: lport }), PORT.lan), 'forward');
    const toClient = Buffer.from(siblings.sent[1].pop()!, 'hex');
    const { dst, dport } = dissect(toClient);
    assert.deepEqual({ dst, dport }, { dst: CIP, dport: sport });
    const error = icmp4({ src: CIP, dst: VIP, type: 3, code: 3, body: toClient });
    assert.equal(siblings.finish(0, error, PORT.wan), 'forward');
  });

  test('come back with the end of the session, and the client is its own datapath’s again', () => {
    const { siblings, lportOf } = busy();
    siblings.now += 301_000;
    for (let n = 0; n < 100; n++) {
      siblings.now += 1000;
      siblings.tick();
    }
    const sport = 5010;
    assert.equal(siblings.receive(0, fromClient({ sport }), PORT.wan), 'forward');
    const lport = dissect(Buffer.from(siblings.sent[0].pop()!, 'hex')).sport;
    assert.equal(lport % 2, 0);
    assert.notEqual(lport, lportOf.get(sport));
  });

  test('borrowed or not, each packet is received once and sent once', () => {
    const { siblings } = busy();
    const row = counterRow(0);
    const sum = (name: keyof typeof COUNTER) =>
      siblings.memories.reduce((all, { counters }) => all + counters[row + COUNTER[name]], 0);
    assert.deepEqual(
      [sum('inboundPackets'), sum('inboundForwarded'), sum('outboundPackets'), sum('sessionsCreated')],
      [8, 8, 8, 8],
    );
  });

  test('of sessions without an answer serve clients of another datapath, whose own were all answered', () => {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    const counted = (name: keyof typeof COUNTER) =>
      siblings.memories.map(({ counters }) => counters[counterRow(0) + COUNTER[name]]);
    for (const sport of [5001, 5003, 5005, 5007]) siblings.finish(1, fromClient({ sport }), PORT.wan);
    for (const sport of [5000, 5002, 5004, 5006]) siblings.finish(0, fromClient({ sport }), PORT.wan);
    const lportsOf = (at: number) =>
      siblings.sent[at].splice(0).map((packet) => dissect(Buffer.from(packet, 'hex')).sport);
    for (const dport of lportsOf(0)) siblings.receive(0, fromRealServer({ dport }), PORT.lan);
    lportsOf(1);
    assert.deepEqual(counted('sessionsNormal'), [4, 0]);
    for (let n = 0; n < 4; n++) {
      const sport = 5008 + 2 * n;
      assert.equal(siblings.receive(0, fromClient({ sport }), PORT.wan), 'handedOver');
      assert.deepEqual(siblings.deliver(), ['forward']);
      const [dport] = lportsOf(1);
      assert.equal(siblings.receive(1, fromRealServer({ dport: dport }), PORT.lan), 'forward');
      siblings.sent[1].splice(0);
      assert.deepEqual(counted('sessionsDisplaced'), [0, n + 1]);
    }
    assert.deepEqual(counted('sessionsNormal'), [4, 4]);
    assert.deepEqual(counted('sessionsOneway'), [0, 0]);
    assert.equal(siblings.finish(0, fromClient({ sport: 6000 }), PORT.wan), 'drop:lports_exhausted');
    assert.deepEqual(counted('sessionsCreated'), [4, 8]);
  });

  test('of sessions without an answer are those of the datapath itself first', () => {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    for (const sport of SPORTS) siblings.finish(ownerOf(sport), fromClient({ sport }), PORT.wan);
    assert.equal(siblings.receive(0, fromClient({ sport: 6000 }), PORT.wan), 'forward');
    assert.equal(siblings.receive(1, fromClient({ sport: 6001 }), PORT.wan), 'forward');
  });

  test('of sessions without an answer are borrowed from all services that share them, and from no others', () => {
    const siblings = new Siblings({
      lportReserve: 0,
      services: [
        EIGHT,
        { ...EIGHT, name: 'play', vport: 9000 },
        { ...EIGHT, name: 'chat', vport: 7000, lports: { first: 20_013, last: 20_020 } },
        { ...EIGHT, name: 'talk', vport: 8000, realServers: [realServer('10.2.0.11')] },
      ],
    });
    const open = (sport: number, dport: number) =>
      siblings.finish(ownerOf(sport), fromClient({ sport, dport }), PORT.wan);
    const answerAll = () => {
      for (const { sport: dport } of sentTo(siblings))
        siblings.receive(dport % 2, fromRealServer({ dport }), PORT.lan);
    };
    for (const sport of [5000, 5002, 5004, 5006, 5001, 5003, 5005]) open(sport, 6000);
    answerAll();
    for (const dport of [7000, 8000, 9000]) assert.equal(open(5007, dport), 'forward');
    assert.equal(open(6000, 6000), 'forward', 'in the place of the one of 9000');
    answerAll();
    for (const dport of [7000, 8000]) assert.equal(open(5009, dport), 'forward');
    assert.equal(open(6002, 6000), 'drop:lports_exhausted');
  });

  test('are not borrowed where the other’s queue is full: the session that waits longest gives its way', () => {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    for (const sport of [5000, 5002, 5004, 5006]) siblings.finish(0, fromClient({ sport }), PORT.wan);
    siblings.isQueueFull = true;
    for (let n = 0; n < 20; n++)
      assert.equal(siblings.receive(0, fromClient({ sport: 5008 + 2 * n }), PORT.wan), 'forward');
    siblings.isQueueFull = false;
    assert.equal(siblings.memories[0].common.loans[0], 0, 'nothing is lent');
  });

  test('are not borrowed from a datapath that does nothing', () => {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    for (const sport of [5000, 5002, 5004, 5006]) siblings.finish(0, fromClient({ sport }), PORT.wan);
    assert.equal(siblings.receive(0, fromClient({ sport: 5008 }), PORT.wan), 'handedOver');
    siblings.deliver();
    siblings.now += 1500;
    assert.equal(siblings.receive(0, fromClient({ sport: 5010 }), PORT.wan), 'forward', 'it stands still');
    siblings.memories[1].pulse[0]++;
    assert.equal(siblings.receive(0, fromClient({ sport: 5012 }), PORT.wan), 'handedOver');
  });

  test('lent to a client whom the other refuses are not lent any more', () => {
    const siblings = new Siblings({ service: EIGHT, lportReserve: 0 });
    for (const sport of [5000, 5002, 5004, 5006]) siblings.finish(0, fromClient({ sport }), PORT.wan);
    assert.equal(siblings.receive(0, fromClient({ sport: 5008 }), PORT.wan), 'handedOver');
    siblings.memories[0].common.control[CONTROL.draining] = 1;
    assert.deepEqual(siblings.deliver(), ['drop:draining']);
    assert.equal(siblings.memories[0].common.loans[0], 0);
  });

  describe('lent for a packet that is lost on its way', () => {
    const limits = {
      sessions: 0,
      sessionsPerClient: 0,
      newSessions: 5,
      newSessionsPerClient: 0,
      prefixV4: 32,
      prefixV6: 64,
    };
    const sport = 5008;
    const aboutNothing = icmp4({
      src: CIP,
      dst: VIP,
      type: 3,
      code: 3,
      body: udp({ src: VIP, sport: 6000, dst: CIP, dport: sport, ttl: 64 }),
    });
    /** What comes to the lender next, and opens no session either. */
    const others = [
      ['an ICMP error', aboutNothing, 'pass'],
      ['a packet whose TTL ends', fromClient({ sport, ttl: 1 }), 'drop:ttl_exceeded'],
      ['a packet with a wrong checksum', fromClient({ sport, checksum: 'bad' }), 'drop:bad_udp_checksum'],
    ] as const;

    const rows = others.map(([what, packet, verdict]) => {
      const start = () => {
        const siblings = new Siblings({ service: { ...EIGHT, limits }, lportReserve: 0 });
        for (const from of [5000, 5002, 5004, 5006])
          siblings.finish(0, fromClient({ sport: from }), PORT.wan);
        assert.equal(siblings.receive(0, fromClient({ sport }), PORT.wan), 'handedOver');
        siblings.handedOver.splice(0);
        assert.equal(siblings.finish(0, packet, PORT.wan), verdict);
        assert.deepEqual(siblings.created, [4, 0]);
        return siblings;
      };
      return { what, start };
    });

    for (const { what, start } of rows) {
      test(`are lent no more after ten seconds, though ${what} came`, () => {
        const siblings = start();
        siblings.now += 10_001;
        for (let n = 0; n < 128; n++) siblings.tick();
        assert.equal(siblings.memories[0].common.loans[0], 0);
      });

      test(`are for the next one, whose client was judged already, though ${what} came`, () => {
        const siblings = start();
        assert.equal(siblings.finish(0, fromClient({ sport }), PORT.wan), 'forward');
        assert.deepEqual(siblings.created, [4, 1]);
        siblings.now += 10_001;
        for (let n = 0; n < 128; n++) siblings.tick();
        assert.equal(siblings.memories[0].common.loans[0], 1, 'as long as the session');
      });
    }
  });

  test('count once against the limit of new sessions, and keep the reserve', () => {
    const limits = {
      sessions: 0,
      sessionsPerClient: 0,
      newSessions: 6,
      newSessionsPerClient: 0,
      prefixV4: 32,
      prefixV6: 64,
    };
    const siblings = new Siblings({ service: { ...EIGHT, limits }, lportReserve: 0 });
    const verdicts = [5000, 5002, 5004, 5006, 5008, 5010, 5012].map((sport) =>
      siblings.finish(0, fromClient({ sport }), PORT.wan),
    );
    assert.deepEqual(verdicts, [...Array(6).fill('forward'), 'drop:new_session_limit']);
    const half = new Siblings({ service: EIGHT, lportReserve: 50 });
    for (const sport of [5000, 5002, 5004, 5006]) half.finish(0, fromClient({ sport }), PORT.wan);
    assert.equal(half.finish(0, fromClient({ sport: 5008 }), PORT.wan), 'forward');
    const created = half.memories.map(({ counters }) => counters[counterRow(0) + COUNTER.sessionsCreated]);
    assert.deepEqual(created, [3, 2], 'two of each are kept, so the fifth displaces');
  });
});
