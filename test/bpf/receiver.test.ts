// What the receiver's ingress program learns from packets, as its head comment says (src/bpf/receiver.bpf.c):
// by BPF_PROG_TEST_RUN, where the socket is bound to any address. What sockets see is in test/e2e.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { forgetUnused, knownClients, trust, trustedPrefixes } from '../../src/receiver/clients.ts';
import { loadPrograms } from '../../src/receiver/hooks.ts';
import {
  addressAt,
  nowTick,
  PREFIXES_MAX,
  RING_BYTES,
  TOLD,
  TUPLE_LEN,
  WAY,
  WAY_LEN,
} from '../../src/receiver/layout.ts';
import { openMaps, readCounters } from '../../src/receiver/maps.ts';
import { entriesOfMap, keysOfMap, testRun, updateMap } from '../../src/sys/libbpf.ts';
import { dup } from '../../src/sys/libc.ts';
import { openRingBuffer } from '../../src/sys/ring-buffer.ts';
import { destOptions, hopByHop, option6, padding6, routing } from '../packets/builder6.ts';
import { concat, type Family, hex, unhex } from '../packets/bytes.ts';
import {
  addressOption,
  type EitherFields,
  type Uoa,
  udp,
  unifiedOption,
  uoaOf,
} from '../packets/uoa-builder.ts';
import { GOLDEN } from '../vectors/golden.ts';

const PASS = 1;
const SWALLOWED = 0;
const IDLE_TICKS = 100;
const LIPS = ['10.2.0.0/24', 'fd00:2::/64'];

function open(t: TestContext, { maxClients = 100, from = LIPS } = {}) {
  const maps = openMaps(undefined, maxClients);
  t.after(() => maps.close());
  trust(maps.fds, from);
  const programs = loadPrograms(maps);
  t.after(() => programs.close());
  const ring = openRingBuffer(dup(maps.ring), RING_BYTES);
  t.after(() => ring.close());
  const program = programs.programFd('receiver_ingress');
  return {
    run: (packet: Uint8Array): number => {
      const type = (packet[0] ?? 0) >> 4 === 6 ? '86dd' : '0800';
      return testRun(program, { data: concat(unhex(`000000000000 000000000000 ${type}`), packet) }).result;
    },
    clients: () =>
      [...knownClients(maps.fds, nowTick())]
        .flat()
        .map(({ client, lip, rs, vip, isSeen }) => ({ client, lip, rs, vip, isSeen })),
    /** Those that are not 0. */
    counted: () =>
      Object.fromEntries(Object.entries(readCounters(maps.fds)).filter(([, count]) => count > 0)),
    /** Options that are to be echoed. */
    told: () => {
      const options: string[] = [];
      ring.read(1000, (told) => {
        const at = told.byteOffset + TOLD.option;
        options.push(hex(new Uint8Array(told.buffer.slice(at, at + told.getUint32(TOLD.optionLen, true)))));
      });
      return options;
    },
    /** Those that were not used, as seen so many ticks from now. */
    forget: (ticks: number) => {
      const steps = [...forgetUnused(maps.fds, nowTick() + ticks, IDLE_TICKS)];
      return steps.reduce((sum, forgotten) => sum + forgotten, 0);
    },
    /** How many clients can be answered. */
    ways: () => keysOfMap(maps.fds.by_client, TUPLE_LEN).length,
    /** The addresses that answers leave from. */
    answersFrom: () =>
      [...entriesOfMap(maps.fds.by_client, { keyLen: TUPLE_LEN, valueLen: WAY_LEN })].flatMap(
        ({ values, count }) =>
          Array.from({ length: count }, (_, index) => addressAt(values, index * WAY_LEN + WAY.rip)),
      ),
    /** Takes room for a way. */
    takeWay: () => updateMap(maps.fds.by_client, new Uint8Array(TUPLE_LEN), new Uint8Array(WAY_LEN)),
    trust: (prefixes: readonly string[]) => trust(maps.fds, prefixes),
    trusted: () => trustedPrefixes(maps.fds),
  };
}

