// Dialect proxy-v2 over every family of client and real server: which datagrams bring the header, what they
// become, how long they may be, and what clients see of it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { concat, hex, pattern, unhex } from '../packets/bytes.ts';
import { proxyHeader } from '../packets/uoa-builder.ts';
import { FIRST } from './combination.ts';
import { errorAbout, passedOn } from './errors.ts';
import { type Expected, icmpError, inFragments } from './expected.ts';
import { EMPTY, type Fields, PAIRS, type Pair, REQUEST } from './pair.ts';
import { PORT, Rig, realServer, type ServiceChange } from './rig.ts';
import { type PacketStep, type Row, rows } from './rows.ts';
import { cutUp, towards } from './walks.ts';

const MTU = 1400;
const HEADER = { uoaHeader: 1 };
const NONE = {};
const SIZE = { 4: 28, 6: 52 };

const service = (over: Pair, change: ServiceChange = {}): ServiceChange => ({
  ...over.service,
  dialect: 'proxy-v2',
  ...change,
});

/** The fields of the datagram with the header, as it goes to the real server. */
function headed(over: Pair, change: Fields = {}): Fields {
  const payload = change.payload ?? REQUEST;
  const isTranslated = over.client === 6 && over.server === 4;
  // RFC 7915, of what the client sent.
  const df = isTranslated ? { df: over.fromClient(change).length > 1280 } : {};
  return { ...df, ...change, payload: concat(proxyHeader(over.named), payload) };
}

const atServer = (over: Pair, change: Fields = {}): Expected => over.atRealServer(headed(over, change));

/** The client's datagram comes and goes on with the header. */
const headedStep = (over: Pair, change: Fields = {}, step: Partial<PacketStep> = {}): PacketStep => ({
  wan: over.fromClient(change),
  verdict: 'forward',
  sent: [atServer(over, change)],
  changed: HEADER,
  ...step,
});

const plainStep = (over: Pair, change: Fields = {}, step: Partial<PacketStep> = {}): PacketStep => ({
  wan: over.fromClient(change),
  verdict: 'forward',
  sent: [over.atRealServer(change)],
  changed: NONE,
  ...step,
});

const opening = (over: Pair): PacketStep => headedStep(over, {}, { changed: { ...FIRST, ...HEADER } });

const each = (row: (over: Pair) => Omit<Row, 'name'> | undefined): Row[] =>
  PAIRS.flatMap((over) => {
    const made = row(over);
    return made ? [{ name: over.name, plan: { service: service(over) }, ...made }] : [];
  });

/** A payload that makes a packet of `length` bytes towards the real server, header and all. */
const filling = (over: Pair, length: number): Uint8Array =>
  pattern(length - over.toRealServer({ payload: EMPTY }).length - SIZE[over.client]);

describe('the header', () => {
  // Written by hand from the specification: signature, version and PROXY, UDP over the family, length,
  // source, destination, their ports.
  const signature = '0d0a0d0a000d0a515549540a';
  const golden = {
    4: `${signature}2112000c0a0100020a01006413881770`,
    6: `${signature}21220024fd000001000000000000000000000002fd000001000000000000000000000100${'1389'}1770`,
  };
  for (const over of PAIRS) {
    test(`is that of the specification, with client and VIP: ${over.name}`, () => {
      const rig = new Rig({ service: service(over) });
      const { sent } = rig.receive(over.fromClient({ payload: Uint8Array.of(0xab) }), PORT.wan);
      const udpOff = over.server === 4 ? 20 : 40;
      assert.equal(hex(sent[0].subarray(udpOff + 8)), `${golden[over.client]}ab`);
    });
  }
});

rows(
  'every datagram brings the header, empty or not, with its own TOS and TTL, and no carrier goes ahead',
  each((over) => ({
    steps: [
      opening(over),
      headedStep(over, { tos: 0xbb, payload: pattern(7) }),
      headedStep(over, { payload: EMPTY }),
      ...Array.from({ length: 5 }, () => headedStep(over)),
      headedStep(over, {}, { at: 299_000 }),
    ],
  })),
);

