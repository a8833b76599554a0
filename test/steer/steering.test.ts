// Which worker the kernel gives a packet to, compared with ownerOf of the packet's session: real packets through a fanout
// group. And how evenly clients are shared out, and how long programs become.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SIDE } from '../../src/io/packet-io.ts';
import { Owners, randomSteeringKey, type SteeringPlan } from '../../src/steer/steering.ts';
import { steeringProgram } from '../../src/steer/steering-program.ts';
import { formatIpv4 } from '../../src/wire/address.ts';
import { type Cleanup, join, namespace, type Program, sh, startProgram } from '../io/namespaces.ts';
import { icmp4, ipv4 } from '../packets/builder.ts';
import { destOptions, hopByHop, icmp6, ipv6, routing } from '../packets/builder6.ts';
import { concat, type Family, familyOf, hex, unhex } from '../packets/bytes.ts';
import { fragments4, fragments6 } from '../packets/fragments.ts';
import { addressOption, udp } from '../packets/uoa-builder.ts';
import { type Case, caseOf, type Ends, KEY, leg, ownerOf, planFor, service } from './steering-cases.ts';
import type { SteeringTask } from './steering-program.ts';

const ETHERNET = unhex('02000000ffff 02000000eeee');

const frameOf = (packet: Uint8Array): string =>
  hex(concat(ETHERNET, unhex((packet[0] ?? 0) >> 4 === 6 ? '86dd' : '0800'), packet));

/** A program that tells where packets arrive on b0 that are sent on a0. */
function startSteering(t: Cleanup): Program {
  const ns = namespace(t, 'f');
  join({ ns, device: 'a0', addresses: [] }, { ns, device: 'b0', addresses: [] });
  return startProgram(t, ns, 'steer/steering-program.ts', { device: 'b0', sender: 'a0' });
}

/** The socket that each packet arrived at; packets that come in by `tun` are written to that interface. */
async function arrivals(
  program: Program,
  steering: Uint8Array | undefined,
  workers: number,
  packets: readonly Uint8Array[],
  options: { before?: string; tun?: string; known?: readonly Uint8Array[] } = {},
): Promise<number[]> {
  const { tun } = options;
  const task: SteeringTask = {
    program: steering && hex(steering),
    workers,
    known: options.known?.map(hex),
    packets: packets.map((packet) => ({
      frame: tun === undefined ? frameOf(packet) : undefined,
      packet: hex(packet),
    })),
    before: tun === undefined ? options.before : writeToTun(tun, packets),
  };
  program.write(task);
  return program.next<number[]>('arrivals');
}

/** TUNSETIFF with IFF_TUN and IFF_NO_PI: what is written to the file comes in on the interface. */
function writeToTun(device: string, packets: readonly Uint8Array[]): string {
  const script =
    'import fcntl, os, struct, sys; tun = os.open("/dev/net/tun", os.O_RDWR); ' +
    `fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"${device}", 0x1001)); ` +
    '[os.write(tun, bytes.fromhex(packet)) for packet in sys.argv[1:]]';
  return `python3 -c '${script}' ${packets.map(hex).join(' ')}`;
}

/** Names those that another worker got than ownerOf says. */
function assertOwned(cases: readonly Case[], got: readonly number[], owners: Owners): void {
  const wrong = cases.flatMap(({ ends, packet }, index) => {
    const owner = ownerOf(owners, ends);
    return got[index] === owner ? [] : [{ ends, packet: hex(packet), owner, got: got[index] }];
  });
  assert.deepEqual(wrong.slice(0, 5), []);
}

/** Address and port of a whole UDP packet, as text; undefined where the kernel is not to look. */
function sourceOf(packet: Uint8Array): string | undefined {
  const isIpv6 = packet[0]! >> 4 === 6;
  if (packet[isIpv6 ? 6 : 9] !== 17) return undefined;
  if (!isIpv6 && ((packet[6]! & 0x3f) !== 0 || packet[7] !== 0)) return undefined;
  const portAt = isIpv6 ? 40 : (packet[0]! & 15) * 4;
  const source = isIpv6 ? packet.subarray(8, 24) : packet.subarray(12, 16);
  return hex(concat(source, packet.subarray(portAt, portAt + 2)));
}

const packetsOf = (cases: readonly Case[]) => cases.map(({ packet }) => packet);
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const instructions = (program: Uint8Array) => program.length / 8;

const DOWN_AND_UP =
  'ip link set b0 down; ip link set b0 up; until ip link show a0 | grep -q "state UP"; do sleep 0.01; done';

