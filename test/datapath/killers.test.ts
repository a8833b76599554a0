// What brings down or misleads a real server, and that a client cannot make us send it: hostile packets of
// every form, in every dialect and pair of families, and everything that leaves towards the real server is
// looked into.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ipv4 } from '../packets/builder.ts';
import { destOptions, hopByHop, ipv6, option6 } from '../packets/builder6.ts';
import { concat, hex, pattern, unhex } from '../packets/bytes.ts';
import { type Dissected, dissect, options } from '../packets/dissect.ts';
import { addressOption, FORMS, type OppHeader, type Uoa, uoaOf } from '../packets/uoa-builder.ts';
import { COMBINATIONS, type Combination } from './combination.ts';
import { errorAbout } from './errors.ts';
import { EMPTY, PAIRS, type Pair } from './pair.ts';
import { PORT, Rig, realServer } from './rig.ts';
import { type Row, rows } from './rows.ts';
import { cutUp } from './walks.ts';

const LIARS = {
  4: { cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 },
  6: { cip: '2001:db8::8', cport: 53, vip: '2001:db8::9', vport: 54 },
};

/** Behind protocol 248: none, more or other than one option, padding, lengths that lie. */
const OPP_LIES: OppHeader[] = [
  { option: EMPTY },
  { option: unhex('00000000') },
  { option: unhex('01010101') },
  { option: addressOption('8.8.8.8', 53) },
  { option: addressOption('2001:db8::8', 53) },
  { option: concat(addressOption('8.8.8.8', 53), unhex('01010101')) },
  { option: concat(unhex('01010101'), addressOption('8.8.8.8', 53)) },
  { option: concat(addressOption('8.8.8.8', 53), addressOption('9.9.9.9', 54)) },
  { option: unhex('1f04 0035'), oppVersion: 1 },
  { option: unhex('1fff 0035 08080808') },
  { option: unhex('1f00 0035 08080808') },
  { option: addressOption('8.8.8.8', 53), oppVersion: 2 },
  { option: addressOption('8.8.8.8', 53), oppVersion: 15 },
  { option: addressOption('8.8.8.8', 53), oppLength: 8 },
  { option: addressOption('8.8.8.8', 53), oppLength: 11 },
  { option: addressOption('8.8.8.8', 53), oppLength: 4 },
  { option: addressOption('8.8.8.8', 53), oppLength: 16 },
  { option: pattern(200) },
];

const forms = (family: 4 | 6, types = FORMS): Uoa[] =>
  types.flatMap((form) =>
    [LIARS[4], LIARS[6]].map((liar) => uoaOf(form, family, liar)).filter((uoa) => uoa !== undefined),
  );

/** Options with the UOA types and contents that no form has. */
function otherOptions(family: 4 | 6): Uoa[] {
  const bodies = [unhex(''), unhex('01'), unhex('0100'), pattern(6), pattern(14), pattern(34), pattern(36)];
  return [29, 30, 31].flatMap((type) =>
    bodies.map((body): Uoa => {
      if (family === 4) return { options: concat(Uint8Array.of(type, 2 + body.length), body) };
      return { extensions: [destOptions(option6(type, body))] };
    }),
  );
}

/** UOA in unusual places. */
function elsewhere(family: 4 | 6): Uoa[] {
  const option = addressOption('8.8.8.8', 53);
  if (family === 4) {
    return [
      { options: concat(unhex('01010101'), option) },
      { options: concat(option, option, option, option) },
      { options: concat(unhex('00010101'), option) },
      { options: concat(unhex('94040000'), option, unhex('94040000'), option) },
      { options: concat(option, unhex('0000'), option) },
    ];
  }
  const body = option.subarray(2);
  return [
    { extensions: [hopByHop(option6(31, body))] },
    { extensions: [destOptions(option6(31, body)), destOptions(option6(30, body))] },
    { extensions: [destOptions(concat(option6(31, body), option6(31, body)))] },
    { extensions: [destOptions(concat(option6(1, new Uint8Array(4)), option6(29, body)))] },
  ];
}