rows(
  'an unfinished checksum is completed; an absent one stays absent over IPv4 and is computed for IPv6',
  each((over) => ({
    steps: [
      opening(over),
      { ...headedStep(over), wan: over.fromClient({ checksum: 'partial' }) },
      ...(over.client === 6
        ? []
        : [
            headedStep(
              over,
              {},
              {
                wan: over.fromClient({ checksum: 'zero' }),
                sent: [atServer(over, over.server === 4 ? { checksum: 'zero' } : {})],
              },
            ),
          ]),
    ],
  })),
);

rows(
  'what stands behind the datagram, and IPv4 options, go on where they are',
  each((over) => ({
    steps: [
      opening(over),
      headedStep(over, { surplus: pattern(3) }),
      ...(over.client === 4 && over.server === 4
        ? [headedStep(over, { options: concat(Uint8Array.of(148, 4, 0, 0), new Uint8Array(36).fill(1)) })]
        : []),
    ],
  })),
);

const TOO_BIG = { 4: { type: 3, code: 4 }, 6: { type: 2, code: 0 } };

/** What the client may send where the real server's MTU is this. */
const allowed = ({ client, server }: Pair, mtu: number) => mtu - SIZE[client] + (client - server) * 10;

rows(
  'a datagram may fill the MTU with its header; of a larger one the client is told how large it may be',
  each((over) => {
    const fits = { df: true, payload: filling(over, MTU) };
    const large = over.fromClient({ df: true, payload: filling(over, MTU + 1) });
    const { cip, vip } = over.named;
    const answer = {
      verdict: 'drop:too_big',
      sent: [icmpError(vip, cip, { ...TOO_BIG[over.client], rest: allowed(over, MTU), about: large })],
      changed: { icmpSent: 1 },
    };
    return {
      plan: { service: service(over, { realServers: [realServer(over.rip, { mtu: MTU })] }) },
      steps: [
        { wan: large, ...answer, sessions: 0 },
        headedStep(over, fits, { changed: { ...FIRST, ...HEADER } }),
        { wan: large, ...answer },
      ],
    };
  }),
);

rows(
  'a datagram without DF, or of IPv6 that every link takes, goes in fragments where its header leaves no room',
  each((over) => {
    const mtu = over.client === 4 ? MTU : 1280;
    const payload = over.client === 4 ? filling(over, MTU + 1) : pattern(1280 - 48);
    const fields = { payload, df: false };
    const whole = over.toRealServer({ ...headed(over, fields), df: false });
    assert.ok(whole.length > mtu);
    return {
      plan: { service: service(over, { realServers: [realServer(over.rip, { mtu })] }) },
      steps: [
        headedStep(over, fields, {
          sent: inFragments(whole, mtu),
          changed: { ...FIRST, ...HEADER, datagramsFragmented: 1 },
        }),
      ],
    };
  }),
);

rows(
  'a datagram that came in fragments gets one header and leaves in fragments that are no larger',
  each((over) => {
    const payload = pattern(3000);
    const pieces = cutUp(over.fromClient({ payload }), 1280);
    const largest = 1280 - (over.client === 4 ? 20 : 48);
    const cut = (over.server === 4 ? 20 : 48) + (largest & ~7);
    return {
      steps: [
        opening(over),
        headedStep(
          over,
          {},
          {
            wan: pieces,
            sent: inFragments(over.toRealServer({ ...headed(over, { payload }), df: false }), cut),
            changed: { ...HEADER, fragmentsReceived: 1, datagramsReassembled: 1, datagramsFragmented: 1 },
          },
        ),
      ],
    };
  }),
);

rows(
  'a datagram with which the header would be longer than IP can say is refused',
  PAIRS.filter(({ client, server }) => client === server).map((over): Row => {
    const most = over.client === 4 ? 65_535 - 28 : 65_535 - 8;
    const pieces = (size: number) => cutUp(over.fromClient({ payload: pattern(size) }), 1500);
    return {
      name: over.name,
      plan: { service: service(over) },
      steps: [
        { wan: pieces(most - SIZE[over.client]), verdict: 'forward' },
        { wan: pieces(most - SIZE[over.client] + 1), verdict: 'drop:too_big', sent: [() => {}] },
      ],
    };
  }),
);