describe('the kernel gives a packet to the worker that ownerOf names', () => {
  const seed = 4;

  test('datagrams and ICMP errors of both families to VIPs and LIPs, in any dress', async (t) => {
    const program = startSteering(t);
    const check = async (side: number, workers: number, some: fc.Arbitrary<Case>, numRuns: number) => {
      const cases = fc.sample(some, { seed, numRuns });
      const plan = planFor(workers);
      const got = await arrivals(program, steeringProgram(plan, side), workers, packetsOf(cases));
      assertOwned(cases, got, new Owners(plan));
    };
    await check(SIDE.both, 3, caseOf(service), 600);
    await check(SIDE.both, 3, caseOf(leg), 600);
    await check(SIDE.lan, 2, fc.oneof(caseOf(leg), caseOf(service)), 300);
    await check(SIDE.wan, 2, caseOf(service), 300);
    await program.stop();
  });

  test('and of its two rings the one that is for such sources', async (t) => {
    const program = startSteering(t);
    for (const workers of [1, 3]) {
      const plan = planFor(workers);
      const cases = fc.sample(fc.oneof(caseOf(leg), caseOf(service)), { seed, numRuns: 600 });
      const known = packetsOf(cases).filter((_, index) => index % 2 === 0);
      const sources = new Set(known.map(sourceOf));
      const steering = workers === 1 ? undefined : steeringProgram(plan, SIDE.both);
      const got = await arrivals(program, steering, workers, packetsOf(cases), { known });
      const before = DOWN_AND_UP;
      const again = await arrivals(program, steering, workers, packetsOf(cases), { known, before });
      assert.deepEqual(again, got, 'also after the interface was down');
      const owners = new Owners(plan);
      const wanted = cases.map(({ ends, packet }) => {
        const owner = workers === 1 ? 0 : ownerOf(owners, ends);
        const source = sourceOf(packet);
        return owner + (source !== undefined && sources.has(source) ? workers : 0);
      });
      assert.deepEqual(got, wanted);
      const lanes = new Set(got.map((socket) => socket >= workers));
      assert.equal(lanes.size, 2, 'there are both');
    }
    await program.stop();
  });

  test('on an interface without link header', async (t) => {
    const ns = namespace(t, 'f');
    sh(`ip -n ${ns} tuntap add mode tun tun0 && ip -n ${ns} link set tun0 up`);
    const program = startProgram(t, ns, 'steer/steering-program.ts', { device: 'tun0', sender: 'lo' });
    const cases = fc.sample(fc.oneof(caseOf(service), caseOf(leg)), { seed, numRuns: 200 });
    const plan = planFor(3);
    const steering = steeringProgram(plan, SIDE.both);
    const got = await arrivals(program, steering, 3, packetsOf(cases), { tun: 'tun0' });
    assertOwned(cases, got, new Owners(plan));
    await program.stop();
  });

  test('also after the interface was down', async (t) => {
    const program = startSteering(t);
    const cases = fc.sample(caseOf(leg), { seed, numRuns: 100 });
    const plan = planFor(3);
    const before = DOWN_AND_UP;
    const got = await arrivals(program, steeringProgram(plan, SIDE.lan), 3, packetsOf(cases), { before });
    assertOwned(cases, got, new Owners(plan));
    await program.stop();
  });

  test('with many VIPs and LIPs whose addresses alternate', async (t) => {
    const program = startSteering(t);
    const plan = alternating(250, 3);
    const cases = [
      ...plan.vips.map(({ ip }) => [ip, 6000] as const),
      ...plan.lips.map(({ ip }) => [ip, 5003] as const),
    ].map(([local, localPort], index) => {
      const remote = familyOf(local) === 4 ? '192.0.2.7' : '2001:db8::7';
      const remotePort = 1000 + index;
      const ends = { local, localPort, remote, remotePort };
      return { ends, packet: udp({ src: remote, sport: remotePort, dst: local, dport: localPort }) };
    });
    const steering = steeringProgram(plan, SIDE.both);
    assertOwned(cases, await arrivals(program, steering, 3, packetsOf(cases)), new Owners(plan));
    const withRings = await arrivals(program, steering, 3, packetsOf(cases), { known: [] });
    assertOwned(cases, withRings, new Owners(plan));
    await program.stop();
  });
});

