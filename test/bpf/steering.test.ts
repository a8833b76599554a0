// The steering program, packet by packet, as its head comment says what it does (src/bpf/steering.bpf.c): by
// BPF_PROG_TEST_RUN, where a frame to the Ethernet address 0 is one that the kernel takes. What needs
// interfaces is in test/steer/steering.test.ts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { openKernelSteering, SINK } from '../../src/steer/kernel-steering.ts';
import { KnownSources, knownSpec } from '../../src/steer/known-sources.ts';
import { Owners, type SteeringSpec } from '../../src/steer/steering.ts';
import type { SteeredAddresses } from '../../src/steer/steering-addresses.ts';
import { testRun } from '../../src/sys/libbpf.ts';
import { icmp4, ipv4 } from '../packets/builder.ts';
import {
  destOptions,
  type Extension,
  fragmentHeader,
  hopByHop,
  icmp6,
  ipv6,
  routing,
} from '../packets/builder6.ts';
import { concat, hex, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { addressOption, udp } from '../packets/uoa-builder.ts';
import {
  type Case,
  caseOf,
  type Ends,
  KEY,
  leg,
  ownerOf,
  service,
  specFor,
} from '../steer/steering-cases.ts';

const WORKERS = 3;
/** The ring for anybody's packets of worker 0: of what cannot be told. */
const FIRST = SINK + 1;
const PORT_INDEX = 1;
const TO_US = '000000000000';
const seed = 4;

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const ETHERTYPE = (packet: Uint8Array) => ((packet[0] ?? 0) >> 4 === 6 ? '86dd' : '0800');
const frameOf = (packet: Uint8Array, to = TO_US, type = ETHERTYPE(packet)) =>
  concat(unhex(`${to} 02000000eeee ${type}`), packet);

/** The program of the second of two ports with these addresses at work. */
function load(t: TestContext, { workers, key, vips, lips }: SteeringSpec) {
  const spec = knownSpec(1000);
  const steering = openKernelSteering(2, workers, key, spec);
  t.after(() => steering.close());
  steering.change({ vips, lips });
  const known = new KnownSources(spec, steering.knownFd);
  const program = steering.programs[PORT_INDEX];
  return {
    steering,
    run: (packet: Uint8Array, repeat = 1) => testRun(program, { data: frameOf(packet), repeat }).result,
    runFrame: (data: Uint8Array) => testRun(program, { data }).result,
    note: (packet: Uint8Array, portIndex = PORT_INDEX) => {
      const bytes = Uint8Array.from(packet);
      if (known.look(new DataView(bytes.buffer), 0, portIndex)) known.note();
    },
  };
}

/** Address and port of a whole UDP packet, as text; undefined where the kernel is not to look. */
function sourceOf(packet: Uint8Array): string | undefined {
  const isIpv6 = packet[0] >> 4 === 6;
  if (packet[isIpv6 ? 6 : 9] !== 17) return undefined;
  if (!isIpv6 && ((packet[6] & 0x3f) !== 0 || packet[7] !== 0)) return undefined;
  const portAt = isIpv6 ? 40 : (packet[0] & 15) * 4;
  const source = isIpv6 ? packet.subarray(8, 24) : packet.subarray(12, 16);
  return hex(concat(source, packet.subarray(portAt, portAt + 2)));
}

const to = ({ remote, remotePort, local, localPort }: Ends) => ({
  src: remote,
  sport: remotePort,
  dst: local,
  dport: localPort,
});
const from = ({ remote, remotePort, local, localPort }: Ends) => ({
  src: local,
  sport: localPort,
  dst: remote,
  dport: remotePort,
});

describe('a packet of the proxy goes to the worker that ownerOf names', () => {
  const assertOwned = (got: (packet: Uint8Array) => number, cases: readonly Case[], spec: SteeringSpec) => {
    const owners = new Owners(spec);
    const wrong = cases.flatMap(({ ends, packet }) => {
      const [wanted, ring] = [FIRST + ownerOf(owners, ends), got(packet)];
      return ring === wanted ? [] : [{ ends, packet: hex(packet), wanted, ring }];
    });
    assert.deepEqual(wrong.slice(0, 5), []);
  };

  for (const [name, side] of [
    ['VIP:vport', service],
    ['LIP:lport', leg],
  ] as const) {
    test(`datagrams and ICMP errors of both families to ${name}, in any dress`, (t) => {
      for (const workers of [1, 2, WORKERS]) {
        const spec = specFor(workers);
        assertOwned(load(t, spec).run, fc.sample(caseOf(side), { seed, numRuns: 600 }), spec);
      }
    });
  }

  test('and of its two rings to the one for known sources, by the interface where they are known', (t) => {
    for (const workers of [1, WORKERS]) {
      const spec = specFor(workers);
      const owners = new Owners(spec);
      const { run, note } = load(t, spec);
      const cases = fc.sample(fc.oneof(caseOf(leg), caseOf(service)), { seed, numRuns: 600 });
      const known = cases.map(({ packet }) => packet).filter((_, index) => index % 2 === 0);
      for (const packet of known) note(packet, 0);
      const unknown = cases.map(({ packet }) => run(packet));
      assert.ok(unknown.every((ring) => ring >= FIRST && ring < FIRST + workers));
      for (const packet of known) note(packet);
      const sources = new Set(known.map(sourceOf));
      const wanted = cases.map(({ ends, packet }) => {
        const source = sourceOf(packet);
        const isKnown = source !== undefined && sources.has(source);
        return FIRST + ownerOf(owners, ends) + (isKnown ? workers : 0);
      });
      assert.deepEqual(
        cases.map(({ packet }) => run(packet)),
        wanted,
      );
      assert.equal(new Set(wanted.map((ring) => ring < FIRST + workers)).size, 2, 'there are both');
    }
  });

  test('with 1,000 services of both families and 4,096 LIPs, whose addresses alternate', (t) => {
    const at = (n: number) => [
      `10.${64 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`,
      `fd00:1::${n.toString(16)}`,
    ];
    const spec: SteeringSpec = {
      workers: WORKERS,
      key: KEY,
      vips: numbers(1000).flatMap((n) => at(2 * n).map((ip) => ({ ip, port: 6000 + n }))),
      lips: numbers(2048).flatMap((n) => at(2 * n + 1).map((ip) => ({ ip, first: 5000, last: 5999 }))),
    };
    const cases = [
      ...spec.vips.map(({ ip, port }) => [ip, port] as const),
      ...spec.lips.map(({ ip }, n) => [ip, 5000 + (n % 1000)] as const),
    ].map(([local, localPort], n) => {
      const remote = local.includes(':') ? '2001:db8::7' : '192.0.2.7';
      const ends = { local, localPort, remote, remotePort: 1000 + n };
      return { ends, packet: udp(to(ends)) };
    });
    const { run } = load(t, spec);
    assertOwned(run, cases, spec);
    for (const { ends } of cases) assert.equal(run(udp({ ...to(ends), dport: 4999 })), SINK);
  });

  test('of an address with more ranges of lports than there is room for, too', (t) => {
    const lips = numbers(40).map((n) => ({
      ip: '10.1.0.100',
      first: 20_000 + n * n * 10,
      last: 20_005 + n * n * 10,
    }));
    const spec = { workers: WORKERS, key: KEY, vips: [{ ip: '10.1.0.100', port: 20_008 }], lips };
    const { run } = load(t, spec);
    const ends = { local: '10.1.0.100', remote: '192.0.2.7', remotePort: 1 };
    const cases = [...lips.flatMap(({ first, last }) => [first, last]), 20_008].map((localPort) => {
      const one = { ...ends, localPort };
      return { ends: one, packet: udp(to(one)) };
    });
    assertOwned(run, cases, spec);
    for (const dport of [19_999, 1, 35_216, 65_535])
      assert.equal(run(udp({ ...to({ ...ends, localPort: dport }) })), SINK);
  });
});

describe('what has no ports', () => {
  test('all fragments of a datagram meet in one worker, and those of many datagrams in all', (t) => {
    const option = addressOption('10.1.0.2', 4000);
    const extensions = [hopByHop(Uint8Array.of(5, 2, 0, 0)), routing(), destOptions(option)];
    const { run } = load(t, specFor(WORKERS));
    const kinds = numbers(60).map((id) => {
      const ports = { sport: 4000, dport: 6000, payload: new Uint8Array(3000) };
      const to4 = { src: '192.0.2.7', dst: '10.1.0.100', id, ...ports };
      const to6 = { src: '2001:db8::7', dst: 'fd00:1::100', ...ports };
      return [
        fragments4(udp(to4), 1500),
        fragments4(udp({ ...to4, src: '192.0.2.8', options: option }), 1500),
        fragments4(udp({ ...to4, src: '192.0.2.9' }, { option }), 1500),
        fragments6(udp(to6), 1500, id),
        fragments6(udp({ ...to6, src: '2001:db8::8', extensions }), 1500, id),
      ].map((pieces) => new Set(pieces.map((piece) => run(piece))));
    });
    for (const kind of numbers(5)) {
      assert.ok(kinds.every((sets) => sets[kind].size === 1));
      const rings = new Set(kinds.flatMap((sets) => [...sets[kind]]));
      assert.deepEqual([...rings].sort(), [1, 2, 3]);
    }
  });

  test('what cannot be told goes to worker 0, also from a known source', (t) => {
    const spec = specFor(WORKERS);
    const owners = new Owners(spec);
    /** Ends that belong to another worker. */
    const not0 = (ends: Ends): Ends =>
      ownerOf(owners, ends) !== 0 ? ends : not0({ ...ends, remotePort: ends.remotePort + 1 });
    const at4 = not0({ remote: '192.0.2.7', remotePort: 4000, local: '10.1.0.100', localPort: 6000 });
    const at6 = not0({ remote: '2001:db8::7', remotePort: 4000, local: 'fd00:1::100', localPort: 6000 });
    const four = numbers(4).map(() => destOptions(new Uint8Array(0)));
    const error4 = { src: '192.0.2.1', dst: at4.local, type: 3, code: 4 };
    const error6 = { src: '2001:db8::f', dst: at6.local, type: 2, code: 0 };
    const none: readonly Extension[] = [hopByHop(Uint8Array.of(5, 2, 0, 0))];
    const strange = '10.9.0.1';
    const rows: [string, Uint8Array][] = [
      ['more extension headers than are followed', udp({ ...to(at6), extensions: four })],
      ['extension headers that end early', udp({ ...to(at6), extensions: [...none] }).subarray(0, 41)],
      ['ports that end early behind one', udp({ ...to(at6), extensions: [...none] }).subarray(0, 50)],
      ['TCP behind one', tcpBehind(none, at6)],
      ['protocol 248 without UDP', udp(to(at4), { option: addressOption('10.1.0.2', 4000), inner: 6 })],
      ['protocol 248 that ends early', ipv4(to(at4), 248, Uint8Array.of(0x10, 17))],
      ['an error without embedded ports', icmp4({ ...error4, body: udp(from(at4)).subarray(0, 20) })],
      ['an error that embeds nothing', icmp4({ ...error4, body: new Uint8Array(0) })],
      ['an error about a later fragment', icmp4({ ...error4, body: udp({ ...from(at4), fragOffset: 185 }) })],
      [
        'an error about a packet that this host never sends',
        icmp4({ ...error4, body: udp({ ...from(at4), src: strange }) }),
      ],
      ['the same of IPv6 without ports', icmp6({ ...error6, body: udp(from(at6)).subarray(0, 40) })],
      [
        'with too many extension headers',
        icmp6({ ...error6, body: udp({ ...from(at6), extensions: four }) }),
      ],
      [
        'about a later fragment',
        icmp6({
          ...error6,
          body: fragments6(udp({ ...from(at6), payload: new Uint8Array(2000) }), 1280)[1],
        }),
      ],
      ['about nothing', icmp6({ ...error6, body: new Uint8Array(0) })],
    ];
    const { run, note } = load(t, spec);
    note(udp(to(at4)));
    note(udp(to(at6)));
    const known = [at4, at6].map((ends) => FIRST + WORKERS + ownerOf(owners, ends));
    assert.deepEqual([run(udp(to(at4))), run(udp(to(at6)))], known);
    for (const [name, packet] of rows) assert.equal(run(packet), FIRST, name);
  });
});

/** IPv6 with an extension header and TCP behind it. */
function tcpBehind(extensions: readonly Extension[], ends: Ends): Uint8Array {
  const packet = Uint8Array.from(udp({ ...to(ends), extensions: [...extensions] }));
  packet[40] = 6;
  return packet;
}

describe('what is not the proxy’s goes to the sink', () => {
  const at4 = { remote: '192.0.2.7', remotePort: 4000, local: '10.1.0.100', localPort: 6000 };
  const at6 = { remote: '2001:db8::7', remotePort: 4000, local: 'fd00:1::100', localPort: 6000 };
  const both = { local: '10.3.0.1', localPort: 20_000, remote: '192.0.2.7', remotePort: 4000 };
  const echo = { src: '192.0.2.7', dst: at4.local, code: 0, body: udp(from(at4)) };
  const echo6 = { src: '2001:db8::7', dst: at6.local, code: 0, body: udp(from(at6)) };
  const rows: Record<string, Uint8Array> = {
    'another port of a VIP': udp({ ...to(at4), dport: 6001 }),
    'another port of an IPv6 VIP': udp({ ...to(at6), dport: 5999 }),
    'a port of the other family’s VIP': udp({ ...to(at4), dst: '10.3.0.1', dport: 6000 }),
    'a port below the lports': udp({ ...to(at4), dst: '10.2.0.200', dport: 4999 }),
    'a port above the lports': udp({ ...to(at6), dst: 'fd00:2::200', dport: 6000 }),
    'a port that an address of both kinds has for neither': udp({ ...to(both), dport: 19_999 }),
    'port 0 of a VIP': udp({ ...to(at4), dport: 0 }),
    'another address': udp({ ...to(at4), dst: '10.1.0.101' }),
    'another IPv6 address': udp({ ...to(at6), dst: 'fd00:1::101' }),
    'the v4-mapped address of a VIP': udp({ ...to(at6), dst: '::ffff:a01:64' }),
    'a fragment to another address': fragments4(
      udp({ ...to(at4), dst: '10.1.0.101', payload: new Uint8Array(3000) }),
      1500,
    )[1],
    'a fragment header to another address': udp({
      ...to(at6),
      dst: 'fd00:1::101',
      extensions: [fragmentHeader()],
    }),
    TCP: ipv4(to(at4), 6, udp(to(at4)).subarray(20)),
    'TCP over IPv6': ipv6(to(at6), 6, udp(to(at6)).subarray(40)),
    'a fragment of TCP': fragments4(ipv4({ ...to(at4), id: 1 }, 6, new Uint8Array(3000)), 1500)[0],
    'an echo request': icmp4({ ...echo, type: 8 }),
    'an echo reply': icmp4({ ...echo, type: 0 }),
    'a redirect': icmp4({ ...echo, type: 5 }),
    'an ICMPv6 echo request': icmp6({ ...echo6, type: 128 }),
    'a neighbor solicitation': icmp6({ ...echo6, type: 135 }),
    'an error to another address': icmp4({ ...echo, dst: '10.1.0.101', type: 3 }),
    'UDP ports that end early': udp(to(at4)).subarray(0, 23),
    'IPv6 ports that end early': udp(to(at6)).subarray(0, 43),
    'ICMP without a type': icmp4({ ...echo, type: 3 }).subarray(0, 20),
  };
  for (const [name, packet] of Object.entries(rows))
    test(name, (t) => assert.equal(load(t, specFor(WORKERS)).run(packet), SINK));

  test('what is sent to another Ethernet address, and what is no IP by its ethertype', (t) => {
    const { runFrame } = load(t, specFor(WORKERS));
    const packet = udp({ ...to(at4), payload: new Uint8Array(64) });
    assert.notEqual(runFrame(frameOf(packet)), SINK);
    for (const address of ['020000000001', 'ffffffffffff', '01005e000001'])
      assert.equal(runFrame(frameOf(packet, address)), SINK, address);
    for (const type of ['0806', '8847', '0000', '86dd'])
      assert.equal(runFrame(frameOf(packet, TO_US, type)), SINK, type);
    assert.equal(runFrame(frameOf(udp(to(at6)), TO_US, '0800')), SINK);
  });
});

test('other addresses take the place of those before, and none is the proxy’s until there are some', (t) => {
  const spec = specFor(1);
  const { steering, run } = load(t, { ...spec, vips: [], lips: [] });
  const toVip = (dst: string) => udp({ src: '192.0.2.7', sport: 4000, dst, dport: 6000 });
  const [one, other] = [toVip('10.1.0.1'), toVip('10.1.0.2')];
  const vip = (ip: string): SteeredAddresses => ({ vips: [{ ip, port: 6000 }], lips: [] });
  assert.deepEqual([run(one), run(other)], [SINK, SINK]);
  steering.change(vip('10.1.0.1'));
  assert.deepEqual([run(one), run(other)], [FIRST, SINK]);
  steering.change(vip('10.1.0.2'));
  assert.deepEqual([run(one), run(other)], [SINK, FIRST]);
  const many = numbers(65_535).map((n) => ({ ip: `10.8.${n >> 8}.${n & 255}`, first: 5000, last: 5999 }));
  steering.change({ ...vip('10.1.0.1'), lips: many });
  assert.deepEqual([run(one), run(other)], [FIRST, SINK]);
  for (const ip of ['10.8.0.0', '10.8.128.0', '10.8.255.254'])
    assert.equal(run(udp({ src: '192.0.2.7', sport: 1, dst: ip, dport: 5500 })), FIRST);
});

test('a known source that sends too much is anybody until it sends less', async (t) => {
  const { run, note } = load(t, specFor(1));
  const packet = udp({ src: '192.0.2.7', sport: 4000, dst: '10.1.0.100', dport: 6000 });
  const KNOWN = FIRST + 1;
  note(packet);
  assert.equal(run(packet), KNOWN);
  assert.equal(run(packet, 100_000), FIRST);
  const deadline = performance.now() + 60_000;
  while (run(packet) !== KNOWN) {
    assert.ok(performance.now() < deadline, 'it comes back');
    await sleep(50);
  }
});

test('CAP_BPF alone is enough to load it', () => {
  const source = (file: string) => new URL(`../../src/steer/${file}`, import.meta.url);
  const script = `
    import { openKernelSteering } from '${source('kernel-steering.ts')}';
    import { knownSpec } from '${source('known-sources.ts')}';
    const steering = openKernelSteering(2, 3, ${JSON.stringify(KEY)}, knownSpec(1000));
    steering.change({ vips: [{ ip: '10.1.0.1', port: 53 }], lips: [] });`;
  const caps = ['--bounding-set=-all,+bpf', '--inh-caps=-all'];
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  const { status, stderr } = spawnSync('setpriv', [...caps, ...node], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
