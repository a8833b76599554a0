// IPv6 beside its extension headers: addresses that no packet has, traffic class and flow label, checksums,
// and one service with VIPs of both families.
import assert from 'node:assert/strict';
import { pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { uoaOf } from '../packets/uoa-builder.ts';
import { FIRST } from './combination.ts';
import { anyId } from './expected.ts';
import { EMPTY, type Fields, type Pair, pair } from './pair.ts';
import { realServer, SIDE } from './rig.ts';
import { type Row, rows, type Step } from './rows.ts';
import { WALKS, type Walk } from './walks.ts';

const FROM_6 = WALKS.filter(({ from }) => from === 6);
const INBOUND_6 = FROM_6.filter(({ before }) => before.length === 0);

const each = (steps: (walk: Walk) => Step[], list: readonly Walk[] = FROM_6): Row[] =>
  list.map((walk) => ({ name: walk.name, plan: walk.plan(), steps: [...walk.before, ...steps(walk)] }));

const becomes = ({ over, before }: Walk, fields: Fields = {}) =>
  before.length === 0 ? over.atRealServer(fields) : over.atClient(fields);

const good = (walk: Walk) => walk.step(walk.packet(), { verdict: 'forward', sent: [becomes(walk)] });

/** 10.1.0.2 and the IPv4 VIP, mapped. */
const MAPPED = '::ffff:a01:2';
const MAPPED_VIP = '::ffff:a01:64';

rows('IPv4-mapped addresses', [
  ...each((walk) => [
    walk.step(walk.packet({ src: MAPPED }), { verdict: 'drop:mapped_address' }),
    good(walk),
  ]).map((row) => ({ ...row, name: `as source are dropped, ${row.name}` })),
  {
    name: 'as destination are dropped where they mean a VIP, and are else not ours',
    plan: { service: pair(4, 4).service },
    steps: [
      { wan: pair(6, 4).fromClient({ dst: MAPPED_VIP }), verdict: 'drop:mapped_address' },
      { wan: pair(6, 4).fromClient({ src: MAPPED, dst: MAPPED_VIP }), verdict: 'drop:mapped_address' },
      { wan: pair(6, 4).fromClient({ dst: '::ffff:a01:65' }), verdict: 'pass' },
      { wan: pair(4, 4).fromClient(), verdict: 'forward' },
    ],
  },
]);

const NOBODY = ['::', 'fe80::1', 'febf:ffff::1', 'ff02::1', 'ff0e::2:2', 'ff00::'];
const SOMEBODY = ['2001:db8::1', '64:ff9b::a01:2', 'fc00::1', 'fdff::1', 'fec0::1', '::a01:2', '1::', '::2'];

rows('sources', [
  ...each(
    (walk) => [
      ...[...NOBODY, '::1'].map((src) => ({
        wan: walk.packet({ src }),
        verdict: 'drop:bad_source',
        sessions: 0,
      })),
      good(walk),
    ],
    INBOUND_6,
  ).map((row) => ({ ...row, name: `that nobody has are dropped, ${row.name}` })),
  ...each(
    (walk) => [
      ...SOMEBODY.map((src, index) => ({
        wan: walk.packet({ src }),
        verdict: 'forward',
        sent: [walk.over.atRealServer({ sport: walk.over.lport + index })],
      })),
      ...SOMEBODY.map((dst, index) => ({
        lan: walk.over.fromRealServer({ dport: walk.over.lport + index }),
        verdict: 'forward',
        sent: [walk.over.atClient({ dst })],
      })),
    ],
    INBOUND_6,
  ).map((row) => ({ ...row, name: `that somebody may have are told apart, ${row.name}` })),
  ...each((walk) => {
    const { vip, vport } = walk.over.named;
    return [
      { wan: walk.packet({ src: vip, sport: vport }), verdict: 'drop:bad_source' },
      { wan: walk.packet({ src: vip, sport: 9 }), verdict: 'drop:bad_source' },
      { wan: walk.packet({ src: 'fd00:1::1', sport: 9 }), verdict: 'drop:bad_source' },
      good(walk),
    ];
  }, INBOUND_6).map((row) => ({
    ...row,
    plan: { ...row.plan, ownAddresses: ['fd00:1::1'] },
    name: `of this host are dropped, ${row.name}`,
  })),
  {
    name: 'that would make an answer loop are dropped, and others of the loopback interface are not',
    plan: {
      service: pair(6, 6).service,
      ports: [
        { side: SIDE.both, loopback: true },
        { side: SIDE.both, loopback: true },
      ],
    },
    steps: [
      { wan: pair(6, 6).fromClient({ src: 'fd00:1::100', sport: 6000 }), verdict: 'drop:bad_source' },
      { wan: pair(6, 6).fromClient({ src: 'fd00:2::200', sport: 20_005 }), verdict: 'drop:bad_source' },
      { wan: pair(6, 6).fromClient({ src: 'fd00:2::10', sport: 6000 }), verdict: 'drop:bad_source' },
      { wan: pair(6, 6).fromClient({ src: 'fe80::1' }), verdict: 'drop:bad_source' },
      { wan: pair(6, 6).fromClient({ src: '::1' }), verdict: 'forward' },
      { wan: pair(6, 6).fromClient({ src: 'fd00:2::10', sport: 6001 }), verdict: 'forward' },
    ],
  },
]);

rows(
  'traffic class is TOS; a flow label stays within IPv6',
  WALKS.map((walk): Row => {
    const came = { tos: 0xbb, flowLabel: 0xabcde };
    const left = { tos: 0xbb, ...(walk.from === 6 && { flowLabel: 0xabcde }) };
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...walk.before,
        walk.step(walk.packet(came), { verdict: 'forward', sent: [becomes(walk, left)] }),
        walk.step(walk.packet({ tos: 0xff, flowLabel: 0xfffff }), {
          verdict: 'forward',
          sent: [becomes(walk, { tos: 0xff, ...(walk.from === 6 && { flowLabel: 0xfffff }) })],
        }),
      ],
    };
  }),
);

