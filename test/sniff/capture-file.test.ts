// Capture files of every format, byte order and link type, whole, cut short and damaged.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { CaptureError } from '../../src/sniff/capture-error.ts';
import { readCapture } from '../../src/sniff/capture-file.ts';
import { Observer } from '../../src/sniff/sighting.ts';
import { jsonLine } from '../../src/sniff/sighting-line.ts';
import { PROGRAM, uoaProxy } from '../cli/program.ts';
import { concat } from '../packets/bytes.ts';
import { GOLDEN } from '../vectors/golden.ts';
import { ETHERNET, ethernet, framed, pcap, pcapng, START_US, save, type Written } from './capture-writer.ts';
import { dissected, parseLines, sniffed } from './sniffed.ts';

/** One over each family. */
const PACKETS = [4, 6].map(
  (family) => GOLDEN.find((golden) => golden.form === 'opp' && golden.realServerFamily === family)!.bytes,
);
const TIMES = PACKETS.map((_, index) => {
  const us = START_US + index * 1_000_001;
  return `${new Date(us / 1000).toISOString().slice(0, 19)}.${String(us % 1e6).padStart(6, '0')}Z`;
});

describe('a capture file', () => {
  const formats: [name: string, write: typeof pcap, device: string | null, how: Written][] = [];
  for (const isLittle of [true, false]) {
    for (const isNano of [true, false]) {
      const name = `with ${isNano ? 'nanoseconds' : 'microseconds'}, ${isLittle ? 'little' : 'big'} endian`;
      formats.push([`pcap ${name}`, pcap, null, { isLittle, isNano }]);
      formats.push([`pcapng ${name}`, pcapng, 'eth7', { isLittle, isNano }]);
    }
  }
  for (const [name, write, device, how] of formats) {
    test(`of format ${name} is read, with the times`, () => {
      const path = save(write(PACKETS, how));
      const { code, lines } = sniffed(path);
      assert.equal(code, 0);
      assert.deepEqual(
        lines.map((line) => [line.time, line.interface, line.client]),
        [
          [TIMES[0], device, '10.1.0.2'],
          [TIMES[1], device, 'fd00:1::2'],
        ],
      );
      assert.equal(dissected(path, ['uoa.client']).length, 2, 'tshark takes it for a capture file too');
    });
  }

  for (const linkType of [0, ETHERNET, 101, 108, 113, 276]) {
    test(`of link type ${linkType} is read`, () => {
      const path = save(
        pcap(
          PACKETS.map((packet) => framed(linkType, packet)),
          { linkType },
        ),
      );
      assert.deepEqual(
        sniffed(path).lines.map(({ client }) => [client]),
        dissected(path, ['uoa.client']),
      );
    });
  }

  test('may have VLAN tags, and packets that are no IP', () => {
    const [first, second] = PACKETS;
    const arp = concat(new Uint8Array(12), Uint8Array.of(0x08, 0x06), new Uint8Array(28));
    const frames = [ethernet(first, 0x8100), arp, ethernet(second, 0x88a8, 0x8100), new Uint8Array(5)];
    const { lines, stderr } = sniffed(save(pcap(frames, { linkType: ETHERNET })));
    assert.deepEqual(
      lines.map(({ client }) => client),
      ['10.1.0.2', 'fd00:1::2'],
    );
    assert.match(stderr, /^4 packets seen, 2 with UOA$/m);
  });

  test('comes from standard input, too', () => {
    const [node, ...argv] = [...PROGRAM, 'sniff', '-r', '-', '--json'];
    const { stdout } = spawnSync(node, argv, { input: pcap(PACKETS), encoding: 'utf8' });
    assert.equal(parseLines(stdout).length, 2);
  });

  test('shows as many as asked for and those that were asked for', () => {
    const path = save(pcap(GOLDEN.map(({ bytes }) => bytes)));
    const clients = (...words: string[]) => sniffed(path, ...words).lines.map(({ client }) => client);
    assert.equal(clients('--count', '3').length, 3);
    assert.deepEqual(new Set(clients('client', 'FD00:1::0:2')), new Set(['fd00:1::2']));
    assert.equal(clients('elb', 'carrier').length, 2);
    assert.equal(clients('ipo', 'elb').length, 8);
    assert.equal(clients('vip', '[fd00:1::100]:8053').length > 0, true);
    assert.deepEqual(clients('20009'), ['10.1.0.2']);
    assert.deepEqual(clients('20009', 'client', '20009'), []);
  });
});