const ENDS: Record<Family, EitherFields> = {
  4: { src: '10.2.0.200', dst: '10.2.0.11', sport: 5000, dport: 6000, payload: unhex('01 02 03') },
  6: { src: 'fd00:2::200', dst: 'fd00:2::11', sport: 5000, dport: 6000, payload: unhex('01 02 03') },
};
const NAMED = { cip: '198.51.100.7', cport: 40000, vip: '203.0.113.9', vport: 53 };

const text = ({ ip, port }: { ip: string; port: number }) =>
  ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;

describe('packets that real receivers accept', () => {
  for (const golden of GOLDEN) {
    const { name, form, carriage, client, virtual, lport, realServerFamily, clientFamily, bytes } = golden;
    test(name, (t) => {
      const receiver = open(t);
      const isRead = form !== 'opp' && form !== 'type29';
      const result = receiver.run(bytes);
      assert.equal(result, isRead && carriage === 'carrier' ? SWALLOWED : PASS);
      const [lip, rip] = realServerFamily === 4 ? ['10.2.0.200', '10.2.0.10'] : ['fd00:2::200', 'fd00:2::10'];
      const learned = {
        client: text(client),
        lip: text({ ip: lip, port: lport }),
        rs: text({ ip: rip, port: 6000 }),
        vip: virtual === undefined ? '' : text(virtual),
        isSeen: clientFamily === realServerFamily,
      };
      assert.deepEqual(receiver.clients(), isRead ? [learned] : []);
      assert.equal(receiver.told().length, isRead ? 1 : 0);
    });
  }
});

