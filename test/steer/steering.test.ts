// Which ring the kernel gives a packet to on interfaces of several kinds, by real packets; what it makes of
// each kind of packet is in test/bpf/steering.test.ts. And how evenly clients are shared out.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SINK } from '../../src/steer/kernel-steering.ts';
import { Owners, randomSteeringKey } from '../../src/steer/steering.ts';
import { type Cleanup, join, namespace, type Program, sh, startProgram } from '../io/namespaces.ts';
import { concat, hex, unhex } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import { type Case, caseOf, KEY, leg, ownerOf, service, specFor } from './steering-cases.ts';
import type { SteeringTask } from './steering-program.ts';

const WORKERS = 3;
const MAC = '02:00:00:00:ff:ff';
const OTHER_MAC = '02:00:00:00:ff:fe';
const SENDER = '02000000eeee';
const seed = 4;

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const bytesOf = (mac: string) => mac.replaceAll(':', '');

/** Behind `tag` a VLAN tag; an ethertype by the version. */
const frameOf = (packet: Uint8Array, mac = MAC, tag = ''): string =>
  hex(concat(unhex(`${bytesOf(mac)} ${SENDER} ${tag}${packet[0] >> 4 === 6 ? '86dd' : '0800'}`), packet));

interface Link {
  ns: string;
  program: Program;
}

/** A program that tells where packets arrive on `device` that are sent on a0, b0's other end. */
function startSteering(t: Cleanup, device = 'b0', setUp = '', isFiltered = false): Link {
  const ns = namespace(t, 'f');
  join({ ns, device: 'a0', addresses: [] }, { ns, device: 'b0', addresses: [] });
  sh(`ip -n ${ns} link set b0 address ${MAC}`);
  if (setUp !== '') sh(setUp.replaceAll('ip ', `ip -n ${ns} `));
  return {
    ns,
    program: startProgram(t, ns, 'steer/steering-program.ts', { device, sender: 'a0', isFiltered }),
  };
}

type Sent = SteeringTask['packets'][number];

async function arrivals(program: Program, packets: readonly Sent[], before?: string): Promise<number[]> {
  const task: SteeringTask = { spec: specFor(WORKERS), packets: [...packets], before };
  program.write(task);
  return program.next<number[]>('arrivals');
}

const sentTo = (mac: string, packets: readonly Uint8Array[]): Sent[] =>
  packets.map((packet) => ({ frame: frameOf(packet, mac), packet: hex(packet) }));
const packetsOf = (cases: readonly Case[]) => cases.map(({ packet }) => packet);

/** TUNSETIFF with IFF_TUN and IFF_NO_PI: what is written to the file comes in on the interface. */
function writeToTun(device: string, packets: readonly Uint8Array[]): string {
  const script =
    'import fcntl, os, struct, sys; tun = os.open("/dev/net/tun", os.O_RDWR); ' +
    `fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"${device}", 0x1001)); ` +
    '[os.write(tun, bytes.fromhex(packet)) for packet in sys.argv[1:]]';
  return `python3 -c '${script}' ${packets.map(hex).join(' ')}`;
}

/** Names those that another ring got than that of the worker that ownerOf says. */
function assertOwned(cases: readonly Case[], got: readonly number[]): void {
  const owners = new Owners(specFor(WORKERS));
  const wrong = cases.flatMap(({ ends, packet }, index) => {
    const ring = SINK + 1 + ownerOf(owners, ends);
    return got[index] === ring ? [] : [{ ends, packet: hex(packet), ring, got: got[index] }];
  });
  assert.deepEqual(wrong.slice(0, 5), []);
}

const DOWN_AND_UP =
  'ip link set b0 down; ip link set b0 up; until ip link show a0 | grep -q "state UP"; do sleep 0.01; done';
const cases = fc.sample(fc.oneof(caseOf(service), caseOf(leg)), { seed, numRuns: 300 });

describe('the kernel gives a packet to a ring of the worker that ownerOf names', () => {
  test('in any dress, also after the interface was down', async (t) => {
    const { program } = startSteering(t);
    const packets = sentTo(MAC, packetsOf(cases));
    assertOwned(cases, await arrivals(program, packets));
    assertOwned(cases, await arrivals(program, packets, DOWN_AND_UP));
    await program.stop();
  });

  test('on an interface without link header', async (t) => {
    const ns = namespace(t, 'f');
    sh(`ip -n ${ns} tuntap add mode tun tun0 && ip -n ${ns} link set tun0 up`);
    const program = startProgram(t, ns, 'steer/steering-program.ts', { device: 'tun0', sender: 'lo' });
    const packets = packetsOf(cases);
    const written = writeToTun('tun0', packets);
    const got = await arrivals(
      program,
      packets.map((packet) => ({ packet: hex(packet) })),
      written,
    );
    assertOwned(cases, got);
    await program.stop();
  });
});

