// Packet I/O on real packets: a client, a relay on pcap I/O, and a server in namespaces, offloads on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { startEndpoint } from '../host/endpoint.ts';
import {
  CIP,
  exchange,
  flood,
  LIP,
  pattern,
  RIP,
  report,
  reportOnce,
  startRelay,
  TWO_ARM,
  VIP,
  VPORT,
} from '../steer/relay.ts';
import { namespace, sh, startProgram, threeInARow, WITHOUT_IPV6 } from './namespaces.ts';

test('datagrams of every size pass both ways unchanged between two interfaces', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const relay = await startRelay(t, lb, TWO_ARM);
  await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  const sizes = [0, 1, 2, 17, 18, 19, 64, 511, 1200, 1471, 1472];
  for (const size of sizes) {
    assert.deepEqual(await exchange(endpoint, VIP, pattern(size)), {
      hex: pattern(size),
      srcIp: VIP,
      srcPort: VPORT,
    });
  }
  const { counters, relayed } = await report(relay);
  assert.deepEqual(relayed, [sizes.length, sizes.length]);
  assert.equal(counters[0].received, sizes.length);
  assert.equal(counters[1].received, sizes.length);
  assert.equal(counters[2].sent, 2 * sizes.length);
  await relay.stop();
});

test('datagrams over IPv6 pass both ways unchanged between two interfaces, beside IPv4', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const [vip, lip] = ['fd00:1::1', 'fd00:2::1'];
  const relay = await startRelay(t, lb, {
    vips: [...TWO_ARM.vips, { ip: vip, port: VPORT }],
    lips: [...TWO_ARM.lips, { ip: lip, first: 1024, last: 65535 }],
    rips: [RIP, 'fd00:2::2'],
    rewrite: {
      ...TWO_ARM.rewrite,
      [vip]: { src: lip, dst: 'fd00:2::2' },
      [lip]: { src: vip, dst: 'fd00:1::2' },
    },
  });
  await startEndpoint(t, server, { ip: 'fd00:2::2', port: VPORT, echo: true });
  await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, client, { ip: 'fd00:1::2' });
  const sizes = [0, 1, 2, 17, 64, 1200, 1451, 1452];
  for (const size of sizes) {
    assert.deepEqual(await exchange(endpoint, vip, pattern(size)), {
      hex: pattern(size),
      srcIp: vip,
      srcPort: VPORT,
    });
  }
  const endpoint4 = await startEndpoint(t, client, { ip: CIP });
  assert.equal((await exchange(endpoint4, VIP, 'abcd'))?.hex, 'abcd');
  const { counters, ports } = await report(relay);
  assert.deepEqual(
    ports.map(({ name, side }) => [name, side]),
    [
      ['wan0', 1],
      ['lan0', 2],
    ],
  );
  const all = sizes.length + 1;
  const { received, foreign } = counters[0];
  assert.deepEqual([received, foreign, counters[2].sent], [all, 0, 2 * all]);
  await relay.stop();
});

test('IPv6 over the loopback interface is delivered once each way', async (t) => {
  const ns = namespace(t, 'p');
  for (const ip of ['fd00:9::1', 'fd00:9::2', 'fd00:9::3', 'fd00:9::4']) {
    sh(`ip -n ${ns} address add ${ip}/128 dev lo nodad`);
  }
  const relay = await startRelay(t, ns, {
    wan: 'lo',
    vips: [{ ip: 'fd00:9::2', port: VPORT }],
    lips: [{ ip: 'fd00:9::3', first: 1024, last: 65535 }],
    rips: ['fd00:9::4'],
    rewrite: {
      'fd00:9::2': { src: 'fd00:9::3', dst: 'fd00:9::4' },
      'fd00:9::3': { src: 'fd00:9::2', dst: 'fd00:9::1' },
    },
  });
  await startEndpoint(t, ns, { ip: 'fd00:9::4', port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, ns, { ip: 'fd00:9::1' });
  for (const size of [0, 1452, 9000]) {
    assert.equal((await exchange(endpoint, 'fd00:9::2', pattern(size)))?.hex, pattern(size));
  }
  const { counters } = await report(relay);
  assert.deepEqual([counters[0].received, counters[1].sent], [6, 6]);
  await relay.stop();
});

test('a host whose kernel has no IPv6 serves IPv4', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const relay = startProgram(t, lb, 'steer/relay-program.ts', TWO_ARM, WITHOUT_IPV6);
  await relay.next('ready');
  await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  assert.equal((await exchange(endpoint, VIP, 'abcd'))?.hex, 'abcd');
  await relay.stop();
});