describe('a UOA', () => {
  test('is echoed as it came, once', (t) => {
    const receiver = open(t);
    const option = unifiedOption(NAMED);
    receiver.run(udp(ENDS[4], { options: option }));
    receiver.run(udp(ENDS[4]));
    assert.deepEqual(receiver.told(), [hex(option)]);
    assert.deepEqual(receiver.counted(), { learned: 1 });
  });

  test('that says what is known is acknowledged again; one of another client replaces it', (t) => {
    const receiver = open(t);
    const of = (cport: number) => udp(ENDS[4], { options: addressOption(NAMED.cip, cport) });
    for (const cport of [1, 1, 2]) receiver.run(of(cport));
    assert.equal(receiver.told().length, 3);
    assert.deepEqual(receiver.counted(), { learned: 2, toldAgain: 1 });
    assert.deepEqual(
      receiver.clients().map(({ client }) => client),
      ['198.51.100.7:2'],
    );
  });

  test('of a source that is not trusted changes nothing, and its carrier passes', (t) => {
    const receiver = open(t, { from: ['10.2.0.201/32', 'fd00:2::201/128'] });
    for (const family of [4, 6] as const) {
      const uoa = uoaOf(family === 4 ? 'ipo' : 'elb', family, NAMED);
      assert.equal(receiver.run(udp({ ...ENDS[family], payload: new Uint8Array(0) }, uoa)), PASS);
    }
    assert.deepEqual([receiver.clients(), receiver.told()], [[], []]);
    assert.deepEqual(receiver.counted(), { ignored: 2 });
    receiver.trust(['10.2.0.200/32']);
    assert.deepEqual(receiver.trusted(), ['10.2.0.200/32']);
    receiver.run(udp(ENDS[4], uoaOf('ipo', 4, NAMED)));
    assert.equal(receiver.clients().length, 1);
  });

  test('that there is no room for is counted, not acknowledged, and those known stay', (t) => {
    const receiver = open(t, { maxClients: 1 });
    for (const sport of [5000, 5001, 5000])
      receiver.run(udp({ ...ENDS[4], sport }, { options: addressOption(NAMED.cip, sport) }));
    assert.deepEqual(receiver.counted(), { learned: 1, toldAgain: 1, full: 1 });
    assert.equal(receiver.told().length, 2);
    assert.equal(receiver.clients()[0]?.client, '198.51.100.7:5000');
  });

  test('is acknowledged a few times in a second, by whomever it is sent: an ACK may be answered by an ACK', (t) => {
    const receiver = open(t);
    for (let round = 0; round < 100; round++)
      for (const cport of [1, 2]) receiver.run(udp(ENDS[4], { options: addressOption(NAMED.cip, cport) }));
    // A tick may pass meanwhile.
    const asked = receiver.told().length;
    assert.ok(asked >= 4 && asked < 100, `${asked}`);
    assert.equal(receiver.counted().notAgain, 200 - asked);
  });

  test("that there is no room for on another client's LIP:lport ends that client", (t) => {
    const receiver = open(t, { maxClients: 1 });
    const of = (cip: string) => udp(ENDS[4], { options: addressOption(cip, 1) });
    receiver.run(of('198.51.100.7'));
    receiver.run(of('198.51.100.8'));
    const seen = () => receiver.clients().map(({ client }) => client);
    assert.deepEqual([seen(), receiver.ways()], [['198.51.100.8:1'], 1]);
    receiver.run(of('2001:db8::7')); // it needs no way
    assert.deepEqual([seen(), receiver.ways()], [['[2001:db8::7]:1'], 0]);
    receiver.takeWay();
    receiver.run(of('198.51.100.8'));
    assert.deepEqual([seen(), receiver.ways(), receiver.counted().full], [[], 1, 1]);
  });

  test('that there is no room for leaves no way to its client', (t) => {
    const receiver = open(t, { maxClients: 2 });
    for (const [sport, cport] of [
      [5000, 1],
      [5001, 1],
      [5002, 2],
    ] as const)
      receiver.run(udp({ ...ENDS[4], sport }, { options: addressOption(NAMED.cip, cport) }));
    assert.deepEqual([receiver.counted().full, receiver.ways()], [1, 1]);
  });

  test('by another address of the server moves its answers there', (t) => {
    const receiver = open(t);
    for (const dst of ['10.2.0.11', '10.2.0.12'])
      receiver.run(udp({ ...ENDS[4], dst }, { options: addressOption(NAMED.cip, 1) }));
    assert.deepEqual(receiver.answersFrom(), ['10.2.0.12']);
  });

  test('may stand behind other options and extension headers', (t) => {
    const elb = { cip: '2001:db8::7', cport: 40000 };
    const inOptions = concat(option6(1, unhex('00 00')), option6(0x3e, unhex('01')), elbOption(elb));
    const uoas: [Family, Uoa][] = [
      [4, { options: concat(unhex('01 94 04 00 00'), addressOption(NAMED.cip, 1)) }],
      [6, { extensions: [hopByHop(padding6(6)), routing({}), destOptions(elbOption(elb))] }],
      [6, { extensions: [destOptions(inOptions)] }],
    ];
    for (const [family, uoa] of uoas) {
      const receiver = open(t);
      assert.equal(receiver.run(udp(ENDS[family], uoa)), PASS);
      assert.equal(receiver.clients().length, 1, JSON.stringify(uoa));
    }
  });
});

const elbOption = ({ cip, cport }: { cip: string; cport: number }) => {
  const option = addressOption(cip, cport);
  return concat(Uint8Array.of(31, option.length - 2), option.subarray(2));
};

test('as many sources as can be trusted are changed to as many others', (t) => {
  const receiver = open(t);
  const sources = (second: number) =>
    Array.from({ length: PREFIXES_MAX }, (_, index) => `10.${second}.${index >> 8}.${index & 255}/32`);
  for (const second of [1, 2]) receiver.trust(sources(second));
  assert.deepEqual(receiver.trusted(), sources(2).sort());
});

test("a LIP:lport that is another client's now leads to that one only", (t) => {
  const receiver = open(t);
  for (const cport of [1, 2]) receiver.run(udp(ENDS[4], { options: addressOption(NAMED.cip, cport) }));
  assert.deepEqual([receiver.clients().length, receiver.ways()], [1, 1]);
});