/** What a client may send in the hope that it goes on. */
function attacks(over: Pair): Uint8Array[] {
  const { client } = over;
  const uoas = [...forms(client), ...otherOptions(client), ...elsewhere(client), ...OPP_LIES];
  const payloads = [EMPTY, pattern(32), pattern(1200)];
  const single = uoas.flatMap((uoa) => payloads.map((payload) => over.fromClient({ payload }, uoa)));
  const inner = forms(client).filter((uoa) => !('option' in uoa));
  const nested = inner.flatMap((uoa) => OPP_LIES.map((opp) => withBoth(over, uoa, opp)));
  const lying = [0, 7, 9, 41, 1500, 0xffff].flatMap((udpLength) =>
    [undefined, OPP_LIES[3], ...forms(client)].flatMap((uoa) => [
      over.fromClient({ udpLength }, uoa),
      over.fromClient({ udpLength, payload: EMPTY }, uoa),
      over.fromClient({ udpLength, checksum: 'partial' }, uoa),
      ...(client === 4 ? [over.fromClient({ udpLength, checksum: 'zero' }, uoa)] : []),
    ]),
  );
  const room = { options: pattern(20).fill(1) };
  const behindOptions = OPP_LIES.flatMap((opp) => [
    over.fromClient(room, opp),
    over.fromClient({ ...room, udpLength: 0xffff }, opp),
  ]);
  const pieces = [...forms(client), ...OPP_LIES].flatMap((uoa, index) =>
    cutUp(over.fromClient({ payload: pattern(2000), df: false }, uoa), [1000], 0x100 + index),
  );
  return [...single, ...nested, ...lying, ...behindOptions, ...pieces, ...raw(over)];
}

function withBoth(over: Pair, uoa: Uoa, opp: OppHeader): Uint8Array {
  if ('options' in uoa) return over.fromClient({ options: uoa.options.subarray(0, 40) }, opp);
  return over.fromClient('extensions' in uoa ? { extensions: uoa.extensions } : {}, opp);
}

/** Protocol 248 with anything behind it. */
function raw({ client, named: { cip: src, vip: dst } }: Pair): Uint8Array[] {
  const datas = [0, 1, 3, 4, 8, 12, 20, 60].flatMap((length) => [
    new Uint8Array(length),
    pattern(length),
    concat(unhex('10110004'), pattern(length)),
    concat(unhex('101101f8'), pattern(length)),
    concat(unhex('10f80004 10110004'), pattern(length)),
  ]);
  return datas.map((data) =>
    client === 4 ? ipv4({ src, dst, ttl: 65 }, 248, data) : ipv6({ src, dst, hopLimit: 65 }, 248, data),
  );
}

/** Asserts about one packet that left, and what it is in words when it fails. */
type Check = (seen: Dissected, it: Combination, sent: Uint8Array) => void;

const uoaTypes = (seen: Dissected): number[] => [
  ...options(unhex(seen.options)).map((option) => option[0]),
  ...seen.destOptions.map((option) => Number.parseInt(option.slice(0, 2), 16)),
];
const isUoaType = (type: number) => type >= 29 && type <= 31;

/** Each packet towards the real server bears this session's UOA, whole and alone, or none. */
const onlyTheTrueOne: Check = (seen, it, sent) => {
  const expected = dissect(it.pair.toRealServer({ payload: EMPTY }, it.uoa));
  const types = uoaTypes(seen).filter(isUoaType);
  const isBare = seen.opp === undefined && types.length === 0;
  if (isBare) return;
  if (it.sent === 'opp') {
    assert.deepEqual(seen.opp, expected.opp);
    assert.deepEqual(types, [], hex(sent));
  } else {
    assert.equal(seen.opp, undefined, hex(sent));
    assert.equal(types.length, 1, hex(sent));
    assert.ok(seen.options.startsWith(expected.options), hex(sent));
    assert.deepEqual(seen.extensions, expected.extensions, hex(sent));
  }
};