rows(
  'a header that the client wrote stays its payload, behind the true one',
  each((over) => {
    const payload = concat(proxyHeader({ cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 }), REQUEST);
    return { steps: [opening(over), headedStep(over, { payload })] };
  }),
);

rows(
  'what the real server answers reaches the client as it is, empty too',
  each((over) => {
    const answer = (payload: Uint8Array, changed: object) => ({
      lan: over.fromRealServer({ payload }),
      verdict: 'forward',
      sent: [over.atClient({ payload })],
      changed: { ...changed },
    });
    return {
      steps: [
        opening(over),
        answer(EMPTY, { sessionsOneway: -1, sessionsNormal: 1 }),
        answer(concat(proxyHeader(over.named), REQUEST), NONE),
      ],
    };
  }),
);

rows(
  'a datagram that cannot be sent is dropped, and none goes without the header',
  each((over) => ({
    steps: [
      opening(over),
      {
        wan: over.fromClient(),
        refuse: () => true,
        verdict: 'drop:send_failed',
        changed: { uoaFailed: 1 },
        sent: [],
      },
      headedStep(over),
    ],
  })),
);

rows(
  'with mode first the first maxTrials datagrams of a round bring it, and nothing is counted as exhausted',
  each((over) => ({
    plan: { service: service(over, { proxyV2: 'first', maxTrials: 2, idleRefreshMs: 60_000 }) },
    steps: [
      opening(over),
      {
        wan: over.fromClient(),
        refuse: () => true,
        verdict: 'drop:send_failed',
        changed: { uoaFailed: 1 },
        sent: [],
      },
      headedStep(over),
      plainStep(over),
      plainStep(over, { payload: EMPTY }),
      headedStep(over, {}, { at: 70_000 }),
      headedStep(over),
      plainStep(over),
    ],
  })),
);

rows(
  'with mode first a later datagram that begins like a header gets the true one before it',
  each((over) => {
    const header = proxyHeader({ cip: '8.8.8.8', cport: 53, vip: '9.9.9.9', vport: 54 });
    return {
      plan: { service: service(over, { proxyV2: 'first', maxTrials: 1 }) },
      steps: [
        opening(over),
        plainStep(over),
        headedStep(over, { payload: header }),
        headedStep(over, { payload: header.subarray(0, 12) }),
        plainStep(over, { payload: header.subarray(0, 11) }),
        plainStep(over),
      ],
    };
  }),
);

rows(
  'a reload changes which datagrams bring it, and whether any do',
  each((over) => ({
    steps: [
      opening(over),
      headedStep(over),
      { replan: { service: service(over, { proxyV2: 'first', maxTrials: 1 }) } },
      headedStep(over),
      plainStep(over),
      { replan: { service: service(over, { dialect: 'none' }) } },
      plainStep(over),
      { replan: { service: service(over) } },
      headedStep(over),
    ],
  })),
);

const UNREACHABLE = { 4: { type: 3, code: 3, rest: 0 }, 6: { type: 1, code: 4, rest: 0 } };