describe('a client that is not used', () => {
  const of = (sport: number, cport: number) =>
    udp({ ...ENDS[4], sport }, { options: addressOption(NAMED.cip, cport) });

  test('is forgotten, in both directions', (t) => {
    const receiver = open(t);
    for (const port of [1, 2, 3]) receiver.run(of(port, port));
    assert.deepEqual([receiver.forget(0), receiver.clients().length, receiver.ways()], [0, 3, 3]);
    assert.deepEqual([receiver.forget(IDLE_TICKS + 2), receiver.clients(), receiver.ways()], [3, [], 0]);
  });

  test("leaves nothing behind where it moved to another LIP:lport, or its LIP:lport is another client's", (t) => {
    const receiver = open(t);
    receiver.run(of(1, 1));
    receiver.run(of(2, 1));
    receiver.run(of(1, 3));
    assert.deepEqual([receiver.clients().length, receiver.ways()], [2, 2]);
    assert.deepEqual([receiver.forget(IDLE_TICKS + 2), receiver.ways()], [2, 0]);
  });
});

describe('no UOA', () => {
  const plain = addressOption(NAMED.cip, NAMED.cport);
  const longer = addressOption('2001:db8::7', 40000);
  const rows: [name: string, family: Family, uoa: Uoa][] = [
    ['behind End-of-Options', 4, { options: concat(unhex('00'), plain) }],
    ['with a length of its own', 4, { options: unhex('1f 0c 0001 c6336407 00000000') }],
    ['of length 0', 4, { options: unhex('1f 00 0001 c6336407') }],
    ['of client port 0', 4, { options: addressOption(NAMED.cip, 0) }],
    ['of client 0.0.0.0', 4, { options: addressOption('0.0.0.0', 1) }],
    ['of a multicast client', 4, { options: addressOption('224.0.0.1', 1) }],
    ['of client ::', 4, { options: addressOption('::', 1) }],
    ['of client ::ffff:102:304', 4, { options: addressOption('::ffff:102:304', 1) }],
    ['of client ff02::1', 6, { extensions: [destOptions(elbOption({ cip: 'ff02::1', cport: 1 }))] }],
    [
      'whose operation is of the other family',
      4,
      { options: unhex('1f10 0100 0001 0002 c6336407 c6336408') },
    ],
    ['of type 30 in the form of ipo', 4, { options: concat(unhex('1e'), plain.subarray(1)) }],
    ['of the copied bit', 4, { options: concat(unhex('9f'), plain.subarray(1)) }],
    ['in hop-by-hop options', 6, { extensions: [hopByHop(elbOption({ cip: '2001:db8::7', cport: 1 }))] }],
    [
      'that goes on behind its header',
      6,
      { extensions: [destOptions(concat(Uint8Array.of(31, 18), longer.subarray(2)).subarray(0, 14))] },
    ],
  ];
  for (const [name, family, uoa] of rows)
    test(`${name}: it passes as it came`, (t) => {
      const receiver = open(t);
      for (const payload of [unhex('01'), new Uint8Array(0)])
        assert.equal(receiver.run(udp({ ...ENDS[family], payload }, uoa)), PASS);
      assert.deepEqual([receiver.clients(), receiver.told()], [[], []]);
    });
});

test('the programs load with CAP_BPF and CAP_NET_ADMIN', () => {
  const program = fileURLToPath(new URL('./receiver-program.ts', import.meta.url));
  const rights = '+net_admin,+bpf';
  const { stdout, stderr } = spawnSync(
    'setpriv',
    [
      ...['--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', '--inh-caps', rights],
      ...['--ambient-caps', rights, process.execPath, '--import', import.meta.resolve('tsx'), program],
    ],
    { encoding: 'utf8' },
  );
  assert.equal(stdout, 'loaded\n', stderr);
});
