// Ring I/O on real packets: a client, a relay on AF_PACKET rings, and a server in namespaces, offloads on.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, startEndpoint } from '../host/endpoint.ts';
import type { ReceivedDatagram } from '../host/endpoint-program.ts';
import { pseudoHeaderSum } from '../packets/udp.ts';
import {
  assertPass,
  BOTH_FAMILIES,
  CIP,
  CIP6,
  exchange,
  FRAMES_OF_SMALL_RING,
  flood,
  LIP,
  ofWan,
  RING,
  RING_BYTES,
  RIP,
  RIP6,
  report,
  reportOnce,
  SMALL_RING_BYTES,
  startRelay,
  startWalk,
  VIP,
  VIP6,
  VPORT,
  WAN_KNOWN,
} from '../steer/relay.ts';
import { namespace, type Program, sh, startProgram, threeInARow } from './namespaces.ts';

test('datagrams of every size and both families pass both ways unchanged between two interfaces', async (t) => {
  const { client, server, relay, endpoint } = await startWalk(t, BOTH_FAMILIES);
  await startEndpoint(t, server, { ip: RIP6, port: VPORT, echo: true });
  const endpoint6 = await startEndpoint(t, client, { ip: CIP6 });
  const sizes = [0, 1, 2, 17, 18, 19, 64, 511, 1200, 1451, 1452];
  await assertPass(endpoint, VIP, [...sizes, 1471, 1472]);
  await assertPass(endpoint6, VIP6, sizes);
  const { counters, relayed, captured } = await report(relay);
  const all = 2 * sizes.length + 2;
  assert.deepEqual(relayed, [all, all]);
  assert.deepEqual([counters[0].received, counters[1].received, counters[2].sent], [all, all, 2 * all]);
  assert.deepEqual([counters[0].foreign, counters[0].lostBacklog, counters[0].lostKernel], [0, 0, 0]);
  // The sender leaves the sum to its device, which is none: only the pseudo-header's is there.
  const unfinished = Number.parseInt(captured[0].slice(52, 56), 16);
  assert.equal(unfinished, pseudoHeaderSum(CIP, VIP, 8));
  await relay.stop();
});

test('with busyPoll it relays and stops as without, and does not sleep while nothing arrives', async (t) => {
  const { relay, endpoint } = await startWalk(t, { ...RING, busyPoll: true });
  const { relay: sleeper } = await startWalk(t);
  await assertPass(endpoint, VIP, [64, 1472]);
  const cpuMs = async (program: Program) => (await report(program)).cpuMs;
  const before = [await cpuMs(relay), await cpuMs(sleeper)] as const;
  await reportOnce(relay, (r) => r.cpuMs >= before[0] + 500);
  const slept = (await cpuMs(sleeper)) - before[1];
  assert.ok(slept < 250, `${slept} ms of processor time where the other one used 500`);
  await Promise.all([relay.stop(), sleeper.stop()]);
});

test('jumbo frames pass', async (t) => {
  const { relay, endpoint } = await startWalk(t, RING, 9000);
  await assertPass(endpoint, VIP, [64, 1472, 1932, 1933, 8972]);
  await relay.stop();
});

test('a VLAN-tagged packet is counted as foreign, one that has only a priority is not', async (t) => {
  const { client, relay } = await startWalk(t);
  const { ports } = await report(relay);
  const [tag, priority, ethertype] = ['81000005', '8100e000', '0800'];
  const packet = `4500001d00004000401124cc0a0100020a01000103e8177000090000${'aa'.padEnd(36, '0')}`;
  const link = `${ports[0].mac.replaceAll(':', '')}020000000002`;
  await startProgram(t, client, 'io/frame-program.ts', {
    device: 'c0',
    frames: [tag, priority, ''].map((before) => link + before + ethertype + packet),
  }).stop();
  const { counters, captured } = await reportOnce(relay, (r) => r.counters[0].received === 3);
  assert.deepEqual([counters[0].foreign, captured.length], [1, 2]);
  await relay.stop();
});