rows(
  'an ICMP error is about the datagram as the client sent it, however much of it came back',
  each((over) => {
    const walk = towards(over);
    const ipLen = { 4: 20, 6: 40 };
    const sentId = over.client === 4 && over.server === 6 ? { id: 0 } : {};
    const ways = (['every', 'first'] as const).flatMap((proxyV2) =>
      [8, 9, 8 + SIZE[over.client], 8 + SIZE[over.client] + 5, 1000].map((kept) => ({ proxyV2, kept })),
    );
    const steps = (mode: 'every' | 'first'): PacketStep[] =>
      ways
        // Where nothing of its payload came back, nobody can tell of mode first.
        .filter(({ proxyV2, kept }) => proxyV2 === mode && !(mode === 'first' && kept === 8))
        .map(({ kept }) => {
          const about = over.toRealServer(headed(over)).slice(0, ipLen[over.server] + kept);
          const left = Math.max(8, kept - SIZE[over.client]);
          const inner = over.fromClient({ ttl: 64, ...sentId }).slice(0, ipLen[over.client] + left);
          return {
            lan: errorAbout(about, UNREACHABLE[over.server]),
            ...passedOn(walk, UNREACHABLE[over.server], inner),
          };
        });
    return {
      steps: [
        opening(over),
        ...steps('every'),
        { replan: { service: service(over, { proxyV2: 'first' }) } },
        ...steps('first'),
      ],
    };
  }),
);

rows(
  'an ICMP error about a datagram without header is passed on as it is',
  each((over) => {
    const about = over.toRealServer();
    const inner = over.fromClient({ ttl: 64, ...(over.client === 4 && over.server === 6 && { id: 0 }) });
    return {
      plan: { service: service(over, { proxyV2: 'first', maxTrials: 1 }) },
      steps: [
        opening(over),
        plainStep(over),
        {
          lan: errorAbout(about, UNREACHABLE[over.server]),
          ...passedOn(towards(over), UNREACHABLE[over.server], inner),
        },
      ],
    };
  }),
);

rows(
  'a narrower path is told to the client less the header, and known from then on',
  each((over) => {
    const mtu = 1380;
    const fields = { df: true, payload: pattern(1332) };
    const large = over.fromClient(fields);
    // As much of it as came back.
    const ipLen = { 4: 20, 6: 40 };
    const about = over.toRealServer(headed(over, fields)).slice(0, ipLen[over.server] + 500);
    const id = over.client === 4 && over.server === 6 ? { id: 0 } : {};
    const inner = over.fromClient({ ...fields, ttl: 64, ...id });
    const { cip, vip } = over.named;
    const told = (packet: Uint8Array): Expected =>
      icmpError(vip, cip, { ...TOO_BIG[over.client], rest: allowed(over, mtu), about: packet });
    return {
      steps: [
        opening(over),
        headedStep(over, fields),
        {
          lan: errorAbout(about, { ...TOO_BIG[over.server], rest: mtu }),
          verdict: 'forward',
          sent: [told(inner.slice(0, ipLen[over.client] + 500 - SIZE[over.client]))],
          changed: { icmpTranslated: 1 },
        },
        { wan: large, verdict: 'drop:too_big', sent: [told(large)], changed: { icmpSent: 1 } },
      ],
    };
  }),
);

test('a super packet of a client is taken apart, one of a real server goes on', () => {
  for (const over of PAIRS.slice(0, 2)) {
    const rig = new Rig({ service: service(over) });
    const partial = { checksum: 'partial', payload: pattern(2400) } as const;
    assert.equal(rig.receive(over.fromClient(), PORT.wan).verdict, 'forward');
    assert.equal(rig.receive(over.fromRealServer(), PORT.lan).verdict, 'forward');
    assert.equal(rig.receiveSuper(over.fromClient(partial), PORT.wan, 1200).datagrams, 0, over.name);
    assert.equal(rig.receiveSuper(over.fromRealServer(partial), PORT.lan, 1200).datagrams, 2, over.name);
  }
});

test('a checksum that packet I/O has verified is adjusted by the header', () => {
  for (const over of PAIRS) {
    const rig = new Rig({ service: service(over) });
    const { sent } = rig.receive(over.fromClient({ payload: pattern(7) }), PORT.wan, {}, false, true);
    assert.equal(sent.length, 1);
    const expected = atServer(over, { payload: pattern(7) });
    if (typeof expected === 'function') expected(sent[0]);
    else assert.equal(hex(sent[0]), hex(expected));
  }
});

test('the vectors are those of the specification, not of the builder', () => {
  assert.equal(hex(proxyHeader(PAIRS[0].named).subarray(0, 12)), hex(unhex('0d0a0d0a000d0a515549540a')));
});
