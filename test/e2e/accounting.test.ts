// Every packet is counted once when it comes and once when it ends: so many of each kind are sent, a device
// or the host refuses some, workers end, and the equations of docs/operations.md hold. Depends on the packet
// I/O.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { VPORT } from '../../src/lab/topology.ts';
import { icmp4, udp4 } from '../packets/builder.ts';
import { icmp6, routing, udp6 } from '../packets/builder6.ts';
import { type Family, hex, pattern, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { addressOption, elbHeader, udp } from '../packets/uoa-builder.ts';
import { balanced, readBooks, watchBooks } from './books.ts';
import { lostInSending } from './flooding.ts';
import { IO, type PythonProgram, type Rig, startPython, startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';

const CPORT = 40_001;
const PAYLOAD = pattern(64);

interface Kind {
  packets: Uint8Array[];
  count: number;
}

const bytesOf = (packets: readonly Uint8Array[]) => packets.reduce((sum, packet) => sum + packet.length, 0);

/** Sends the kinds from the role's namespace; its ports stay bound until the test ends. */
async function sendKinds(
  rig: Rig,
  role: 'client' | 'rs',
  to: string,
  kinds: readonly Kind[],
  more: object = {},
): Promise<PythonProgram> {
  const packets = kinds.map(({ packets: list, count }) => ({ count, to, hex: list.map(hex) }));
  const program = startPython(rig.topology, role, 'classes.py', { packets, ...more });
  await program.ready;
  return program;
}

/** The LIP and lport of the one session of a client's port. */
async function sessionOf(rig: Rig, cport: number): Promise<{ lip: string; lport: number }> {
  const { body } = await rig.proxy.get('/sessions');
  type Listed = { clientPort: number; lip: string; lport: number };
  const { sessions } = JSON.parse(body) as { sessions: Listed[] };
  return sessions.find(({ clientPort }) => clientPort === cport)!;
}

for (const pair of [PAIRS[4], PAIRS[6]]) {
  const family: Family = pair.client;
  const isV4 = family === 4;
  const dialect = isV4 ? 'ipo' : 'elb';

  test(`${pair.name}: of each kind of packet as many as were sent are counted, by what became of them`, async (t) => {
    const rig = await startRig(t, { pair, servers: 1, uoa: { dialect } });
    const client = rig.clientIps[0];
    const { ip: rip } = rig.realServers[0];
    const sink = await sendKinds(rig, 'rs', rip, [], { bind: [[rip, VPORT]] });
    const inbound = { src: client, dst: rig.vip, sport: CPORT, dport: VPORT, payload: PAYLOAD };
    const plain = udp(inbound);
    const forged = isV4
      ? udp4({ ...inbound, options: addressOption('203.0.113.1', 7) })
      : udp6({ ...inbound, extensions: [elbHeader('2001:db8::1', 7)] });
    const routed = isV4
      ? udp4({ ...inbound, options: unhex('8307040a01000100') })
      : udp6({ ...inbound, extensions: [routing({ segmentsLeft: 1 })] });
    const badSum = plain.slice();
    badSum[badSum.length - 1] ^= 1;
    const cut = (payload: Uint8Array, at: readonly number[], id: number) => {
      const datagram = udp({ ...inbound, payload, id });
      return isV4 ? fragments4(datagram, at) : fragments6(datagram, at, id);
    };
    const whole = cut(pattern(200), [80, 80], 0x5001);
    const datagramLen = (isV4 ? 20 : 40) + 8 + 200;
    const [first, second] = cut(pattern(100), [80], 0x6001);
    const lone = Array.from({ length: 4 }, (_, n) => cut(pattern(100), [80], 0x7001 + n)[0]);
    const stray = isV4
      ? icmp4({
          src: client,
          dst: rig.vip,
          type: 3,
          code: 3,
          body: udp4({ ...inbound, src: rig.vip, dst: client }),
        })
      : icmp6({
          src: client,
          dst: rig.vip,
          type: 1,
          code: 4,
          body: udp6({ ...inbound, src: rig.vip, dst: client }),
        });

    const vlan = {
      device: 'eth0',
      destination: rig.topology.exec('lb', ['cat', `/sys/class/net/${rig.topology.wan}/address`]).trim(),
      hex: hex(plain),
      count: 29,
    };
    const clients = await sendKinds(
      rig,
      'client',
      rig.vip,
      [
        { packets: [plain], count: 101 },
        { packets: [badSum], count: 7 },
        { packets: [udp({ ...inbound, ttl: 1 })], count: 11 },
        { packets: [routed], count: 13 },
        { packets: [forged], count: 17 },
        { packets: [udp({ ...inbound, src: rig.vip, sport: VPORT })], count: 19 },
        { packets: whole, count: 5 },
        { packets: [first, first, second], count: 3 },
        { packets: lone, count: 1 },
        { packets: [stray], count: 23 },
      ],
      { bind: [[client, CPORT]], vlan },
    );
    await balanced(rig, (books) => books.sum('drops', { reason: 'fragment_timeout' }) === 4);

    const { lip, lport } = await sessionOf(rig, CPORT);
    const outbound = { src: rip, dst: lip, sport: VPORT, dport: lport, payload: PAYLOAD };
    const reply = udp(outbound);
    const wrongAck = isV4
      ? udp4({ ...outbound, payload: new Uint8Array(0), options: addressOption('203.0.113.1', 7) })
      : udp6({ ...outbound, payload: new Uint8Array(0), extensions: [elbHeader('2001:db8::1', 7)] });
    const rightAck = isV4
      ? udp4({ ...outbound, payload: new Uint8Array(0), options: addressOption(client, CPORT) })
      : udp6({ ...outbound, payload: new Uint8Array(0), extensions: [elbHeader(client, CPORT)] });
    const seen = udp({ ...outbound, src: lip, dst: rip, sport: lport, dport: VPORT });
    const unreachable = isV4
      ? icmp4({ src: rip, dst: lip, type: 3, code: 3, body: seen.subarray(0, 28) })
      : icmp6({ src: rip, dst: lip, type: 1, code: 4, body: seen });
    // A lport that no session has, of the same LIP.
    const unused = lport === 1024 ? 1025 : lport - 1;
    const servers = await sendKinds(rig, 'rs', lip, [
      { packets: [reply], count: 31 },
      { packets: [udp({ ...outbound, dport: unused })], count: 37 },
      { packets: [wrongAck], count: 41 },
      { packets: [rightAck], count: 2 },
      { packets: [unreachable], count: 3 },
    ]);
    const books = await balanced(
      rig,
      (now) => now.sum('icmp_translated') + now.sum('drops', { reason: 'icmp_rate_limited' }) >= 3,
    );

    const service = 'test';
    const drops = (reason: string) => books.sum('drops', { service, reason });
    const none = (reason: string) => books.sum('drops', { service: '', reason });
    assert.deepEqual(
      {
        inbound: books.sum('packets', { service, direction: 'inbound' }),
        outbound: books.sum('packets', { service, direction: 'outbound' }),
        sentOn: books.sum('forwarded_packets', { service, direction: 'inbound' }),
        sentBack: books.sum('forwarded_packets', { service, direction: 'outbound' }),
        consumed: books.sum('consumed_packets', { service }),
        passed: books.sum('passed_packets'),
        foreign: books.sum('io_foreign'),
        badSum: drops('bad_udp_checksum'),
        expired: drops('ttl_exceeded'),
        routed: drops('source_route'),
        badSource: drops('bad_source'),
        noSession: none('no_session'),
        duplicates: none('fragment_duplicate'),
        timedOut: none('fragment_timeout'),
        lost: books.sum('io_lost'),
        refused: books.sum('io_send_errors'),
        dropped: books.sum('drops'),
      },
      {
        inbound: 101 + 7 + 11 + 13 + 17 + 19 + 5 + 3,
        outbound: 31 + 41 + 2 + 3,
        sentOn: 101 + 17 + 5 + 3,
        sentBack: 31 + 3,
        consumed: 41 + 2,
        passed: 23,
        // The steering program does not let them in.
        foreign: IO.mode === 'pcap' ? vlan.count : 0,
        badSum: 7,
        expired: 11,
        routed: 13,
        badSource: 19,
        noSession: 37,
        duplicates: 3,
        timedOut: 4,
        lost: 0,
        refused: 0,
        dropped: 7 + 11 + 13 + 19 + 37 + 3 + 4,
      },
    );
    assert.deepEqual(
      {
        rejected: books.sum('uoa_ack_rejected'),
        acked: books.sum('uoa_acked') + books.sum('uoa_ack_repeated'),
        forged: books.sum('uoa_forged_removed'),
        inserted: books.sum('uoa_sent'),
        joined: books.sum('fragments_joined'),
        whole: books.sum('datagrams_reassembled'),
        cut: books.sum('datagrams_fragmented'),
        pieces: books.sum('fragments_sent'),
        translated: books.sum('icmp_translated'),
        told: books.sum('icmp_sent') + books.sum('icmp_suppressed'),
      },
      {
        rejected: 41,
        acked: 2,
        forged: 17,
        inserted: 3,
        joined: 5 * whole.length + 3 * 2,
        whole: 8,
        cut: 8,
        pieces: 5 * whole.length + 3 * 2,
        translated: 3,
        told: 11,
      },
    );
    const sentOnBytes = 101 * plain.length + 17 * forged.length + 5 * datagramLen + 3 * (datagramLen - 100);
    const refusedBytes = 7 * plain.length + 11 * plain.length + 13 * routed.length + 19 * plain.length;
    assert.equal(books.sum('bytes', { service, direction: 'inbound' }), sentOnBytes + refusedBytes);
    assert.equal(books.sum('server_bytes', { service, direction: 'inbound' }), sentOnBytes);
    const outboundBytes =
      bytesOf([reply]) * 31 + wrongAck.length * 41 + rightAck.length * 2 + unreachable.length * 3;
    assert.equal(books.sum('bytes', { service, direction: 'outbound' }), outboundBytes);
    assert.equal(books.sum('server_bytes', { service, direction: 'outbound' }), reply.length * 31);
    await assertSameEverywhere(rig);
    await Promise.all([sink, clients, servers].map((program) => program.end()));
  });
}

/** /stats and /services say what /metrics says. */
async function assertSameEverywhere(rig: Rig): Promise<void> {
  const books = await readBooks(rig);
  const json = async (path: string) => JSON.parse((await rig.proxy.get(path)).body);
  const { counters, drops, io } = await json('/stats');
  const { services } = await json('/services');
  const [service] = services as {
    counters: Record<string, number>;
    realServers: { counters: Record<string, number> }[];
  }[];
  const inbound = { direction: 'inbound' };
  assert.deepEqual(
    [
      counters.inboundForwarded,
      service.counters.inboundForwarded,
      service.realServers[0].counters.inboundPackets,
    ],
    Array(3).fill(books.sum('forwarded_packets', inbound)),
  );
  assert.equal(counters.unassignedPackets, books.sum('packets', { service: '' }));
  assert.equal(counters.consumed, books.sum('consumed_packets'));
  const dropped = Object.values(drops as Record<string, number>).reduce((sum, count) => sum + count, 0);
  assert.equal(dropped, books.sum('drops'));
  assert.deepEqual(
    [io.received, io.judged, io.sent],
    ['io_received', 'io_judged', 'io_sent'].map((name) => books.sum(name)),
  );
}

test('what the device refuses is not forwarded, but dropped with its reason', async (t) => {
  const [TAKEN, REFUSED] = [100, 900];
  const rig = await startRig(t, { servers: 1, uoa: { maxTrials: 0 } });
  const [client] = rig.clientIps;
  const { ip: rip } = rig.realServers[0];
  const { lan } = rig.topology;
  const sink = await sendKinds(rig, 'rs', rip, [], { bind: [[rip, VPORT]] });
  const packet = (first: number) => {
    const payload = Uint8Array.from([first, ...PAYLOAD]);
    return udp4({ src: client, dst: rig.vip, sport: CPORT, dport: VPORT, payload });
  };
  const arrived = await rig.watch('rs', 'eth0', `udp and dst host ${rip}`, 'in');
  // At the last place before the driver, which is asked for packets past the queueing discipline too.
  const rules = `add table netdev refuse
    add chain netdev refuse out { type filter hook egress device "${lan}" priority 0; }
    add rule netdev refuse out udp dport ${VPORT} @th,64,8 0xee drop`;
  rig.topology.exec('lb', ['nft', '-f', '-'], rules);
  const clients = await sendKinds(
    rig,
    'client',
    rig.vip,
    [
      { packets: [packet(1)], count: TAKEN / 2 },
      { packets: [packet(0xee)], count: REFUSED },
      { packets: [packet(1)], count: TAKEN / 2 },
    ],
    { bind: [[client, CPORT]] },
  );
  const all = TAKEN + REFUSED;
  const books = await balanced(rig, (now) => now.sum('packets', { direction: 'inbound' }) === all);
  assert.deepEqual(
    {
      forwarded: books.sum('forwarded_packets'),
      toServers: books.sum('server_packets'),
      bytes: books.sum('server_bytes'),
      refused: books.sum('drops', { service: 'test', reason: 'send_failed' }),
      noRoom: books.sum('io_send_errors', { error: 'no_buffer' }),
    },
    {
      forwarded: TAKEN,
      toServers: TAKEN,
      bytes: TAKEN * packet(1).length,
      refused: REFUSED,
      noRoom: REFUSED,
    },
  );
  assert.equal((await arrived.matching('udp')).count, TAKEN, 'what is forwarded arrives');
  await Promise.all([sink, clients].map((program) => program.end()));
});

test('a worker that is killed takes nothing with it uncounted, and no counter goes back', async (t) => {
  const rig = await startRig(t, { servers: 2 });
  const servers = await rig.startServers();
  const watched = watchBooks(rig);
  const clients = rig.startSteadyClients({ portsPerAddress: 4, rate: 1000 });
  const restarts = () => rig.metric('worker_restarts_total');
  await until(
    'datagrams are answered',
    async () => (await rig.metric('forwarded_packets_total', { direction: 'outbound' })) > 300,
  );
  for (let kills = 1; kills <= 2; kills++) {
    const killed = workerPids(rig)[0];
    process.kill(killed, 'SIGKILL');
    await until('it is started again', async () => (await restarts()) === kills);
    const before = await rig.metric('forwarded_packets_total', { direction: 'outbound' });
    await until(
      'it forwards again',
      async () => (await rig.metric('forwarded_packets_total', { direction: 'outbound' })) > before + 300,
    );
  }
  const { sent, refused } = await clients.end();
  // Others on the machine may fill a link's queue, which is the processor's: what it lost then never came.
  const arrived = Number(sent) - Number(refused) - lostInSending(rig.topology, ['client']);
  const isWhole = IO.mode !== 'pcap';
  const books = await balanced(
    rig,
    (now) =>
      !isWhole ||
      now.sum('packets', { direction: 'inbound' }) +
        now.sum('io_lost', { interface: 'wan0' }) +
        now.sum('drops', { service: '', reason: 'worker_ended' }) >=
        arrived,
  );
  t.diagnostic(
    `${sent} sent, ${books.sum('io_lost')} lost, ${books.sum('drops', { reason: 'worker_ended' })} with a worker`,
  );
  if (isWhole)
    assert.equal(
      books.sum('io_received', { interface: 'wan0' }) +
        books.sum('io_lost', { interface: 'wan0', where: 'kernel' }) +
        books.sum('fast_path_forwarded_packets', { direction: 'inbound' }),
      arrived,
    );
  assert.deepEqual(await watched.end(), []);
  await Promise.all(servers.map((server) => server.end()));
});

/** Datapath processes. */
function workerPids(rig: Rig): number[] {
  return rig.topology.pids().filter((pid) => {
    try {
      return /\bworker-main\.[jt]s\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
    } catch {
      return false; // ended meanwhile
    }
  });
}