test('when the ring is full packets are looked at ahead, what is lost is counted, timers run, and it goes on afterwards', async (t) => {
  const { client, relay, endpoint } = await startWalk(t, { ...RING, ring: SMALL_RING_BYTES, burdenUs: 40 });
  const before = await report(relay);
  const spec = { ip: VIP, port: VPORT, payloadLen: 64, rate: 150_000, durationMs: 1_000 };
  const flooding = flood(t, client, spec);
  const during = await reportOnce(relay, (r) => r.counters[0].lostKernel > 0);
  assert.ok(during.ticks > before.ticks);
  const sent = await flooding;
  const after = await reportOnce(relay, ({ counters: [wan, lan], relayed }) => {
    const isAllThere = wan.received + wan.lostKernel >= 0.99 * sent;
    return isAllThere && relayed[0] === wan.received && lan.received > 0;
  });
  const { received, lostKernel } = after.counters[0];
  assert.ok(after.ahead > received / 2, `only ${after.ahead} of ${received} were looked at ahead`);
  assert.ok(
    Math.abs(received + lostKernel - sent) <= sent / 100,
    `${sent} sent, ${received} + ${lostKernel}`,
  );
  // What the server has yet to answer of the flood may leave no room in its socket.
  let answer = null;
  for (let left = 10; answer === null && left > 0; left--) answer = await exchange(endpoint, VIP, 'abcd');
  assert.equal(answer?.srcIp, VIP);
  await relay.stop();
});

test('an interface that goes down is reported, and receives again once it is up; one that is removed is final', async (t) => {
  const { lb, relay, endpoint } = await startWalk(t);
  sh(`ip -n ${lb} link set wan0 down`);
  const { failures } = await reportOnce(relay, (r) => r.failures.length > 0);
  assert.match(failures[0], /interface wan0 went down/);
  sh(`ip -n ${lb} link set wan0 up`);
  await assertPass(endpoint, VIP, [2]);
  sh(`ip -n ${lb} link delete wan0`);
  const after = await reportOnce(relay, (r) => r.failures.length > 1);
  assert.match(after.failures[1], /interface wan0 was removed/);
  await relay.stop();
});

test('packets to a neighbor that is not resolved go through the IP layer, none is lost, and later ones do not', async (t) => {
  const { lb, client, relay, endpoint } = await startWalk(t);
  const burst = { ip: VIP, port: VPORT, payloadLen: 64, rate: 0, durationMs: 60_000, count: 20 };
  for (let round = 1; round <= 3; round++) {
    sh(`ip -n ${lb} neigh flush dev lan0; ip -n ${lb} neigh flush dev wan0`);
    await flood(t, client, burst);
    const { counters } = await reportOnce(
      relay,
      (r) => r.relayed[0] === 20 * round && r.relayed[1] === 20 * round,
    );
    assert.ok(counters[2].sentByIp >= round);
  }
  // Netfilter sees what goes through the IP layer.
  const table = `table ip watch {
    chain o {
      type filter hook output priority 0
      udp dport ${VPORT} counter
    }
  }`;
  await assertPass(endpoint, VIP, [1, 2, 3]);
  sh(`ip netns exec ${lb} nft -f -`, table);
  await assertPass(endpoint, VIP, [4, 5, 6]);
  const seen = Number(/packets (\d+)/.exec(sh(`ip netns exec ${lb} nft list table ip watch`))![1]);
  assert.ok(
    seen <= 1,
    `${seen} went through the IP layer; one may, so that the kernel confirms the neighbor`,
  );
  await relay.stop();
});

test('a route that only the IP layer can follow is told, and what goes there is counted', async (t) => {
  const { lb, relay, endpoint } = await startWalk(t);
  await assertPass(endpoint, VIP, [1, 2, 3]);
  const before = await report(relay);
  assert.deepEqual(before.failures, [], 'nothing is told without such a route');
  sh(`ip -n ${lb} route add ${RIP} encap ip id 7 dst ${RIP} dev lan0`);
  sh(`ip -n ${lb} route add ${CIP} encap ip id 7 dst ${CIP} dev wan0`);
  /** What was sent for them, and how much of it by the IP layer. */
  const sentFor = async (sizes: number[]) => {
    const { counters: earlier } = await report(relay);
    await assertPass(endpoint, VIP, sizes);
    const { counters: later } = await report(relay);
    return (['sent', 'sentByIp'] as const).map((name) => later[2][name] - earlier[2][name]);
  };
  // Routes take effect at once, or 0.2 s after another change that was taken in.
  for (let tries = 0; (await sentFor([3, 4]))[1] < 4; tries++) assert.ok(tries < 1_000, 'they take effect');
  assert.deepEqual(await sentFor([5, 6, 7, 8]), [8, 8]);
  const { failures } = await report(relay);
  assert.equal(failures.length, 1);
  assert.match(failures[0], /have an encapsulation/);
  await relay.stop();
});