const CHECKS: [string, Check][] = [
  [
    'opp stands over IPv6 before empty datagrams only, because receivers move a payload behind it out of their buffer',
    (seen) => {
      if (seen.family === 6 && seen.opp) assert.equal(seen.payload, '');
    },
  ],
  [
    'a UOA stands in no piece of a datagram, which receivers of opp over IPv6 lose',
    (seen) => {
      if (seen.fragment) assert.deepEqual([seen.opp, uoaTypes(seen).filter(isUoaType)], [undefined, []]);
    },
  ],
  [
    'a long option of unified, which overruns the memory of other receivers, goes to a real server that speaks it only',
    (seen, { sent }) => {
      const long = uoaTypes(seen).some((type, index) => isUoaType(type) && lengths(seen)[index] > 20);
      if (long) assert.ok(sent === 'unified' || sent === 'type30', sent);
    },
  ],
  [
    'no UOA but the true one of the session goes out, of types 29, 30 and 31 and protocol 248',
    onlyTheTrueOne,
  ],
  [
    'opp holds one option of 8 or 20 bytes and nothing beside it, or a receiver uses memory that it gave back',
    (seen) => {
      if (!seen.opp) return;
      assert.match(seen.opp.option, /^(1f08.{12}|1f14.{36})$/);
      assert.equal(seen.opp.length, 4 + seen.opp.option.length / 2);
      assert.equal(seen.opp.version, seen.opp.option.length === 16 ? 1 : 2);
      assert.equal(seen.opp.inner, 17);
    },
  ],
  [
    'the UDP length is what the packet holds, or a receiver moves 64 KiB',
    (seen) => {
      if (seen.fragment) return;
      assert.ok(seen.udpLength * 2 <= 16 + seen.payload.length + seen.surplus.length);
    },
  ],
  [
    'opp and the IPv4 options before it stay within 60 bytes of header',
    (seen) => {
      if (seen.opp) assert.ok(20 + seen.options.length / 2 + seen.opp.length <= 60);
    },
  ],
  [
    'unified stands alone: as the first and only IPv4 option, as the first IPv6 extension header, without padding',
    (seen, { sent }) => {
      if (sent !== 'unified' && sent !== 'type30') return;
      const types = uoaTypes(seen);
      if (!types.some(isUoaType)) return;
      assert.equal(types.length, 1);
      assert.ok([0, 32, 80].includes(seen.options.length));
      assert.ok(seen.extensions.length <= 1);
    },
  ],
  [
    'a UOA over IPv4 is the first option, and over IPv6 directly behind the fixed header and before UDP',
    (seen) => {
      const types = uoaTypes(seen);
      if (types.some(isUoaType)) assert.ok(isUoaType(types[0]));
      assert.ok(seen.extensions.every(({ header }) => header === 60 || header === 44));
      assert.ok(seen.proto === 17 || seen.proto === 248);
    },
  ],
  [
    'nothing stands behind End-of-Options, where a receiver that reads on would see it',
    (seen) => {
      const used = options(unhex(seen.options)).reduce((sum, option) => sum + option.length, 0);
      assert.match(seen.options.slice(used * 2), /^0*$/);
    },
  ],
  [
    'checksums are right, because a receiver learns the address of a datagram that its kernel then drops',
    (seen) => {
      assert.ok(seen.ipChecksumOk);
      if (!seen.fragment) assert.ok(seen.udpChecksumOk);
    },
  ],
];

/** Lengths of the options that uoaTypes tells. */
const lengths = (seen: Dissected): number[] => [
  ...options(unhex(seen.options)).map((option) => option.length),
  ...seen.destOptions.map((option) => option.length / 2),
];

/**
 * Everything that leaves towards the real server when a client sends `attacks`, in a session and out of it.
 */
function left(it: Combination): Uint8Array[] {
  const rig = new Rig(it.plan({ maxTrials: 200, realServers: [realServer(it.pair.rip, { mtu: 1400 })] }));
  const sent = attacks(it.pair).flatMap((packet) => {
    rig.at += 1;
    return rig.receive(packet, PORT.wan, 'any').sent;
  });
  return sent.filter((packet) => dissect(packet, { fragment: true }).src === it.pair.lip);
}

describe('what hostile clients make us send', () => {
  for (const it of COMBINATIONS) {
    const sent = left(it);
    const seen = sent.map((packet) => dissect(packet, { fragment: true }));
    test(`is much, and brings the UOA, ${it.name}`, () => {
      assert.ok(sent.length > 100, `${sent.length}`);
      const withUoa = seen.filter(({ opp, ...other }) => opp || uoaTypes({ ...other }).some(isUoaType));
      assert.ok(withUoa.length > 50, `${withUoa.length}`);
    });
    for (const [what, check] of CHECKS) {
      test(`${what}, ${it.name}`, () => {
        for (const [index, one] of seen.entries()) check(one, it, sent[index]);
      });
    }
  }
});

