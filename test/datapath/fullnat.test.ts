// FullNAT: addresses, ports, TTL and checksums change, everything else arrives as it was sent.
import { at16, concat, pattern, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { icmpError } from './expected.ts';
import { realServer } from './rig.ts';
import {
  EMPTY,
  fromClient,
  fromRealServer,
  LIP,
  REQUEST,
  RIP,
  toClient,
  toRealServer,
  VIP,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

/** UOA off: these rows are about the packet itself. */
const PLAIN = { service: { maxTrials: 0 } };
const OPEN = { wan: fromClient(), verdict: 'forward' };

rows('FullNAT', [
  {
    name: 'a request goes from LIP:lport to the real server and makes a session',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient(),
        verdict: 'forward',
        sent: [toRealServer()],
        changed: { sessionsCreated: 1, sessionsOneway: 1 },
        sessions: 1,
      },
    ],
  },
  {
    name: 'a reply goes from VIP:vport to the client and makes the session normal',
    plan: PLAIN,
    steps: [
      OPEN,
      {
        lan: fromRealServer(),
        verdict: 'forward',
        sent: [toClient()],
        changed: { sessionsOneway: -1, sessionsNormal: 1 },
        sessions: 1,
      },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()], changed: {} },
    ],
  },
  {
    name: 'later requests of a client keep its lport',
    plan: PLAIN,
    steps: [
      OPEN,
      { wan: fromClient({ sport: 5001 }), verdict: 'forward', sent: [toRealServer({ sport: 20006 })] },
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer()], changed: {} },
      {
        wan: fromClient({ sport: 5001 }),
        verdict: 'forward',
        sent: [toRealServer({ sport: 20006 })],
        changed: {},
      },
    ],
  },
  {
    name: 'the real server may listen on another port than the VIP',
    plan: { service: { maxTrials: 0, realServers: [realServer(RIP, { port: 9000 })] } },
    steps: [
      { wan: fromClient(), verdict: 'forward', sent: [toRealServer({ dport: 9000 })] },
      { lan: fromRealServer({ sport: 9000 }), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'TOS, ECN, DF and identification are kept in both directions',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ tos: 0xbb, df: true, id: 0xfedc }),
        verdict: 'forward',
        sent: [toRealServer({ tos: 0xbb, df: true, id: 0xfedc })],
      },
      {
        lan: fromRealServer({ tos: 0x2e, df: true, id: 1 }),
        verdict: 'forward',
        sent: [toClient({ tos: 0x2e, df: true, id: 1 })],
      },
    ],
  },
  {
    name: 'identification 0 of a DF packet stays 0',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ df: true, id: 0 }), verdict: 'forward', sent: [toRealServer({ df: true, id: 0 })] },
    ],
  },
  {
    name: 'TTL 2 leaves as TTL 1, TTL 255 as 254',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ ttl: 2 }), verdict: 'forward', sent: [toRealServer({ ttl: 1 })] },
      { lan: fromRealServer({ ttl: 255 }), verdict: 'forward', sent: [toClient({ ttl: 254 })] },
    ],
  },
  {
    name: 'zero-length datagrams pass in both directions',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ payload: EMPTY }), verdict: 'forward', sent: [toRealServer({ payload: EMPTY })] },
      { lan: fromRealServer({ payload: EMPTY }), verdict: 'forward', sent: [toClient({ payload: EMPTY })] },
    ],
  },
  {
    name: 'padding that Ethernet appends to a short packet is not passed on',
    plan: PLAIN,
    steps: [
      {
        wan: concat(fromClient({ payload: pattern(1) }), new Uint8Array(17).fill(0xee)),
        verdict: 'forward',
        sent: [toRealServer({ payload: pattern(1) })],
      },
    ],
  },
  {
    name: 'bytes behind the UDP datagram but inside the packet pass unharmed',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ surplus: unhex('c0ffee0102') }),
        verdict: 'forward',
        sent: [toRealServer({ surplus: unhex('c0ffee0102') })],
      },
      {
        lan: fromRealServer({ payload: EMPTY, surplus: pattern(11) }),
        verdict: 'forward',
        sent: [toClient({ payload: EMPTY, surplus: pattern(11) })],
      },
    ],
  },
  {
    name: 'harmless IP options pass in both directions',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ options: unhex('94040000') }),
        verdict: 'forward',
        sent: [toRealServer({ options: unhex('94040000') })],
      },
      {
        lan: fromRealServer({ options: unhex('0101 0707 0400 0000 00') }),
        verdict: 'forward',
        sent: [toClient({ options: unhex('0101 0707 0400 0000 00') })],
      },
    ],
  },
  ...[1, 2, 3].map(
    (shift): Row => ({
      name: `a packet ${shift} bytes away from its usual alignment is forwarded alike`,
      plan: PLAIN,
      shift,
      steps: [
        { wan: fromClient(), verdict: 'forward', sent: [toRealServer()] },
        { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
      ],
    }),
  ),
  ...[1, 2, 3, 499, 500, 1471, 1472].map(
    (length): Row => ({
      name: `a payload of ${length} bytes passes unchanged`,
      plan: PLAIN,
      steps: [
        {
          wan: fromClient({ payload: pattern(length) }),
          verdict: 'forward',
          sent: [toRealServer({ payload: pattern(length) })],
        },
        {
          lan: fromRealServer({ payload: pattern(length) }),
          verdict: 'forward',
          sent: [toClient({ payload: pattern(length) })],
        },
      ],
    }),
  ),
]);

