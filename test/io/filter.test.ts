// The capture filter, judged by libpcap itself: rows of packets that tcpdump reads through it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { mergePorts } from '../../src/host/port-ranges.ts';
import { captureFilter } from '../../src/io/filter.ts';

const VIPS = [
  { ip: '10.1.0.100', port: 6000 },
  { ip: '10.1.0.100', port: 7000 },
  { ip: '10.1.0.101', port: 6000 },
  { ip: 'fd00:1::100', port: 6000 },
  { ip: 'fd00:1::101', port: 7000 },
];
const LIPS = [
  { ip: '10.2.0.200', first: 1024, last: 5000 },
  { ip: 'fd00:2::200', first: 1024, last: 5000 },
];

interface Packet {
  ethertype?: number;
  protocol?: number;
  dst?: string;
  dport?: number;
  fragmentOff?: number;
  moreFragments?: boolean;
  /** Bytes of IP options. */
  optionsLen?: number;
  icmpType?: number;
}

function frame(p: Packet): Buffer {
  const headerLen = 20 + (p.optionsLen ?? 0);
  const bytes = Buffer.alloc(14 + headerLen + 8);
  bytes.writeUInt16BE(p.ethertype ?? 0x0800, 12);
  const ip = bytes.subarray(14);
  ip[0] = 0x40 | (headerLen / 4);
  ip.writeUInt16BE(headerLen + 8, 2);
  ip.writeUInt16BE((p.moreFragments ? 0x2000 : 0) | ((p.fragmentOff ?? 0) / 8), 6);
  ip[8] = 64;
  ip[9] = p.protocol ?? 17;
  ip.set([192, 0, 2, 1], 12);
  ip.set((p.dst ?? '10.1.0.100').split('.').map(Number), 16);
  ip.fill(1, 20, headerLen);
  ip.writeUInt16BE(p.icmpType === undefined ? 40000 : p.icmpType << 8, headerLen);
  ip.writeUInt16BE(p.dport ?? 6000, headerLen + 2);
  ip.writeUInt16BE(8, headerLen + 4);
  return bytes;
}

interface Packet6 {
  /** The first next header. */
  next?: number;
  dst?: string;
  dport?: number;
  icmpType?: number;
}

/**
 * Extension headers are 8 bytes of zeros before the ports, as if UDP followed: the filter must not look
 * there.
 */
function frame6(p: Packet6): Buffer {
  const next = p.next ?? 17;
  const bytes = Buffer.alloc(14 + 40 + 16);
  bytes.writeUInt16BE(0x86dd, 12);
  const ip = bytes.subarray(14);
  ip[0] = 0x60;
  ip.writeUInt16BE(16, 4);
  ip[6] = next;
  ip[7] = 64;
  ip.set(address6('2001:db8::1'), 8);
  ip.set(address6(p.dst ?? 'fd00:1::100'), 24);
  if (next === 17) {
    ip.writeUInt16BE(40000, 40);
    ip.writeUInt16BE(p.dport ?? 6000, 42);
  }
  if (p.icmpType !== undefined) ip[40] = p.icmpType;
  return bytes;
}

/** `a:b::c` with any number of groups on both sides. */
function address6(text: string): Buffer {
  const [head = '', tail = ''] = text.split('::');
  const groups = (part: string) => part.split(':').map((group) => group.padStart(4, '0'));
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0000');
  return Buffer.from([...before, ...zeros, ...after].join(''), 'hex');
}

/** How many of the frames a filter lets pass. */
function passing(filter: string, frames: readonly Buffer[]): number {
  const header = Buffer.alloc(24); // pcap-savefile(5)
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65535, 16);
  header.writeUInt32LE(1, 20);
  const records = frames.flatMap((bytes) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(bytes.length, 8);
    record.writeUInt32LE(bytes.length, 12);
    return [record, bytes];
  });
  const out = execFileSync('tcpdump', ['-r', '-', '-n', '-t', '-q', filter], {
    input: Buffer.concat([header, ...records]),
    stdio: ['pipe', 'pipe', 'ignore'],
    encoding: 'utf8',
  });
  return out.split('\n').filter((line) => line !== '').length;
}

