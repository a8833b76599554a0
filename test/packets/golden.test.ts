// The builders and the dissector against packets that real receivers accepted, and those against tshark: the
// tests' own measure is measured first.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { GOLDEN, type Golden } from '../vectors/golden.ts';
import { concat, hex, pattern, u16, u32 } from './bytes.ts';
import { dissect } from './dissect.ts';
import { FORMS, udp, uoaOf } from './uoa-builder.ts';

const LAN = {
  4: { src: '10.2.0.200', dst: '10.2.0.10' },
  6: { src: 'fd00:2::200', dst: 'fd00:2::10' },
};

function rebuild({ form, realServerFamily, carriage, client, virtual, lport }: Golden): Uint8Array {
  const named = {
    cip: client.ip,
    cport: client.port,
    vip: virtual?.ip ?? '10.1.0.100',
    vport: virtual?.port ?? 0,
  };
  const payload = carriage === 'carrier' ? new Uint8Array(0) : pattern(32);
  const tuple = { ...LAN[realServerFamily], sport: lport, dport: 6000, payload };
  return udp(tuple, uoaOf(form, realServerFamily, named));
}

/** The option that names the client, wherever it stands. */
function option(golden: Golden): string {
  const seen = dissect(golden.bytes);
  return seen.opp?.option ?? seen.destOptions[0] ?? seen.options;
}

describe('golden packets', () => {
  test('there is one for each form, each carriage that it exists for, either client, with and without payload', () => {
    const names = GOLDEN.map((golden) =>
      [golden.form, golden.clientFamily, golden.realServerFamily, golden.carriage].join(' '),
    );
    const wanted = FORMS.flatMap((form) =>
      [4, 6].flatMap((client) =>
        [4, 6]
          // elb over IPv4 is ipo
          .filter((server) => !(form === 'ipo' && server === 6) && !(form === 'elb' && server === 4))
          .flatMap((server) =>
            ['inserted', 'carrier'].map((carriage) => `${form} ${client} ${server} ${carriage}`),
          ),
      ),
    );
    assert.deepEqual([...names].sort(), [...wanted].sort());
  });

  for (const golden of GOLDEN) {
    test(`the builder makes "${golden.name}" byte for byte`, () => {
      assert.equal(hex(rebuild(golden)), hex(golden.bytes));
    });

    test(`the dissector takes "${golden.name}" apart`, () => {
      const seen = dissect(golden.bytes);
      const { form, realServerFamily: family } = golden;
      const carrier = golden.carriage === 'carrier';
      const inHeader = form === 'opp';
      const { opp, options, extensions, destOptions, udpChecksum, ...rest } = seen;
      assert.deepEqual(rest, {
        family,
        ...LAN[family],
        tos: 0,
        ttl: 64,
        flowLabel: 0,
        id: family === 4 ? 0x1234 : -1,
        df: family === 6,
        ipChecksumOk: true,
        proto: inHeader ? 248 : 17,
        sport: golden.lport,
        dport: 6000,
        udpLength: carrier ? 8 : 40,
        udpChecksumOk: true,
        payload: carrier ? '' : hex(pattern(32)),
        surplus: '',
        data: '',
      });
      assert.deepEqual(
        { opp: opp !== undefined, options: options !== '', extensions: extensions.length, udpChecksum },
        {
          opp: inHeader,
          options: !inHeader && family === 4,
          extensions: !inHeader && family === 6 ? 1 : 0,
          udpChecksum,
        },
      );
      assert.equal(destOptions.length, extensions.length);
      assert.ok(
        option(golden).startsWith(form === 'type30' ? '1e' : form === 'type29' ? '1d' : '1f'),
        option(golden),
      );
    });
  }
});

/** A pcap file of packets without link header (LINKTYPE_RAW). */
function pcap(packets: readonly Uint8Array[]): Uint8Array {
  const head = concat(u32(0xa1b2c3d4), u16(2), u16(4), u32(0), u32(0), u32(65535), u32(101));
  return concat(
    head,
    ...packets.map((packet) => concat(u32(0), u32(0), u32(packet.length), u32(packet.length), packet)),
  );
}

const FIELDS = [
  'ip.src',
  'ip.dst',
  'ip.proto',
  'ip.checksum.status',
  'ipv6.src',
  'ipv6.dst',
  'ipv6.nxt',
  'udp.srcport',
  'udp.dstport',
  'udp.checksum.status',
];

/** One object of field values per packet; fields that tshark does not see are ''. */
function tshark(packets: readonly Uint8Array[]): Record<string, string>[] {
  const folder = mkdtempSync(join(tmpdir(), 'golden-'));
  try {
    const file = join(folder, 'packets.pcap');
    writeFileSync(file, pcap(packets));
    const checked = ['-o', 'ip.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE'];
    const fields = ['-T', 'fields', ...FIELDS.flatMap((field) => ['-e', field])];
    const lines = execFileSync('tshark', ['-n', '-r', file, ...checked, ...fields], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return lines
      .replace(/\n$/, '')
      .split('\n')
      .map((line) => Object.fromEntries(line.split('\t').map((value, index) => [FIELDS[index], value])));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('tshark', () => {
  test('agrees with every golden packet on addresses, protocol, ports and checksums', () => {
    const seen = tshark(GOLDEN.map(({ bytes }) => bytes));
    assert.deepEqual(
      GOLDEN.map(({ name }, index) => ({ name, ...seen[index] })),
      GOLDEN.map(({ name, form, realServerFamily: family, lport }) => ({
        name,
        'ip.src': family === 4 ? LAN[4].src : '',
        'ip.dst': family === 4 ? LAN[4].dst : '',
        'ip.proto': family === 4 ? (form === 'opp' ? '248' : '17') : '',
        'ip.checksum.status': family === 4 ? '1' : '',
        'ipv6.src': family === 6 ? LAN[6].src : '',
        'ipv6.dst': family === 6 ? LAN[6].dst : '',
        'ipv6.nxt': family === 6 ? (form === 'opp' ? '248' : '60') : '',
        // protocol 248 hides the datagram from it
        'udp.srcport': form === 'opp' ? '' : `${lport}`,
        'udp.dstport': form === 'opp' ? '' : '6000',
        'udp.checksum.status': form === 'opp' ? '' : '1',
      })),
    );
  });

  test('sees what the builder spoils', () => {
    const fields = { ...LAN[4], sport: 1, dport: 2, payload: pattern(5), checksum: 'bad' as const };
    const statuses = tshark([udp(fields), udp({ ...fields, ...LAN[6] })]).map(
      (seen) => seen['udp.checksum.status'],
    );
    assert.deepEqual(statuses, ['0', '0']);
  });
});