describe('a file that ends too early', () => {
  const whole = pcap(PACKETS);
  const cuts: [name: string, bytes: Uint8Array, shown: number, message: RegExp][] = [
    ['in a packet', whole.subarray(0, -1), 1, /ends in the middle of a packet, which begins at byte 112/],
    ['in the header of a packet', whole.subarray(0, 24 + 16 + 72 + 7), 1, /begins at byte 112/],
    ['in its header', whole.subarray(0, 20), 0, /ends in its file header/],
    ['before it begins', whole.subarray(0, 0), 0, /is empty/],
    ['in a block of pcapng', pcapng(PACKETS).subarray(0, -5), 1, /ends in the middle of a packet/],
  ];
  for (const [name, bytes, shown, message] of cuts) {
    test(`${name} is shown up to there, and the exit code is 1`, () => {
      const { code, lines, stderr } = sniffed(save(bytes));
      assert.equal(code, 1);
      assert.equal(lines.length, shown);
      assert.match(stderr, message);
    });
  }
});

test('damaged files are read without an exception but the one that says so', async () => {
  const files = [pcap, pcapng].flatMap((write) => [write(PACKETS), write(PACKETS, { isLittle: false })]);
  const change = fc.record({
    at: fc.nat(400),
    value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
  });
  const arbitrary = fc.tuple(
    fc.constantFrom(...files),
    fc.array(change, { minLength: 1, maxLength: 4 }),
    fc.nat(400),
  );
  const outcomes = new Set<string>();
  for (const [file, list, length] of fc.sample(arbitrary, { numRuns: 2000, seed: 7 })) {
    const copy = file.slice(0, length > 300 ? file.length : length);
    for (const { at, value } of list) copy[at % file.length] = value;
    const observer = new Observer();
    try {
      for await (const packet of readCapture(save(copy), () => {}, new AbortController().signal)) {
        const sighting = observer.observe(packet);
        if (sighting !== undefined) JSON.parse(jsonLine(sighting));
      }
      outcomes.add('read');
    } catch (error) {
      if (!(error instanceof CaptureError)) throw error;
      outcomes.add(error.name);
    }
  }
  assert.deepEqual(outcomes, new Set(['read', 'CaptureError', 'CutShort']));
});

describe('what cannot be read', () => {
  const long = pcap(PACKETS);
  new DataView(long.buffer, long.byteOffset).setUint32(24 + 8, 0x7fffffff, true);
  const refused: [name: string, bytes: Uint8Array, message: RegExp][] = [
    [
      'a text',
      readFileSync(new URL(import.meta.url)),
      /is no capture file\nHint: readable are pcap and pcapng/,
    ],
    [
      'a link type that has no IP',
      pcap(PACKETS, { linkType: 105 }),
      /link type 105\nHint: readable are Ethernet/,
    ],
    ['a length that cannot be', long, /is damaged at byte 24: a packet of 2147483647 bytes/],
  ];
  for (const [name, bytes, message] of refused) {
    test(`${name} is refused with the reason`, () => {
      const { code, stderr } = sniffed(save(bytes));
      assert.equal(code, 1);
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^ +at /m);
    });
  }

  const words: [args: string[], message: RegExp][] = [
    [['-r', '/nonexistent/a.pcap'], /\/nonexistent\/a\.pcap cannot be read: no such file/],
    [['-i', 'nosuch0'], /there is no interface nosuch0\nHint: there are .*\blo\b/],
    [['-i', 'lo', '-r', 'a.pcap'], /-i and -r exclude each other/],
    [['--count', '0'], /--count must be an integer from 1 on/],
    [['--lip', '10.2.0.300'], /--lip must be IP addresses .*"10\.2\.0\.300"/],
    [['carier'], /filter word "carier" is not known; allowed are inserted, carrier, ack/],
    [['client'], /"client" must be followed by an address or a port/],
    [['client', '65536'], /"65536" is no port: 0 to 65535/],
  ];
  for (const [args, message] of words) {
    test(`sniff ${args.join(' ')} is refused with the reason`, () => {
      const { code, stdout, stderr } = uoaProxy('sniff', ...args);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, message);
    });
  }

  test('the help fits into 80 columns', () => {
    const { code, stdout } = uoaProxy('sniff', '--help');
    assert.equal(code, 0);
    for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
  });

  test('capturing without the privilege is refused with what is needed', {
    skip: process.getuid?.() !== 0,
  }, () => {
    const program = [...PROGRAM, 'sniff', '-i', 'lo'];
    const drop = [
      '--bounding-set',
      '-all',
      '--inh-caps',
      '-all',
      '--reuid',
      '65534',
      '--regid',
      '65534',
      '--clear-groups',
    ];
    const cwd = fileURLToPath(new URL('../../', import.meta.url));
    const { status, stderr } = spawnSync('setpriv', [...drop, ...program], {
      cwd,
      encoding: 'utf8',
    });
    assert.equal(status, 1, stderr);
    assert.match(stderr, /cannot capture on lo: socket failed: EPERM\nHint: run it as root, .*CAP_NET_RAW/);
  });
});