const ROWS: [name: string, packet: Packet, passes: boolean][] = [
  ['UDP to VIP:vport', {}, true],
  ['UDP to the second vport of a VIP', { dport: 7000 }, true],
  ['UDP to another port of a VIP', { dport: 6001 }, false],
  ['UDP to a vport of another VIP', { dst: '10.1.0.101', dport: 7000 }, false],
  ['UDP to the first lport', { dst: '10.2.0.200', dport: 1024 }, true],
  ['UDP to the last lport', { dst: '10.2.0.200', dport: 5000 }, true],
  ['UDP below the lports', { dst: '10.2.0.200', dport: 1023 }, false],
  ['UDP above the lports', { dst: '10.2.0.200', dport: 5001 }, false],
  ['UDP to a LIP on a vport', { dst: '10.2.0.200', dport: 6000 }, false],
  ['UDP to another host', { dst: '10.9.9.9' }, false],
  ['UDP behind IP options', { optionsLen: 40 }, true],
  ['TCP to VIP:vport', { protocol: 6 }, false],
  ['protocol 248 to a VIP', { protocol: 248, dport: 1 }, true],
  ['protocol 248 to a LIP', { protocol: 248, dport: 1, dst: '10.2.0.200' }, true],
  ['protocol 248 to another host', { protocol: 248, dst: '10.9.9.9' }, false],
  ['a first fragment to VIP:vport', { moreFragments: true }, true],
  ['a first fragment to another port', { moreFragments: true, dport: 53 }, true],
  ['a first fragment to another host', { moreFragments: true, dst: '10.9.9.9' }, false],
  ['a first fragment of TCP', { moreFragments: true, protocol: 6 }, false],
  ['a later fragment to a VIP', { fragmentOff: 1480, dport: 1 }, true],
  ['a later fragment to a LIP', { fragmentOff: 1480, dport: 1, dst: '10.2.0.200' }, true],
  ['a later fragment of TCP', { fragmentOff: 1480, protocol: 6 }, false],
  ['a later fragment of protocol 248', { fragmentOff: 1480, protocol: 248 }, true],
  ['a later fragment to another host', { fragmentOff: 1480, dst: '10.9.9.9' }, false],
  ['ICMP unreachable to a VIP', { protocol: 1, icmpType: 3 }, true],
  ['ICMP time exceeded to a LIP', { protocol: 1, icmpType: 11, dst: '10.2.0.200' }, true],
  ['ICMP parameter problem to a LIP', { protocol: 1, icmpType: 12, dst: '10.2.0.200' }, true],
  ['ICMP echo to a VIP', { protocol: 1, icmpType: 8 }, false],
  ['ICMP unreachable to another host', { protocol: 1, icmpType: 3, dst: '10.9.9.9' }, false],
  ['another link protocol', { ethertype: 0x88cc }, false],
];

const ROWS6: [name: string, packet: Packet6, passes: boolean][] = [
  ['UDP to VIP:vport', {}, true],
  ['UDP to another port of a VIP', { dport: 7000 }, false],
  ['UDP to a vport of another VIP', { dst: 'fd00:1::101' }, false],
  ['UDP to the first lport', { dst: 'fd00:2::200', dport: 1024 }, true],
  ['UDP to the last lport', { dst: 'fd00:2::200', dport: 5000 }, true],
  ['UDP below the lports', { dst: 'fd00:2::200', dport: 1023 }, false],
  ['UDP above the lports', { dst: 'fd00:2::200', dport: 5001 }, false],
  ['UDP to another host', { dst: 'fd00:9::9' }, false],
  ['TCP to a VIP', { next: 6 }, false],
  ['protocol 248 to a VIP', { next: 248 }, true],
  ['protocol 248 to a LIP', { next: 248, dst: 'fd00:2::200' }, true],
  ['protocol 248 to another host', { next: 248, dst: 'fd00:9::9' }, false],
  ['a fragment to a VIP', { next: 44 }, true],
  ['a fragment to another host', { next: 44, dst: 'fd00:9::9' }, false],
  ['hop-by-hop options to a LIP', { next: 0, dst: 'fd00:2::200' }, true],
  ['destination options to a LIP', { next: 60, dst: 'fd00:2::200' }, true],
  ['a routing header to a VIP', { next: 43 }, true],
  ['IPsec to a VIP', { next: 50 }, false],
  ['ICMPv6 unreachable to a LIP', { next: 58, icmpType: 1, dst: 'fd00:2::200' }, true],
  ['ICMPv6 packet too big to a VIP', { next: 58, icmpType: 2 }, true],
  ['ICMPv6 time exceeded to a VIP', { next: 58, icmpType: 3 }, true],
  ['ICMPv6 parameter problem to a LIP', { next: 58, icmpType: 4, dst: 'fd00:2::200' }, true],
  ['an ICMPv6 echo to a VIP', { next: 58, icmpType: 128 }, false],
  ['a neighbor solicitation to a VIP', { next: 58, icmpType: 135 }, false],
  ['ICMPv6 unreachable to another host', { next: 58, icmpType: 1, dst: 'fd00:9::9' }, false],
];