/** A payload that makes the UDP checksum of `build`'s packet come out as zero, which is written 0xffff. */
function zeroSum(build: (change: { payload: Uint8Array }) => Uint8Array): Uint8Array {
  const checksum = dissect(build({ payload: Uint8Array.of(0, 0) })).udpChecksum;
  return Uint8Array.of(checksum >> 8, checksum & 0xff);
}

const OUT_ZERO = zeroSum(toRealServer);
const IN_ZERO = zeroSum(fromClient);
if (at16(toRealServer({ payload: OUT_ZERO }), 26) !== 0xffff)
  throw new Error('the payload does not do its work');

rows('FullNAT checksums', [
  {
    name: 'a checksum that the sender left to its network card is completed',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ checksum: 'partial' }), verdict: 'forward', sent: [toRealServer()] },
      { lan: fromRealServer({ checksum: 'partial' }), verdict: 'forward', sent: [toClient()] },
    ],
  },
  {
    name: 'an unfinished checksum of an empty or odd datagram is completed too',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ checksum: 'partial', payload: EMPTY }),
        verdict: 'forward',
        sent: [toRealServer({ payload: EMPTY })],
      },
      {
        lan: fromRealServer({ checksum: 'partial', payload: pattern(3) }),
        verdict: 'forward',
        sent: [toClient({ payload: pattern(3) })],
      },
    ],
  },
  {
    name: 'an unfinished checksum of a datagram with bytes behind it covers the datagram only',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ checksum: 'partial', surplus: pattern(5) }),
        verdict: 'forward',
        sent: [toRealServer({ surplus: pattern(5) })],
      },
    ],
  },
  {
    name: 'checksum 0 stays 0 in both directions',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ checksum: 'zero' }),
        verdict: 'forward',
        sent: [toRealServer({ checksum: 'zero' })],
      },
      {
        lan: fromRealServer({ checksum: 'zero' }),
        verdict: 'forward',
        sent: [toClient({ checksum: 'zero' })],
      },
    ],
  },
  {
    name: 'a sum that comes out as zero is sent as 0xffff',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ payload: OUT_ZERO }),
        verdict: 'forward',
        sent: [toRealServer({ payload: OUT_ZERO })],
      },
      {
        wan: fromClient({ payload: OUT_ZERO, checksum: 'partial' }),
        verdict: 'forward',
        sent: [toRealServer({ payload: OUT_ZERO })],
      },
    ],
  },
  {
    name: 'a checksum received as 0xffff is valid',
    plan: PLAIN,
    steps: [
      {
        wan: fromClient({ payload: IN_ZERO }),
        verdict: 'forward',
        sent: [toRealServer({ payload: IN_ZERO })],
      },
    ],
  },
]);

const LARGE = pattern(1473);
const SMALL_RS = { service: { maxTrials: 0, realServers: [realServer(RIP, { mtu: 1400 })] } };

rows('FullNAT sizes', [
  {
    name: 'a packet of exactly the real server MTU passes',
    plan: SMALL_RS,
    steps: [
      {
        wan: fromClient({ payload: pattern(1372) }),
        verdict: 'forward',
        sent: [toRealServer({ payload: pattern(1372) })],
      },
    ],
  },
  {
    name: 'a DF request above the real server MTU is answered with that MTU',
    plan: SMALL_RS,
    steps: [
      {
        wan: fromClient({ payload: pattern(1373), df: true }),
        verdict: 'drop:too_big',
        sent: [
          icmpError(VIP, '10.1.0.2', {
            type: 3,
            code: 4,
            rest: 1400,
            about: fromClient({ payload: pattern(1373), df: true }),
          }),
        ],
      },
      {
        wan: fromClient({ payload: REQUEST, df: true }),
        verdict: 'forward',
        sent: [toRealServer({ df: true })],
      },
    ],
  },
  {
    name: 'a DF reply above the client side MTU is answered with that MTU, from the LIP',
    plan: { ...PLAIN, wanMtu: 1400 },
    steps: [
      OPEN,
      {
        lan: fromRealServer({ payload: pattern(1373), df: true }),
        verdict: 'drop:too_big',
        sent: [
          icmpError(LIP, RIP, {
            type: 3,
            code: 4,
            rest: 1400,
            about: fromRealServer({ payload: pattern(1373), df: true }),
          }),
        ],
        changed: { icmpSent: 1 },
      },
      {
        lan: fromRealServer({ payload: pattern(1372) }),
        verdict: 'forward',
        sent: [toClient({ payload: pattern(1372) })],
      },
    ],
  },
  {
    name: 'jumbo frames pass where every MTU allows them',
    plan: {
      service: { maxTrials: 0, realServers: [realServer(RIP, { mtu: 9000 })] },
      wanMtu: 9000,
    },
    steps: [
      {
        wan: fromClient({ payload: pattern(8972) }),
        verdict: 'forward',
        sent: [toRealServer({ payload: pattern(8972) })],
      },
      {
        lan: fromRealServer({ payload: pattern(8972) }),
        verdict: 'forward',
        sent: [toClient({ payload: pattern(8972) })],
      },
    ],
  },
  {
    name: 'several packets in one that cannot be told apart are dropped',
    plan: PLAIN,
    steps: [
      { wan: fromClient({ payload: LARGE }), isMerged: true, verdict: 'drop:super_packet' },
      { wan: fromClient({ payload: LARGE, df: true }), isMerged: true, verdict: 'drop:super_packet' },
      { wan: fromClient({ payload: REQUEST }), isMerged: true, verdict: 'drop:super_packet' },
      OPEN,
      { lan: fromRealServer({ payload: LARGE }), isMerged: true, verdict: 'drop:super_packet' },
      { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] },
    ],
  },
]);