test('another Ethernet address of a neighbor takes effect', async (t) => {
  const { lb, server, relay, endpoint } = await startWalk(t);
  await assertPass(endpoint, VIP, [1, 2, 3]);
  const mac = '02:00:00:00:99:01';
  sh(`ip -n ${server} link set s0 address ${mac}`);
  sh(`ip -n ${lb} neigh replace ${RIP} lladdr ${mac} dev lan0 nud reachable`);
  await assertPass(endpoint, VIP, [4, 5, 6]);
  await relay.stop();
});

test('another gateway takes effect', async (t) => {
  const rip = '203.0.113.9';
  const row = threeInARow(t);
  const second = namespace(t, 's');
  sh(`ip -n ${row.lb} link add lan1 type veth peer name s1 netns ${second}`);
  sh(`ip -n ${row.lb} address add 10.3.0.1/24 dev lan1 && ip -n ${row.lb} link set lan1 up`);
  sh(`ip -n ${second} address add 10.3.0.2/24 dev s1 && ip -n ${second} link set s1 up`);
  sh(`ip -n ${second} route add 10.2.0.0/24 via 10.3.0.1`);
  for (const ns of [row.server, second]) sh(`ip -n ${ns} address add ${rip}/32 dev lo`);
  sh(`ip -n ${row.lb} route add ${rip} via ${RIP}`);
  const relay = await startRelay(t, row.lb, {
    ...RING,
    lan: 'lan0',
    rips: [rip],
    rewrite: { [VIP]: { src: LIP, dst: rip } },
  });
  const client = await startEndpoint(t, row.client, { ip: CIP });
  const servers = [];
  for (const ns of [row.server, second]) servers.push(await startEndpoint(t, ns, { ip: rip, port: VPORT }));
  const send = (hex: string) => ask(client, { send: { hex, ip: VIP, port: VPORT } });
  const received = async (server: Program, timeoutMs: number) =>
    (await ask<ReceivedDatagram | null>(server, { receive: { timeoutMs } }))?.hex;
  const isEarly = 'ff';
  const arrives = async (server: Program, hex: string) => {
    await send(hex);
    let got = await received(server, 60_000);
    while (got === isEarly) got = await received(server, 60_000);
    assert.equal(got, hex);
  };
  for (const hex of ['aa01', 'aa02', 'aa03']) await arrives(servers[0], hex);
  sh(`ip -n ${row.lb} route replace ${rip} via 10.3.0.2`);
  // It takes effect at once, or 0.2 s after another change that was taken in.
  for (let tries = 0; tries === 0 || (await received(servers[1], 100)) === undefined; tries++) {
    assert.ok(tries < 1_000, 'it takes effect');
    await send(isEarly);
  }
  for (const hex of ['bb01', 'bb02', 'bb03']) await arrives(servers[1], hex);
  await relay.stop();
});