test('one interface serves both sides, and the loopback interface delivers each packet once', async (t) => {
  const ns = namespace(t, 'p');
  const relay = await startRelay(t, ns, {
    wan: 'lo',
    vips: [{ ip: '127.0.0.2', port: VPORT }],
    lips: [{ ip: '127.0.0.3', first: 1024, last: 65535 }],
    rips: ['127.0.0.4'],
    rewrite: {
      '127.0.0.2': { src: '127.0.0.3', dst: '127.0.0.4' },
      '127.0.0.3': { src: '127.0.0.2', dst: '127.0.0.1' },
    },
  });
  await startEndpoint(t, ns, { ip: '127.0.0.4', port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, ns, { ip: '127.0.0.1' });
  for (const size of [0, 1, 1472, 9000]) {
    assert.equal((await exchange(endpoint, '127.0.0.2', pattern(size)))?.hex, pattern(size));
  }
  const { counters, ports } = await report(relay);
  assert.deepEqual(
    ports.map(({ name, side }) => [name, side]),
    [['lo', 3]],
  );
  assert.equal(counters[0].received, 8);
  assert.equal(counters[1].sent, 8);
  await relay.stop();
});

test('a flood keeps timers and the other direction alive, and every packet is counted', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const relay = await startRelay(t, lb, { ...TWO_ARM, burdenUs: 40 });
  const before = await report(relay);
  const flooding = flood(t, client, {
    ip: VIP,
    port: VPORT,
    payloadLen: 64,
    rate: 150_000,
    durationMs: 1_500,
  });
  const trickle = flood(t, server, { ip: LIP, port: 2000, payloadLen: 64, rate: 500, durationMs: 1_000 });
  const middle = await reportOnce(relay, (r) => r.relayed[0] > 2_000 && r.relayed[1] > 50);
  assert.ok(middle.ticks > before.ticks);
  const [sent, answered] = await Promise.all([flooding, trickle]);
  // What the kernel and the backlog still hold is processed after the last packet was sent. On a busy machine
  // the relay may be held up for so long that a few packets find the backlog full: these are counted, too.
  const after = await reportOnce(
    relay,
    ({ counters: [wan], relayed }) =>
      relayed[0] === wan.received - wan.lostBacklog && relayed[1] === answered,
  );
  const wan = after.counters[0];
  assert.ok(wan.lostKernel > 0, 'the flood is more than the relay can do');
  assert.ok(
    Math.abs(wan.received + wan.lostKernel - sent) <= sent / 100,
    `${sent} sent, ${JSON.stringify(wan)}`,
  );
  assert.deepEqual(after.counters[1].lostKernel, 0);
  await relay.stop();
});

test('timers run even when packets arrive faster than they can be fetched', async (t) => {
  const { client, lb } = threeInARow(t);
  const relay = await startRelay(t, lb, { ...TWO_ARM, fetchBurdenUs: 20 });
  const before = await report(relay);
  const flooding = startProgram(t, client, 'io/flood-program.ts', {
    ip: VIP,
    port: VPORT,
    payloadLen: 64,
    rate: 150_000,
    durationMs: 60_000, // until two looks at it fell into it, also on a busy machine
  });
  const during = await reportOnce(relay, (r) => r.counters[0].lostBacklog > 0);
  assert.ok(during.ticks > before.ticks);
  await reportOnce(relay, (r) => r.counters[0].lostBacklog > during.counters[0].lostBacklog);
  flooding.child.kill('SIGKILL');
  await once(flooding.child, 'close');
  const after = await report(relay);
  await flood(t, client, {
    ip: VIP,
    port: VPORT,
    payloadLen: 64,
    rate: 1_000,
    durationMs: 60_000,
    count: 10,
  });
  await reportOnce(relay, (r) => r.counters[0].received >= after.counters[0].received + 10);
  await relay.stop();
});

test('packets of one port keep their order through the backlog', async (t) => {
  const { client, lb } = threeInARow(t);
  const relay = await startRelay(t, lb, { ...TWO_ARM, burdenUs: 2_000 });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  for (let index = 0; index < 60; index++) {
    endpoint.write({ send: { hex: index.toString(16).padStart(2, '0'), ip: VIP, port: VPORT } });
  }
  const { captured } = await reportOnce(relay, (r) => r.captured.length === 60);
  assert.deepEqual(
    captured.map((hex) => Number.parseInt(hex.slice(56, 58), 16)),
    captured.map((_, index) => index),
  );
  await relay.stop();
});