const numbered = (sport: number) => udp({ src: '192.0.2.7', sport, dst: '10.1.0.100', dport: 6000 });

/** Whether each arrives; all are sent from another source port. */
async function come(program: Program, frames: readonly [mac: string, tag?: string][], before?: string) {
  const packets = frames.map(([mac, tag], n) => {
    const packet = numbered(1000 + n);
    return { frame: frameOf(packet, mac, tag), packet: hex(packet) };
  });
  return (await arrivals(program, packets, before)).map((ring) => ring !== -1);
}

for (const isFiltered of [false, true])
  describe(`${isFiltered ? 'by filter, ' : ''}what the kernel takes comes in, whatever its Ethernet address`, () => {
    const BROADCAST = 'ff:ff:ff:ff:ff:ff';
    const STRANGE: [string][] = [['02:00:00:00:12:34'], [BROADCAST], ['01:00:5e:00:00:01']];

    test('not what is for another host, also on a promiscuous interface', async (t) => {
      const { program } = startSteering(t, 'b0', 'ip link set b0 promisc on', isFiltered);
      assert.deepEqual(await come(program, [...STRANGE, [MAC]]), [false, false, false, true]);
      await program.stop();
    });

    test('of an interface that was given another one', async (t) => {
      const { program } = startSteering(t, 'b0', '', isFiltered);
      const change = `ip link set b0 address ${OTHER_MAC}`;
      assert.deepEqual(await come(program, [[MAC], [OTHER_MAC]], change), [false, true]);
      await program.stop();
    });

    test('of a bridge and of its port', async (t) => {
      const bridge = `ip link add br0 address ${OTHER_MAC} type bridge; ip link set b0 master br0; ip link set br0 up`;
      const { program } = startSteering(t, 'br0', bridge, isFiltered);
      const came = await come(program, [...STRANGE, [MAC], [OTHER_MAC]]);
      assert.deepEqual(came, [false, false, false, true, true]);
      await program.stop();
    });

    test('of a macvlan, as VRRP has one for its virtual address', async (t) => {
      const VRRP = '00:00:5e:00:01:33';
      const macvlan = `ip link add vrrp.51 link b0 address ${VRRP} type macvlan mode private; ip link set vrrp.51 up`;
      const { program } = startSteering(t, 'vrrp.51', macvlan, isFiltered);
      assert.deepEqual(await come(program, [...STRANGE, [MAC], [VRRP]]), [false, false, false, false, true]);
      await program.stop();
    });
  });

describe('of what the kernel takes there comes in', () => {
  test('no VLAN’s, but for what has only a priority', async (t) => {
    const { program } = startSteering(t);
    const frames: [string, string?][] = [[MAC, '8100 0005 '], [MAC, '8100 e000 '], [MAC]];
    assert.deepEqual(await come(program, frames), [false, true, true]);
    await program.stop();
  });

  test('and nothing that ends before its header or its ports', async (t) => {
    const { program } = startSteering(t);
    const to6 = udp({ src: '2001:db8::7', sport: 1, dst: 'fd00:1::100', dport: 6000 });
    const short = [
      numbered(1).subarray(0, 19),
      numbered(2).subarray(0, 23),
      to6.subarray(0, 39),
      to6.subarray(0, 43),
    ];
    const got = await arrivals(program, sentTo(MAC, [...short, numbered(3)]));
    assert.deepEqual(
      got.map((ring) => ring !== -1),
      [false, false, false, false, true],
    );
    await program.stop();
  });
});

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
    owners.ownerOf(Int32Array.of(...client.slice(0, 4), 0, 0, 0xffff, 0x0a010064), client[4], 6000);

  function assertEven(owned: readonly number[], workers: number): void {
    const shares = numbers(workers).map((worker) => owned.filter((owner) => owner === worker).length);
    const even = owned.length / workers;
    for (const share of shares) assert.ok(Math.abs(share - even) <= even / 10, `${shares}`);
  }

  for (const [name, client] of Object.entries(CLIENTS)) {
    test(name, () => {
      for (const workers of [2, 3, 8]) {
        const owners = new Owners(specFor(workers));
        assertEven(
          numbers(COUNT).map((n) => ownerOfClient(owners, client(n))),
          workers,
        );
      }
    });
  }

  test('those that are all of one worker are not with another key', () => {
    const client = (n: number) => [0, 0, 0xffff, 0x0a010000 + (n >> 4), 4000 + (n & 15)];
    const known = new Owners(specFor(2));
    const aimed = numbers(2 * COUNT)
      .map(client)
      .filter((one) => ownerOfClient(known, one) === 1);
    const key = KEY.map((word) => word ^ 0x5a5a5a5a);
    const owners = new Owners({ ...specFor(2), key });
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
