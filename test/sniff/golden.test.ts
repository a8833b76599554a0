// Packets that real receivers accepted (test/vectors), as `uoa-proxy sniff` and tshark with
// docker/wireshark/uoa.lua read them from a capture file.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { uoaProxy } from '../cli/program.ts';
import { GOLDEN, type Golden } from '../vectors/golden.ts';
import { ETHERNET, framed, pcap, save } from './capture-writer.ts';
import { dissected, sniffed } from './sniffed.ts';

const DIALECTS = { ipo: 'ipo', opp: 'opp', elb: 'elb', unified: 'unified', type30: 'unified', type29: 'vni' };
const TYPES = { ipo: 31, opp: 31, elb: 31, unified: 31, type30: 30, type29: 29 };
const LAN = {
  4: { lip: '10.2.0.200', rs: '10.2.0.10' },
  6: { lip: 'fd00:2::200', rs: 'fd00:2::10' },
};

const path = save(
  pcap(
    GOLDEN.map(({ bytes }) => framed(ETHERNET, bytes)),
    { linkType: ETHERNET },
  ),
);

function expected({ form, client, virtual, lport, carriage, realServerFamily }: Golden) {
  return {
    kind: carriage,
    dialect: DIALECTS[form],
    optionType: TYPES[form],
    client: client.ip,
    clientPort: client.port,
    vip: virtual?.ip ?? null,
    vport: virtual?.port ?? null,
    ...LAN[realServerFamily],
    lport,
    rsPort: 6000,
    payloadLength: carriage === 'inserted' ? 32 : 0,
    malformed: null,
  };
}

describe('golden packets in a capture file', () => {
  test('sniff decodes each: dialect, client, virtual address, real server, and whether it is a carrier', () => {
    const { code, lines, stderr } = sniffed(path);
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`^${GOLDEN.length} packets seen, ${GOLDEN.length} with UOA$`, 'm'));
    assert.deepEqual(
      lines.map(({ time, interface: _, src, sport, dst, dport, fragment, ...rest }) => rest),
      GOLDEN.map(expected),
    );
  });

  test('tshark decodes each with the Lua script, in fields of its own', () => {
    const fields = ['dialect', 'option_type', 'client', 'client_port', 'vip', 'vport', 'empty', 'malformed'];
    const rows = dissected(path, [...fields.map((field) => `uoa.${field}`), 'udp.srcport']);
    const text = (value: unknown) => (value === null ? '' : String(value));
    assert.deepEqual(
      rows,
      GOLDEN.map((golden) => {
        const { dialect, optionType, client, clientPort, vip, vport, kind, lport } = expected(golden);
        const isEmpty = kind === 'carrier' ? '1' : '0';
        return [dialect, optionType, client, clientPort, vip, vport, isEmpty, null, lport].map(text);
      }),
    );
  });

  test('sniff and tshark agree on the client of every packet', () => {
    const rows = dissected(path, ['uoa.client', 'uoa.client_port']);
    assert.deepEqual(
      rows,
      sniffed(path).lines.map(({ client, clientPort }) => [client, String(clientPort)]),
    );
  });

  const filters: [filter: string, isSelected: (golden: Golden) => boolean][] = [
    ['uoa.client == "10.1.0.2"', ({ client }) => client.ip === '10.1.0.2'],
    ['uoa.client_ipv4 == 10.1.0.0/16', ({ clientFamily }) => clientFamily === 4],
    [
      'uoa.client_ipv6 == fd00:1::/32 and uoa.empty == 1',
      (golden) => golden.clientFamily === 6 && golden.carriage === 'carrier',
    ],
    ['uoa.dialect == "unified" and uoa.vport == 8053', ({ form }) => form === 'unified' || form === 'type30'],
    ['uoa.malformed', () => false],
  ];
  for (const [filter, isSelected] of filters) {
    test(`tshark filters by ${filter}`, () => {
      const count = GOLDEN.filter(isSelected).length;
      assert.equal(
        dissected(path, ['frame.number'], filter).filter(([number]) => number !== '').length,
        count,
      );
    });
  }
});

test('for a person a line has the whole story', () => {
  const unified = GOLDEN.filter(
    ({ form, clientFamily, realServerFamily }) => form === 'unified' && clientFamily + realServerFamily === 8,
  );
  const { stdout } = uoaProxy('sniff', '-r', save(pcap(unified.map(({ bytes }) => bytes))));
  assert.match(
    stdout,
    /^\d\d:\d\d:20\.000001 inserted +unified +10\.1\.0\.2:5000 to 10\.1\.0\.100:8053 +10\.2\.0\.200:\d+ -> 10\.2\.0\.10:6000 +32 B$/m,
  );
  for (const line of stdout.split('\n')) assert.ok(line.length <= 120, line);
});