test('an interface that goes down is reported, and captures again once it is up', async (t) => {
  const { client, lb, server } = threeInARow(t);
  const relay = await startRelay(t, lb, TWO_ARM);
  await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  sh(`ip -n ${lb} link set wan0 down`);
  const { failures } = await reportOnce(relay, (r) => r.failures.length > 0);
  assert.match(failures[0], /interface wan0 went down/);
  sh(`ip -n ${lb} link set wan0 up`);
  assert.equal((await exchange(endpoint, VIP, 'aabb'))?.hex, 'aabb');
  sh(`ip -n ${lb} link delete wan0`);
  const after = await reportOnce(relay, (r) => r.failures.length > 1);
  assert.match(after.failures[1], /interface wan0 was removed/);
  await relay.stop();
});

test('what cannot be sent is counted by its reason and does not stop the relay', async (t) => {
  const { client, lb } = threeInARow(t);
  sh(`ip -n ${lb} link set lan0 mtu 1000`);
  const relay = await startRelay(t, lb, {
    ...TWO_ARM,
    vips: [...TWO_ARM.vips, { ip: '10.1.0.77', port: VPORT }],
    rewrite: { ...TWO_ARM.rewrite, '10.1.0.77': { src: LIP, dst: '203.0.113.9' } },
  });
  sh(`ip -n ${lb} address add 10.1.0.77/32 dev wan0`);
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  endpoint.write({ send: { hex: pattern(1400), ip: VIP, port: VPORT } });
  endpoint.write({ send: { hex: pattern(14), ip: '10.1.0.77', port: VPORT } });
  endpoint.write({ send: { hex: pattern(14), ip: VIP, port: VPORT } });
  const { counters } = await reportOnce(relay, (r) => r.counters[0].received === 3);
  const { sent, sendTooBig, sendUnreachable, sendError, sendNoBuffer } = counters[2];
  assert.deepEqual([sent, sendTooBig, sendUnreachable, sendError, sendNoBuffer], [1, 1, 1, 0, 0]);
  await relay.stop();
});

test('a VLAN-tagged packet is counted as foreign', async (t) => {
  const { client, lb } = threeInARow(t);
  const relay = await startRelay(t, lb, TWO_ARM);
  const { ports } = await report(relay);
  const [tag, ethertype] = ['81000005', '0800'];
  const packet = `4500001d00004000401124cc0a0100020a01000103e8177000090000${'aa'.padEnd(36, '0')}`;
  const link = `${ports[0].mac.replaceAll(':', '')}020000000002`;
  await startProgram(t, client, 'io/frame-program.ts', {
    device: 'c0',
    frames: [link + tag + ethertype + packet, link + ethertype + packet],
  }).stop();
  const { counters, captured } = await reportOnce(relay, (r) => r.counters[0].received === 2);
  assert.equal(counters[0].foreign, 1);
  assert.equal(captured.length, 1);
  await relay.stop();
});

test('packets of both families are taken from a tunnel, which has no link header', async (t) => {
  const { lb } = threeInARow(t);
  sh(`ip -n ${lb} tuntap add mode tun tun0 && ip -n ${lb} link set tun0 up`);
  const vip6 = 'fd00:1::1';
  const relay = await startRelay(t, lb, {
    ...TWO_ARM,
    wan: 'tun0',
    vips: [...TWO_ARM.vips, { ip: vip6, port: VPORT }],
    rewrite: {},
  });
  const ipv4 = '4500001d00004000401124cc0a0100020a01000103e8177000090000aa';
  const ipv6 = `6000000000091140fd000001${'00'.repeat(11)}02fd000001${'00'.repeat(11)}0103e8177000090000aa`;
  // TUNSETIFF with IFF_TUN and IFF_NO_PI: what is written to the file comes in on the interface.
  const write =
    'import fcntl, os, struct, sys; tun = os.open("/dev/net/tun", os.O_RDWR); ' +
    'fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tun0", 0x1001)); ' +
    '[os.write(tun, bytes.fromhex(packet)) for packet in sys.argv[1:]]';
  sh(`ip netns exec ${lb} python3 -c '${write}' ${ipv4} ${ipv6}`);
  const { captured, counters } = await reportOnce(relay, (r) => r.captured.length === 2);
  assert.deepEqual(captured, [ipv4, ipv6]);
  assert.equal(counters[0].foreign, 0);
  await relay.stop();
});

test('a fault of the program in the middle of capturing ends it with its message', async (t) => {
  const { client, lb } = threeInARow(t);
  const relay = await startRelay(t, lb, { ...TWO_ARM, failAt: VIP });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  endpoint.write({ send: { hex: 'aa', ip: VIP, port: VPORT } });
  await assert.rejects(relay.next('report'), /ended with 1:.*failed on purpose/s);
});