rows(
  "an error that comes back about an opp packet, with the receiver's edits in it, finds its session",
  COMBINATIONS.filter(({ sent }) => sent === 'opp').flatMap((it): Row[] => {
    const { pair } = it;
    const edits = pair.server === 4 ? [pattern(12).fill(1), pattern(24).fill(0), unhex('01010000')] : [EMPTY];
    return edits.map((options) => ({
      name: `${it.name}, ${options.length} bytes of options`,
      plan: it.plan({ maxTrials: 1 }),
      steps: [
        it.trial({ changed: { sessionsCreated: 1, sessionsOneway: 1, ...it.counted } }),
        {
          lan: errorAbout(pair.toRealServer({ options }), {
            type: pair.server === 4 ? 3 : 1,
            code: pair.server === 4 ? 3 : 4,
            rest: 0,
          }),
          verdict: 'forward',
          changed: { icmpTranslated: 1 },
        },
      ],
    }));
  }),
);

rows(
  'a type with the copied bit, which nobody reads, is a foreign option over IPv4 and refused over IPv6',
  PAIRS.map(
    (over): Row => ({
      name: over.name,
      plan: { service: { ...over.service, dialect: 'none' } },
      steps: [
        over.client === 4
          ? {
              wan: over.fromClient({ options: unhex('9f08 0035 08080808') }),
              verdict: 'forward',
              sent: [over.atRealServer(over.server === 4 ? { options: unhex('9f08 0035 08080808') } : {})],
            }
          : {
              wan: over.fromClient({ extensions: [destOptions(option6(0x9f, unhex('0035 08080808')))] }),
              verdict: 'drop:unknown_ip_option',
              sent: [() => {}],
            },
      ],
    }),
  ),
);

rows(
  'each carrier may swallow one empty answer within a second, and no more',
  COMBINATIONS.map((it): Row => {
    const large = { payload: it.filling(1480) };
    const empty = { lan: it.pair.fromRealServer({ payload: EMPTY }) };
    const swallowed = { ...empty, verdict: 'consumed', changed: { emptyRepliesSwallowed: 1 } };
    const reaches = { ...empty, verdict: 'forward', sent: [it.pair.atClient({ payload: EMPTY })] };
    const carries = { wan: it.pair.fromClient(large), verdict: 'forward', sent: it.carried(large) };
    return {
      name: it.name,
      plan: it.plan({ realServers: [realServer(it.pair.rip, { mtu: 1480 })] }),
      steps: [
        { at: 0, ...carries },
        { at: 10, ...carries },
        { at: 500, ...swallowed },
        { at: 501, ...swallowed },
        { at: 502, ...reaches },
        { at: 2_000, ...carries },
        { at: 3_001, ...reaches },
      ],
    };
  }),
);

rows(
  'a client port below 512 is told like any other',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const uoa = uoaOf(it.sent, pair.server, { ...pair.named, cport: 53 })!;
    return {
      name: it.name,
      plan: it.plan(),
      steps: [
        {
          wan: pair.fromClient({ sport: 53 }),
          verdict: 'forward',
          sent: it.inserts
            ? [pair.atRealServer({}, uoa)]
            : [(sent) => assert.equal(dissect(sent).opp?.option.slice(4, 8), '0035'), pair.atRealServer()],
        },
      ],
    };
  }),
);

rows(
  'a real server is sent the dialect that it speaks, whatever its neighbours do',
  PAIRS.map((over): Row => {
    const spoken = (['opp', 'unified', 'elb', 'none'] as const).filter(
      (one) => one !== 'opp' || over.server === 4,
    );
    const lan = over.server === 4 ? '10.2.0.' : 'fd00:2::';
    return {
      name: over.name,
      plan: {
        service: {
          ...over.service,
          realServers: spoken.map((dialect, index) => realServer(`${lan}${20 + index}`, { dialect })),
        },
      },
      steps: spoken.map((dialect, index) => {
        const cport = 7000 + index;
        const uoa = dialect === 'none' ? undefined : uoaOf(dialect, over.server, { ...over.named, cport });
        return {
          wan: over.fromClient({ sport: cport }),
          verdict: 'forward',
          sent: [over.atRealServer({ dst: `${lan}${20 + index}` }, uoa)],
        };
      }),
    };
  }),
);