describe('what has no ports', () => {
  test('all fragments of a datagram meet in one worker, and those of many datagrams in all', async (t) => {
    const program = startSteering(t);
    const option = addressOption('10.1.0.2', 4000);
    const datagrams = numbers(60).flatMap((id) => {
      const ports = { sport: 4000, dport: 6000, payload: new Uint8Array(3000) };
      const to4 = { src: '192.0.2.7', dst: '10.1.0.100', id, ...ports };
      const to6 = { src: '2001:db8::7', dst: 'fd00:1::100', ...ports };
      const extensions = [hopByHop(Uint8Array.of(5, 2, 0, 0)), routing(), destOptions(option)];
      return [
        fragments4(udp(to4), 1500),
        fragments4(udp({ ...to4, src: '192.0.2.8', options: option }), 1500),
        fragments4(udp({ ...to4, src: '192.0.2.9' }, { option }), 1500),
        fragments6(udp(to6), 1500, id),
        fragments6(udp({ ...to6, src: '2001:db8::8', extensions }), 1500, id),
      ];
    });
    const steering = steeringProgram(planFor(3), SIDE.both);
    const got = await arrivals(program, steering, 3, datagrams.flat());
    const byDatagram = datagrams.map((pieces) => new Set(got.splice(0, pieces.length)));
    assert.deepEqual(new Set(byDatagram.map(({ size }) => size)), new Set([1]));
    for (const kind of numbers(5)) {
      const workers = new Set(byDatagram.filter((_, index) => index % 5 === kind).flatMap((set) => [...set]));
      assert.deepEqual([...workers].sort(), [0, 1, 2]);
    }
    await program.stop();
  });

  test('what cannot be told goes to worker 0', async (t) => {
    const program = startSteering(t);
    // Ends that belong to another worker.
    const plan = planFor(3);
    const owners = new Owners(plan);
    const not0 = (ends: Ends): Ends =>
      ownerOf(owners, ends) !== 0 ? ends : not0({ ...ends, remotePort: ends.remotePort + 1 });
    const at4 = not0({ remote: '192.0.2.7', remotePort: 4000, local: '10.1.0.100', localPort: 6000 });
    const at6 = not0({ remote: '2001:db8::7', remotePort: 4000, local: 'fd00:1::100', localPort: 6000 });
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
    const four = numbers(4).map(() => destOptions(new Uint8Array(0)));
    const error4 = { src: '192.0.2.1', dst: at4.local, type: 3, code: 4 };
    const error6 = { src: '2001:db8::f', dst: at6.local, type: 2, code: 0 };
    const packets = [
      udp(to(at4)), // the first two show that the ends are another worker's
      udp(to(at6)),
      ipv4(to(at4), 6, udp(to(at4)).subarray(20)),
      ipv6(to(at6), 6, udp(to(at6)).subarray(40)),
      udp({ ...to(at6), extensions: four }),
      udp(to(at4)).subarray(0, 22),
      udp(to(at6)).subarray(0, 42),
      udp(to(at4), { option: addressOption('10.1.0.2', 4000), inner: 6 }),
      icmp4({ ...error4, type: 8, body: udp(from(at4)) }),
      icmp4({ ...error4, body: udp(from(at4)).subarray(0, 20) }),
      icmp4({ ...error4, body: udp({ ...from(at4), fragOffset: 185 }) }),
      icmp6({ ...error6, type: 128, body: udp(from(at6)) }),
      icmp6({ ...error6, type: 5, body: udp(from(at6)) }),
      icmp6({ ...error6, body: udp({ ...from(at6), extensions: four }) }),
      icmp6({ ...error6, body: fragments6(udp({ ...from(at6), payload: new Uint8Array(2000) }), 1280)[1]! }),
    ];
    const got = await arrivals(program, steeringProgram(plan, SIDE.both), 3, packets);
    assert.deepEqual(got, [ownerOf(owners, at4), ownerOf(owners, at6), ...packets.slice(2).map(() => 0)]);
    await program.stop();
  });
});

describe('the length of the program', () => {
  const plan = (vips: readonly string[], lips: readonly string[]): SteeringPlan => ({
    workers: 4,
    key: KEY,
    vips: vips.map((ip) => ({ ip, port: 6000 })),
    lips: lips.map((ip) => ({ ip, first: 5000, last: 5999 })),
  });

  test('does not grow with the services where LIPs and VIPs stand apart', () => {
    const few = plan(['10.1.0.0', 'fd00:1::'], ['10.2.0.1', 'fd00:2::1']);
    const many = plan(
      numbers(1000).flatMap((n) => [vip(4, n), vip(6, n)]),
      numbers(10).flatMap((n) => [`10.2.0.${n}`, `fd00:2::${n}`]),
    );
    for (const side of [SIDE.wan, SIDE.both]) {
      const length = instructions(steeringProgram(many, side));
      assert.equal(length, instructions(steeringProgram(few, side)));
      assert.ok(length <= 400, `${length}`);
    }
  });

  test('grows by about 8 instructions for a VIP and a LIP of each family where they alternate', () => {
    const length = (count: number) => instructions(steeringProgram(alternating(count, 4), SIDE.both));
    assert.ok(length(450) <= 4096);
    assert.ok((length(450) - length(50)) / 400 < 9, `${length(50)} ${length(450)}`);
  });

  test('stays within what the kernel takes; then some packets to LIPs are taken for packets to VIPs', async (t) => {
    const steering = alternating(3000, 3);
    const program = steeringProgram(steering, SIDE.both);
    assert.ok(instructions(program) <= 4096);
    const run = startSteering(t);
    const ends = steering.vips.slice(0, 500).map(({ ip }) => ({
      local: ip,
      localPort: 6000,
      remote: familyOf(ip) === 4 ? '192.0.2.7' : '2001:db8::7',
      remotePort: 4000,
    }));
    const cases = ends.map((one) => ({
      ends: one,
      packet: udp({ src: one.remote, sport: one.remotePort, dst: one.local, dport: one.localPort }),
    }));
    assertOwned(cases, await arrivals(run, program, 3, packetsOf(cases)), new Owners(steering));
    const withRings = await arrivals(run, program, 3, packetsOf(cases), { known: [] });
    assertOwned(cases, withRings, new Owners(steering));
    await run.stop();
  });
});