test('packets of both families come from a tunnel, which has no link header, and go out by one', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip -n ${lb} tuntap add mode tun tun0 && ip -n ${lb} link set tun0 up`);
  sh(`ip -n ${lb} route add 10.9.0.0/24 dev tun0`);
  const relay = await startRelay(t, lb, {
    ...RING,
    wan: 'tun0',
    vips: [...RING.vips, { ip: VIP6, port: VPORT }],
    rewrite: { [VIP]: { src: LIP, dst: '10.9.0.2' } },
  });
  const ipv4 = '4500001d00004000401124cc0a0100020a01000103e8177000090000aa';
  const ipv6 = `6000000000091140fd000001${'00'.repeat(11)}02fd000001${'00'.repeat(11)}0103e8177000090000aa`;
  // TUNSETIFF with IFF_TUN and IFF_NO_PI: what is written to the file comes in on the interface, what leaves
  // is read.
  const program = `
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tun0", 0x1001))
for packet in sys.argv[1:]: os.write(tun, bytes.fromhex(packet))
while True:
    packet = os.read(tun, 4096).hex()
    if packet[32:40] == "0a090002": break
print(packet[24:])
`;
  const left = sh(`ip netns exec ${lb} timeout 20 python3 - ${ipv6} ${ipv4}`, program).trim();
  assert.equal(left, '0a020001' + '0a090002' + '03e8177000090000aa');
  const { captured, counters } = await reportOnce(relay, (r) => r.captured.length === 2);
  assert.deepEqual([...captured].sort(), [ipv4, ipv6]);
  assert.equal(counters[0].foreign, 0);
  await relay.stop();
});

for (const known of [false, true]) {
  test(`the loopback interface delivers each packet once, of both families and every size${known ? ', of two rings' : ''}`, async (t) => {
    const ns = namespace(t, 'p');
    for (const ip of [1, 2, 3, 4]) sh(`ip -n ${ns} address add fd00:9::${ip}/128 dev lo nodad`);
    const relay = await startRelay(t, ns, {
      wan: 'lo',
      vips: ['127.0.0.2', 'fd00:9::2'].map((ip) => ({ ip, port: VPORT })),
      lips: ['127.0.0.3', 'fd00:9::3'].map((ip) => ({ ip, first: 1024, last: 65535 })),
      rips: ['127.0.0.4', 'fd00:9::4'],
      rewrite: {
        '127.0.0.2': { src: '127.0.0.3', dst: '127.0.0.4' },
        '127.0.0.3': { src: '127.0.0.2', dst: '127.0.0.1' },
        'fd00:9::2': { src: 'fd00:9::3', dst: 'fd00:9::4' },
        'fd00:9::3': { src: 'fd00:9::2', dst: 'fd00:9::1' },
      },
      ring: RING_BYTES,
      known,
    });
    const sizes = [0, 1, 1472, 9000, 60_000];
    for (const [client, vip, rip] of [
      ['127.0.0.1', '127.0.0.2', '127.0.0.4'],
      ['fd00:9::1', 'fd00:9::2', 'fd00:9::4'],
    ] as const) {
      await startEndpoint(t, ns, { ip: rip, port: VPORT, echo: true });
      await assertPass(await startEndpoint(t, ns, { ip: client }), vip, sizes);
    }
    const { counters } = await report(relay);
    const LO_KNOWN = 2;
    const received = counters[0].received + counters[LO_KNOWN].received;
    assert.deepEqual([received, counters[1].sent], [4 * sizes.length, 4 * sizes.length]);
    assert.equal(
      counters[LO_KNOWN].received,
      known ? 4 * sizes.length - 4 : 0,
      'each source is unknown once',
    );
    await relay.stop();
  });
}

for (const known of [false, true]) {
  test(`a successor goes on behind the packet that ended its predecessor, wherever in ${known ? 'two rings' : 'the ring'} that was`, async (t) => {
    const poison = '10.1.0.66';
    const { lb, client, relay, endpoint } = await startWalk(t, {
      ...RING,
      ring: SMALL_RING_BYTES,
      vips: [...RING.vips, { ip: poison, port: VPORT }],
      failAt: poison,
      succeeds: true,
      known,
    });
    sh(`ip -n ${lb} address add ${poison}/32 dev wan0`);
    const burst = { ip: VIP, port: VPORT, payloadLen: 64, rate: 0, durationMs: 60_000 };
    const rounds = 8;
    let sent = 0;
    if (known) {
      // So that the poison comes by the other ring than the flood.
      await assertPass(endpoint, VIP, [8]);
      sent++;
    }
    for (let round = 1; round <= rounds; round++) {
      endpoint.write({ send: { hex: 'dead', ip: poison, port: VPORT } });
      await endpoint.next('answer');
      const count = FRAMES_OF_SMALL_RING / 2 - 40;
      await flood(t, client, { ...burst, count });
      sent += 1 + count;
      const { counters, relayed } = await reportOnce(relay, (r) => ofWan(r, 'received') === sent);
      const [lost, judged] = [ofWan({ counters }, 'lostBacklog'), ofWan({ counters }, 'judged')];
      assert.equal(judged + lost, sent, 'judged or counted as lost');
      assert.equal(relayed[0] + round, judged, 'of each round one was given to what failed at it');
      assert.ok(!known || counters[WAN_KNOWN].received > 0, 'some came by the other ring');
    }
    const { failures } = await report(relay);
    assert.deepEqual(failures, Array(rounds).fill('failed on purpose'));
    assert.deepEqual(ofWan(await report(relay), 'lostKernel'), 0);
    await relay.stop();
  });
}

test('a successor of one that ended between counting its frames and giving them back finds its place', async (t) => {
  const { client, relay } = await startWalk(t, {
    ...RING,
    ring: 1, // as few frames as there can be
    succeeds: true,
    failEvery: 150,
  });
  const burst = { ip: VIP, port: VPORT, payloadLen: 64, rate: 0, durationMs: 60_000, count: 200 };
  for (let round = 1; round <= 8; round++) {
    await flood(t, client, burst);
    const { counters, relayed } = await reportOnce(relay, (r) => r.counters[0].received === 200 * round);
    assert.deepEqual([relayed[0], counters[0].lostBacklog, counters[0].lostKernel], [200 * round, 0, 0]);
  }
  assert.ok((await report(relay)).failures.length >= 8);
  await relay.stop();
});