for (const [name, packet, passes] of ROWS) {
  test(`${name} ${passes ? 'passes' : 'is kept out'}`, () => {
    assert.equal(passing(captureFilter(VIPS, LIPS), [frame(packet)]), passes ? 1 : 0);
  });
}

for (const [name, packet, passes] of ROWS6) {
  test(`over IPv6, ${name} ${passes ? 'passes' : 'is kept out'}`, () => {
    assert.equal(passing(captureFilter(VIPS, LIPS), [frame6(packet)]), passes ? 1 : 0);
  });
}

test('with addresses of one family, packets of the other are kept out', () => {
  const of = <T extends { ip: string }>(list: T[], isWanted: (ip: string) => boolean) =>
    list.filter(({ ip }) => isWanted(ip));
  for (const isIpv6 of [false, true]) {
    const isWanted = (ip: string) => ip.includes(':') === isIpv6;
    const filter = captureFilter(of(VIPS, isWanted), of(LIPS, isWanted));
    assert.equal(passing(filter, [frame({})]), isIpv6 ? 0 : 1);
    assert.equal(passing(filter, [frame6({})]), isIpv6 ? 1 : 0);
  }
});

const LONGEST = (index: number) =>
  `fd00:1111:2222:3333:4444:5555:${(0x6000 + index).toString(16)}:${(0x7000 + index).toString(16)}`;
const LIMITS: [name: string, count: number, ip: (index: number) => string][] = [
  ['IPv4', 390, (index) => `10.3.${index >> 8}.${index & 255}`],
  ['IPv6', 600, LONGEST],
];
for (const [family, count, ip] of LIMITS) {
  test(`the kernel accepts the filter of ${count} ${family} VIPs with a vport each of their own`, () => {
    const vips = Array.from({ length: count }, (_, index) => ({ ip: ip(index), port: 6000 + index }));
    assert.ok(instructions(captureFilter(vips, [])) <= 4096);
  });
}

function instructions(filter: string): number {
  const program = execFileSync('tcpdump', ['-y', 'EN10MB', '-ddd', filter], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return Number(program.split('\n')[0]);
}

test('ports of one address are merged where they overlap or touch', () => {
  assert.deepEqual(
    mergePorts(
      [
        { ip: '10.0.0.1', port: 7 },
        { ip: '10.0.0.2', port: 5 },
        { ip: '10.0.0.1', port: 7 },
        { ip: '10.0.0.1', port: 8 },
      ],
      [
        { ip: '10.0.0.1', first: 100, last: 200 },
        { ip: '10.0.0.1', first: 150, last: 160 },
        { ip: '10.0.0.1', first: 201, last: 300 },
      ],
    ),
    [
      {
        ip: '10.0.0.1',
        ranges: [
          { first: 7, last: 8 },
          { first: 100, last: 300 },
        ],
      },
      { ip: '10.0.0.2', ranges: [{ first: 5, last: 5 }] },
    ],
  );
});