rows(
  'what comes to IPv4 from IPv6 may be cut on its way where IPv6 would not have to, up to 1,280 bytes',
  each((walk) =>
    [1232, 1233].map((length) => {
      const fields = { payload: pattern(length), df: length > 1232 };
      return walk.step(walk.packet(fields), { verdict: 'forward', sent: [becomes(walk, fields)] });
    }),
  ).filter((_, index) => FROM_6[index].to === 4),
);

rows(
  'a carrier has the traffic class of its packet and no flow label',
  [pair(6, 6)].map((over): Row => {
    const large = { payload: pattern(1452), flowLabel: 0xabcde, tos: 0xb8 };
    return {
      name: over.name,
      plan: { service: { ...over.service, dialect: 'elb' } },
      steps: [
        {
          wan: over.fromClient(large),
          verdict: 'forward',
          sent: [over.carrier('elb', { tos: 0xb8 }), over.toRealServer(large)],
        },
      ],
    };
  }),
);

rows(
  'checksums',
  each((walk) => {
    const list: Fields[] = [
      {},
      { payload: EMPTY },
      { payload: pattern(7) },
      { payload: pattern(9), surplus: pattern(5) },
    ];
    return [
      ...list.flatMap((fields) => [
        walk.step(walk.packet({ ...fields, checksum: 'partial' }), {
          verdict: 'forward',
          sent: [becomes(walk, fields)],
        }),
        walk.step(walk.packet({ ...fields, checksum: 'zero' }), { verdict: 'drop:bad_udp_checksum' }),
        walk.step(walk.packet({ ...fields, checksum: 'bad' }), { verdict: 'drop:bad_udp_checksum' }),
      ]),
      good(walk),
    ];
  }).map((row) => ({
    ...row,
    name: `that are unfinished are completed, absent and wrong ones dropped, ${row.name}`,
  })),
);

/** A payload whose checksum comes out as zero in `build`'s packet, which then says 0xffff. */
function zeroSum(build: (fields: Fields) => Uint8Array): Uint8Array {
  const { udpChecksum } = dissect(build({ payload: Uint8Array.of(0, 0) }));
  return Uint8Array.of(udpChecksum >> 8, udpChecksum & 0xff);
}

