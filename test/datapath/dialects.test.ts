// Every dialect over every family of client and real server: what goes to the real server, what its echo ACK
// does, and that nobody else's UOA gets through in either direction. What it does not say: uoa.test.ts.
import { withId } from '../packets/builder.ts';
import { destOptions } from '../packets/builder6.ts';
import { concat, hex, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { FORMS, type Named, type Uoa, uoaOf } from '../packets/uoa-builder.ts';
import { GOLDEN } from '../vectors/golden.ts';
import { CARRIED, COMBINATIONS, Combination, FIRST, INSERTED } from './combination.ts';
import { assertSame } from './expected.ts';
import { EMPTY, PAIRS, pair } from './pair.ts';
import { realServer } from './rig.ts';
import { type Row, rows } from './rows.ts';

const MTU = 1400;

/** Whom a forged UOA names. */
const LIARS: Record<4 | 6, Named> = {
  4: { cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 },
  6: { cip: '2001:db8::8', cport: 53, vip: '2001:db8::9', vport: 54 },
};

const each = (row: (combination: Combination) => Omit<Row, 'name'> | undefined): Row[] =>
  COMBINATIONS.flatMap((combination) => {
    const made = row(combination);
    return made ? [{ name: combination.name, plan: combination.plan(), ...made }] : [];
  });

const goldenOf = ({ form, clientFamily, realServerFamily, lport, virtual }: (typeof GOLDEN)[number]) =>
  form === 'type29'
    ? []
    : [new Combination(form, pair(clientFamily, realServerFamily, { lport, vport: virtual?.port ?? 6000 }))];

rows(
  'golden packets',
  GOLDEN.flatMap((golden) =>
    goldenOf(golden).flatMap((combination): Row[] => {
      const { pair } = combination;
      const sameButId = (sent: Uint8Array) =>
        assertSame(golden.realServerFamily === 4 ? withId(sent, 0x1234) : sent, golden.bytes);
      const carrier = golden.carriage === 'carrier';
      const inserted: Row = {
        name: `a client's datagram becomes "${golden.name}"`,
        plan: combination.plan(),
        steps: [{ wan: pair.fromClient({ payload: pattern(32) }), verdict: 'forward', sent: [sameButId] }],
      };
      const beforeEmpty: Row = {
        name: `an empty datagram is preceded by "${golden.name}"`,
        plan: combination.plan(),
        steps: [
          {
            wan: pair.fromClient({ payload: EMPTY }),
            verdict: 'forward',
            sent: [sameButId, pair.atRealServer({ payload: EMPTY })],
          },
        ],
      };
      // What fits comes from IPv6 to IPv4 without DF, as the golden packets are.
      const mtu = pair.server === 4 ? 1260 : 1280;
      const large = combination.filling(mtu);
      const ahead: Row = {
        name: `a datagram without room for it is preceded by "${golden.name}"`,
        plan: combination.plan({ realServers: [realServer(pair.rip, { mtu })] }),
        steps: [
          {
            wan: pair.fromClient({ payload: large }),
            verdict: 'forward',
            sent: [sameButId, pair.atRealServer({ payload: large })],
          },
        ],
      };
      if (carrier) return [beforeEmpty, ahead];
      return combination.inserts ? [inserted] : [];
    }),
  ),
);

rows(
  'the first maxTrials packets bring the UOA, the next one is plain and counted as exhausted once',
  each((it) => ({
    steps: [
      it.trial({ changed: { ...FIRST, ...it.counted } }),
      it.trial(),
      it.trial(),
      it.plain({ changed: { uoaExhausted: 1 } }),
      it.plain(),
    ],
  })),
);

rows(
  'TOS and TTL are kept, and an odd length, with the UOA and in the answer',
  each((it) => ({
    steps: [
      it.trial({
        wan: it.pair.fromClient({ tos: 0xbb, ttl: 20, payload: pattern(7) }),
        sent: it.brought({ tos: 0xbb, ttl: 19, payload: pattern(7) }),
        changed: { ...FIRST, ...it.counted },
      }),
      {
        lan: it.pair.fromRealServer({ tos: 0x2e, ttl: 30 }),
        verdict: 'forward',
        sent: [it.pair.atClient({ tos: 0x2e, ttl: 29 })],
        changed: { sessionsOneway: -1, sessionsNormal: 1 },
      },
    ],
  })),
);

const hasUoa = (packet: Uint8Array) => {
  const seen = dissect(packet);
  return seen.opp !== undefined || seen.options !== '' || seen.extensions.length > 0;
};

rows(
  'an empty datagram follows a carrier, plain, as empty as it came; an empty answer of each goes its way',
  each((it) => {
    const empty = it.trial({
      wan: it.pair.fromClient({ payload: EMPTY }),
      sent: it.carried({ payload: EMPTY }),
      changed: CARRIED,
    });
    const answer = { lan: it.pair.fromRealServer({ payload: EMPTY }) };
    return {
      steps: [
        { ...empty, changed: { ...FIRST, ...CARRIED } },
        { ...answer, verdict: 'consumed', changed: { emptyRepliesSwallowed: 1 } },
        { ...answer, verdict: 'forward', sent: [it.pair.atClient({ payload: EMPTY })] },
        empty,
        empty,
        it.plain({
          wan: it.pair.fromClient({ payload: EMPTY }),
          sent: [it.pair.atRealServer({ payload: EMPTY })],
          changed: { uoaExhausted: 1 },
        }),
      ],
    };
  }),
);

rows(
  'the carrier of an empty datagram may be refused: the datagram goes all the same, and no trial is spent',
  each((it) => {
    const empty = { wan: it.pair.fromClient({ payload: EMPTY }), verdict: 'forward' };
    return {
      steps: [
        {
          ...empty,
          refuse: hasUoa,
          sent: [it.pair.atRealServer({ payload: EMPTY })],
          changed: { ...FIRST, uoaFailed: 1 },
        },
        { ...empty, sent: it.carried({ payload: EMPTY }), changed: CARRIED },
        it.trial(),
        it.trial(),
        it.plain({ changed: { uoaExhausted: 1 } }),
      ],
    };
  }),
);

rows(
  'an unfinished checksum is completed; an absent one stays absent over IPv4 and is computed for IPv6',
  each((it) => ({
    steps: [
      it.trial({
        wan: it.pair.fromClient({ checksum: 'partial' }),
        changed: { ...FIRST, ...it.counted },
      }),
      it.pair.client === 4
        ? it.trial({
            wan: it.pair.fromClient({ checksum: 'zero' }),
            sent: it.brought(it.pair.server === 4 ? { checksum: 'zero' } : {}),
          })
        : { wan: it.pair.fromClient({ checksum: 'zero' }), verdict: 'drop:bad_udp_checksum' },
    ],
  })),
);

rows(
  'the packet may grow to exactly the MTU of the real server; one byte more, and a carrier precedes it',
  each((it) => {
    const plan = it.plan({ realServers: [realServer(it.pair.rip, { mtu: MTU })] });
    const fits = { payload: it.filling(MTU - (it.inserts ? it.size : 0)) };
    const large = { payload: it.filling(MTU - it.size + 1) };
    return {
      plan,
      steps: [
        it.trial({
          wan: it.pair.fromClient(fits),
          sent: it.brought(fits),
          changed: { ...FIRST, ...it.counted },
        }),
        it.trial({
          wan: it.pair.fromClient({ ...large, tos: 0xba, ttl: 20 }),
          sent: it.carried({ ...large, tos: 0xba, ttl: 19 }),
          changed: CARRIED,
        }),
      ],
    };
  }),
);

/** One IPv4 option of `length` bytes that is none of ours. */
const foreign = (length: number) => concat(Uint8Array.of(7, length, 4), new Uint8Array(length - 3));

rows(
  'IPv4 options stand behind the UOA, or before a header; where they leave it no room, a carrier without them precedes the packet',
  each((it) => {
    if (it.pair.client !== 4 || it.pair.server !== 4) return undefined;
    const alone = it.sent === 'unified' || it.sent === 'type30';
    const fits = { options: alone ? EMPTY : foreign(40 - it.size) };
    const large = { options: foreign(alone ? 4 : 44 - it.size) };
    return {
      steps: [
        it.trial({
          wan: it.pair.fromClient(fits),
          sent: it.brought(fits),
          changed: { ...FIRST, ...INSERTED },
        }),
        it.trial({
          wan: it.pair.fromClient(large),
          sent: [it.pair.carrier(it.sent), it.pair.toRealServer(large)],
          changed: CARRIED,
        }),
      ],
    };
  }),
);

rows(
  'a UOA that cannot be sent costs no trial, and the packet goes without it',
  each((it) => ({
    steps: [
      it.plain({
        wan: it.pair.fromClient({ payload: pattern(7) }),
        refuse: hasUoa,
        sent: [it.pair.atRealServer({ payload: pattern(7) })],
        changed: { ...FIRST, uoaFailed: 1 },
      }),
      it.trial(),
      it.trial(),
      it.trial(),
      it.plain({ changed: { uoaExhausted: 1 } }),
    ],
  })),
);

rows(
  'a carrier swallows one empty answer within a second',
  each((it) => {
    const large = { payload: it.filling(1480) };
    return {
      plan: it.plan({ realServers: [realServer(it.pair.rip, { mtu: 1480 })] }),
      steps: [
        it.trial({
          wan: it.pair.fromClient(large),
          sent: it.carried(large),
          changed: { ...FIRST, ...CARRIED },
        }),
        {
          lan: it.pair.fromRealServer({ payload: EMPTY }),
          verdict: 'consumed',
          changed: { emptyRepliesSwallowed: 1 },
        },
        {
          lan: it.pair.fromRealServer({ payload: EMPTY }),
          verdict: 'forward',
          sent: [it.pair.atClient({ payload: EMPTY })],
        },
      ],
    };
  }),
);

rows(
  'an echo ACK is consumed and ends the trials',
  each((it) => ({
    steps: [
      it.trial({ changed: { ...FIRST, ...it.counted } }),
      { lan: it.pair.echoAck(it.sent), verdict: 'consumed', changed: { uoaAcked: 1 } },
      it.plain(),
      it.plain(),
      it.plain(),
      it.plain(),
    ],
  })),
);

function doubled(uoa: Uoa): Uoa[] {
  if ('option' in uoa) return [{ option: concat(uoa.option, uoa.option) }];
  if ('options' in uoa) return uoa.options.length > 20 ? [] : [{ options: concat(uoa.options, uoa.options) }];
  const option = uoa.extensions[0].bytes.subarray(2);
  return [
    { extensions: [...uoa.extensions, ...uoa.extensions] },
    { extensions: [destOptions(concat(option, option))] },
  ];
}

/**
 * UOAs that differ from what is sent: in what they say, in their form, in number, and padded inside a header.
 */
function wrongEchoes({ pair, sent, uoa }: Combination): Uoa[] {
  const { named, server } = pair;
  const others: Named[] = [
    { ...named, cport: named.cport + 1 },
    { ...named, cip: LIARS[pair.client].cip },
    { ...LIARS[pair.client === 4 ? 6 : 4], cport: named.cport },
    ...(sent === 'unified' || sent === 'type30' ? [{ ...named, vport: 1 }] : []),
  ];
  const right = bytesOf(uoa);
  return [
    ...others.map((other) => uoaOf(sent, server, other)),
    ...FORMS.map((form) => uoaOf(form, server, named)),
    ...doubled(uoa),
    ...('option' in uoa
      ? [{ option: concat(uoa.option, new Uint8Array(4).fill(1)) }, { option: EMPTY }]
      : []),
  ].filter((wrong): wrong is Uoa => wrong !== undefined && bytesOf(wrong) !== right);
}

/** To tell whether two UOAs are the same on the wire. */
function bytesOf(uoa: Uoa): string {
  if ('option' in uoa) return `opp ${hex(uoa.option)}`;
  if ('options' in uoa) return hex(uoa.options);
  return uoa.extensions.map(({ bytes }) => hex(bytes)).join(' ');
}

rows(
  'an empty packet with any other UOA is consumed, rejected and changes nothing',
  each((it) => ({
    steps: [
      it.trial({ changed: { ...FIRST, ...it.counted } }),
      ...wrongEchoes(it).map((wrong) => ({
        lan: it.pair.fromRealServer({ payload: EMPTY }, wrong),
        verdict: 'consumed',
        changed: { uoaAckRejected: 1 },
      })),
      it.trial(),
      it.trial(),
    ],
  })),
);

const lies = (carriage: 4 | 6): Uoa[] =>
  FORMS.flatMap((form) => [LIARS[4], LIARS[6]].map((liar) => uoaOf(form, carriage, liar))).filter(
    (lie) => lie !== undefined,
  );

rows(
  'a UOA of a client, of any form, is removed and the true one brought, with payload and without',
  each((it) => ({
    plan: it.plan({ maxTrials: 100 }),
    steps: lies(it.pair.client).flatMap((lie, index) => [
      it.trial({
        wan: it.pair.fromClient({}, lie),
        changed: { ...(index === 0 && FIRST), ...it.counted, uoaForgedRemoved: 1 },
      }),
      it.trial({
        wan: it.pair.fromClient({ payload: EMPTY }, lie),
        sent: it.carried({ payload: EMPTY }),
        changed: { ...CARRIED, uoaForgedRemoved: 1 },
      }),
    ]),
  })),
);

rows(
  'with dialect none, nothing of a UOA of a client remains',
  PAIRS.map(
    (over): Row => ({
      name: over.name,
      plan: { service: { ...over.service, dialect: 'none' } },
      steps: lies(over.client).map((lie, index) => ({
        wan: over.fromClient({}, lie),
        verdict: 'forward',
        sent: [over.atRealServer()],
        changed: { ...(index === 0 && FIRST), uoaForgedRemoved: 1 },
      })),
    }),
  ),
);

rows(
  'a UOA of a real server, of any form, is stripped from a packet with payload',
  each((it) => ({
    steps: [
      it.trial({ changed: { ...FIRST, ...it.counted } }),
      ...[...lies(it.pair.server), it.uoa].map((uoa, index) => ({
        lan: it.pair.fromRealServer({}, uoa),
        verdict: 'forward',
        sent: [it.pair.atClient()],
        changed: { ...(index === 0 && { sessionsOneway: -1, sessionsNormal: 1 }), uoaStripped: 1 },
      })),
      it.trial(),
    ],
  })),
);