/** 10.1.0.0 and fd00:1:: with `n` added. */
function vip(family: Family, n: number): string {
  return family === 4 ? formatIpv4(0x0a010000 + n) : `fd00:1::${n.toString(16)}`;
}

/** So many VIPs and LIPs of each family in turn. */
function alternating(count: number, workers: number): SteeringPlan {
  const of = (offset: number) =>
    numbers(count).flatMap((n) => [vip(4, 2 * n + offset), vip(6, 2 * n + offset)]);
  return {
    workers,
    key: KEY,
    vips: of(0).map((ip) => ({ ip, port: 6000 })),
    lips: of(1).map((ip) => ({ ip, first: 5000, last: 5999 })),
  };
}

describe('10,000 clients are shared out evenly', () => {
  const COUNT = 10_000;
  const V6 = [0x20010db8, 0, 0, 0] as const;
  /** Address words and port of client `n`. */
  const CLIENTS: Record<string, (n: number) => readonly [number, number, number, number, number]> = {
    'consecutive ports of one IPv4 address': (n) => [0, 0, 0xffff, 0x0a010002, 20_000 + n],
    'every second port': (n) => [0, 0, 0xffff, 0x0a010002, 2 * n + 1],
    'consecutive ports of one IPv6 address': (n) => [...V6, 20_000 + n],
    'consecutive IPv4 addresses, one port': (n) => [0, 0, 0xffff, 0x0a010000 + n, 4000],
    'one IPv4 address of each /24': (n) => [0, 0, 0xffff, 0x0a000001 + (n << 8), 4000],
    'consecutive IPv6 addresses, one port': (n) => [V6[0], 0, 0, n, 4000],
    'one IPv6 address of each /64': (n) => [V6[0], n, 0, 1, 4000],
    '100 ports of each of 100 IPv4 addresses': (n) => [
      0,
      0,
      0xffff,
      0x0a010000 + Math.floor(n / 100),
      4000 + (n % 100),
    ],
  };

  const ownerOfClient = (owners: Owners, client: readonly number[]): number =>
    owners.ownerOf(Int32Array.of(...client.slice(0, 4), 0, 0, 0xffff, 0x0a010064), client[4]!, 6000);

  function assertEven(owned: readonly number[], workers: number): void {
    const shares = numbers(workers).map((worker) => owned.filter((owner) => owner === worker).length);
    const even = owned.length / workers;
    for (const share of shares) assert.ok(Math.abs(share - even) <= even / 10, `${shares}`);
  }

  for (const [name, client] of Object.entries(CLIENTS)) {
    test(name, () => {
      for (const workers of [2, 3, 8]) {
        const owners = new Owners(planFor(workers));
        assertEven(
          numbers(COUNT).map((n) => ownerOfClient(owners, client(n))),
          workers,
        );
      }
    });
  }

  test('those that are all of one worker are not with another key', () => {
    const client = (n: number) => [0, 0, 0xffff, 0x0a010000 + (n >> 4), 4000 + (n & 15)];
    const known = new Owners(planFor(2));
    const aimed = numbers(2 * COUNT)
      .map(client)
      .filter((one) => ownerOfClient(known, one) === 1);
    const key = KEY.map((word) => word ^ 0x5a5a5a5a);
    const owners = new Owners({ ...planFor(2), key });
    assertEven(
      aimed.map((one) => ownerOfClient(owners, one)),
      2,
    );
  });

  test('a random key has as many words, and odd factors', () => {
    const key = randomSteeringKey();
    assert.equal(key.length, KEY.length);
    assert.ok(key.slice(1).every((word) => (word & 1) === 1));
  });
});