rows(
  'a sum that comes out as zero is sent as 0xffff, and taken as right',
  WALKS.map((walk): Row => {
    const out = { payload: zeroSum(walk.result) };
    const came = { payload: zeroSum(walk.packet) };
    assert.equal(dissect(walk.result(out)).udpChecksum, 0xffff);
    return {
      name: walk.name,
      plan: walk.plan(),
      steps: [
        ...walk.before,
        walk.step(walk.packet(out), { verdict: 'forward', sent: [becomes(walk, out)] }),
        walk.step(walk.packet(came), { verdict: 'forward', sent: [becomes(walk, came)] }),
      ],
    };
  }),
);

rows(
  'one service with two VIPs',
  ([4, 6] as const).flatMap((server): Row[] => {
    const [v4, v6] = [pair(4, server), pair(6, server, { lport: 20_006 })];
    const samePort = { sport: 5000 };
    const plan = {
      service: { ...v4.service, dialect: 'opp' as const, vips: ['10.1.0.100', 'fd00:1::100'], maxTrials: 1 },
    };
    const named6 = { ...v6.named, cport: 5000 };
    const uoa6 = uoaOf('opp', server, named6)!;
    const inserts = server === 4;
    const carrier6 = anyId(v6.toRealServer({ payload: EMPTY, df: false }, uoa6));
    return [
      {
        name: `keeps clients of both families with the same port apart, IPv${server} real server`,
        plan,
        steps: [
          {
            wan: v4.fromClient(samePort),
            verdict: 'forward',
            sent: inserts ? [v4.atRealServer({}, v4.uoa('opp'))] : [v4.carrier('opp'), v4.atRealServer()],
            changed: { ...FIRST, ...(inserts ? { uoaInserted: 1 } : { uoaCarrier: 1 }) },
            sessions: 1,
          },
          {
            wan: v6.fromClient(samePort),
            verdict: 'forward',
            sent: inserts ? [v6.atRealServer({}, uoa6)] : [carrier6, v6.atRealServer()],
            sessions: 2,
          },
          { lan: v4.fromRealServer(), verdict: 'forward', sent: [v4.atClient()] },
          { lan: v6.fromRealServer(), verdict: 'forward', sent: [v6.atClient({ dport: 5000 })] },
          { wan: v4.fromClient(samePort), verdict: 'forward', sent: [v4.atRealServer()], sessions: 2 },
          { wan: v6.fromClient(samePort), verdict: 'forward', sent: [v6.atRealServer()], sessions: 2 },
        ],
      },
    ];
  }),
);

/** Both legs of one service: real servers of both families, in turn. */
const BOTH = {
  service: {
    ...pair(4, 4).service,
    dialect: 'none' as const,
    vips: ['fd00:1::100', '10.1.0.100'],
    lips: ['fd00:2::200', '10.2.0.200'],
    realServers: [realServer('10.2.0.10'), realServer('fd00:2::10')],
  },
};

rows('one service with real servers of both families', [
  {
    name: 'gives every client to each of them in turn, from a LIP of its family',
    plan: BOTH,
    steps: pairsInTurn().flatMap(({ over, sport }, index) => [
      {
        wan: over.fromClient({ sport }),
        verdict: 'forward',
        sent: [over.atRealServer({ sport: 20_005 + (index >> 1) })],
        sessions: index + 1,
      },
      {
        lan: over.fromRealServer({ dport: 20_005 + (index >> 1) }),
        verdict: 'forward',
        sent: [over.atClient({ dport: sport })],
      },
    ]),
  },
]);

/** Round robin begins with the IPv4 real server. */
function pairsInTurn(): { over: Pair; sport: number }[] {
  const order = [pair(4, 4), pair(4, 6), pair(6, 4), pair(6, 6)];
  return order.map((over, index) => ({ over, sport: 5000 + index }));
}

rows('a VIP of the other family on the same port', [
  {
    name: 'belongs to its own service',
    plan: {
      services: [
        { ...pair(4, 4).service, dialect: 'none', name: 'four' },
        { ...pair(6, 6).service, dialect: 'none', name: 'six' },
      ],
    },
    steps: [
      { wan: pair(4, 4).fromClient(), verdict: 'forward', sent: [pair(4, 4).atRealServer()] },
      { wan: pair(6, 6).fromClient(), verdict: 'forward', sent: [pair(6, 6).atRealServer()] },
      { wan: pair(6, 6).fromClient({ dst: 'fd00:1::101' }), verdict: 'pass' },
      { wan: pair(6, 6).fromClient({ dport: 6001 }), verdict: 'pass' },
    ],
  },
]);
