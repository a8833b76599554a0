// Every length field against the bytes that are there. Each row ends with a good packet that still passes.

import { ipv4 } from '../packets/builder.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { UDP } from '../packets/udp.ts';
import { addressOption, OPP, opp4 } from '../packets/uoa-builder.ts';
import {
  CIP,
  EMPTY,
  forgedOpp,
  fromClient,
  fromRealServer,
  oppAck,
  toClient,
  VIP,
  withIpo,
} from './roles.ts';
import { type Row, rows } from './rows.ts';

const GOOD_REQUEST = { wan: fromClient(), verdict: 'forward', sent: [withIpo()] };
const GOOD_REPLY = { lan: fromRealServer(), verdict: 'forward', sent: [toClient()] };

function fromOutside(reason: string, list: [string, Uint8Array][]): Row[] {
  return list.map(([what, wan]) => ({
    name: `${what} from a client is dropped as ${reason}`,
    steps: [{ wan, verdict: `drop:${reason}`, changed: {}, sessions: 0 }, GOOD_REQUEST, GOOD_REPLY],
  }));
}

function fromInside(reason: string, list: [string, Uint8Array][]): Row[] {
  return list.map(([what, lan]) => ({
    name: `${what} from a real server is dropped as ${reason}`,
    steps: [
      GOOD_REQUEST,
      { lan, verdict: `drop:${reason}`, changed: {}, sessions: 1 },
      GOOD_REPLY,
      GOOD_REQUEST,
    ],
  }));
}

rows('hostile IP lengths', [
  ...fromOutside('not_ip', [
    ['a packet of version 0', fromClient({ version: 0 })],
    ['a packet of version 5', fromClient({ version: 5 })],
    ['a packet of version 15', fromClient({ version: 15 })],
  ]),
  ...fromOutside('truncated', [
    ['a packet with one byte missing', fromClient().subarray(0, 59)],
    ['a packet with its payload missing', fromClient().subarray(0, 28)],
    ['a packet with its UDP header missing', fromClient().subarray(0, 20)],
    ['half an IP header', fromClient().subarray(0, 10)],
    ['a single byte', fromClient().subarray(0, 1)],
    ['a packet without its options', fromClient({ options: pattern(40).fill(1) }).subarray(0, 24)],
    ['a total length of 65535', fromClient({ totalLength: 65535 })],
  ]),
  ...fromOutside('bad_ip_length', [
    ['a header length of 0', fromClient({ ihl: 0 })],
    ['a header length of 16', fromClient({ ihl: 4 })],
    ['a total length of 0', fromClient({ totalLength: 0 })],
    ['a total length of 19', fromClient({ totalLength: 19 })],
    [
      'a total length below the header length',
      fromClient({ totalLength: 24, options: unhex('9404 0000 0101 0101') }),
    ],
    ['a header length beyond the total length', fromClient({ payload: EMPTY, ihl: 15 })],
  ]),
  ...fromOutside('bad_ip_checksum', [['a wrong IP header checksum', fromClient({ ipChecksum: 'bad' })]]),
  ...fromInside('truncated', [['a packet with one byte missing', fromRealServer().subarray(0, 75)]]),
  ...fromInside('bad_ip_length', [
    ['a header length of 16', fromRealServer({ ihl: 4 })],
    ['a total length below the header length', fromRealServer({ totalLength: 12 })],
  ]),
  ...fromInside('bad_ip_checksum', [['a wrong IP header checksum', fromRealServer({ ipChecksum: 'bad' })]]),
]);

const ALL_ROOM = concat(new Uint8Array(38).fill(1), unhex('1f08'));

rows('hostile IP options', [
  ...fromOutside('bad_ip_options', [
    ['an option of length 0', fromClient({ options: unhex('1f00 0000') })],
    ['an option of length 1', fromClient({ options: unhex('9401 0000') })],
    ['an option one byte beyond the header', fromClient({ options: unhex('9405 0000') })],
    ['an option of length 255', fromClient({ options: unhex('1fff 0000 00000000') })],
    ['an option without its length', fromClient({ options: unhex('0101 0194') })],
    ['an address option that ends behind the header', fromClient({ options: ALL_ROOM })],
    [
      'a forged option followed by a broken one',
      fromClient({ options: concat(addressOption(CIP, 1), unhex('07ff 0000')) }),
    ],
  ]),
  ...fromInside('bad_ip_options', [
    ['an option of length 0', fromRealServer({ options: unhex('1f00 0000') })],
    ['an option of length 1', fromRealServer({ options: unhex('1f01 0000') })],
    ['an option beyond the header', fromRealServer({ options: unhex('1f09 1388 0a010002') })],
    [
      'an option beyond the header of an empty datagram',
      fromRealServer({ options: unhex('0101 1f08'), payload: EMPTY }),
    ],
  ]),
]);

rows('hostile UDP lengths', [
  ...fromOutside('bad_udp_length', [
    ['a UDP length one beyond the datagram', fromClient({ udpLength: 41 })],
    ['a UDP length of 65535', fromClient({ udpLength: 65535 })],
    ['a UDP length of 0', fromClient({ udpLength: 0 })],
    ['a UDP length of 7', fromClient({ udpLength: 7 })],
    ['a UDP length beyond an empty datagram', fromClient({ udpLength: 9, payload: EMPTY })],
    ['a UDP length beyond, without checksum,', fromClient({ udpLength: 41, checksum: 'zero' })],
    ['a UDP length beyond, with an unfinished checksum,', fromClient({ udpLength: 41, checksum: 'partial' })],
    [
      'a UDP length that only Ethernet padding would fill',
      concat(fromClient({ udpLength: 50 }), new Uint8Array(18)),
    ],
    ['a UDP header of 7 bytes', ipv4({ src: CIP, dst: VIP }, UDP, fromClient().subarray(20, 27))],
    ['no UDP header at all', ipv4({ src: CIP, dst: VIP }, UDP, EMPTY)],
    ['a UDP length beyond the datagram behind a header 248', forgedOpp({ udpLength: 41 })],
    ['a UDP length below 8 behind a header 248', forgedOpp({ udpLength: 7 })],
  ]),
  ...fromOutside('bad_udp_checksum', [
    ['a wrong UDP checksum', fromClient({ checksum: 'bad' })],
    ['a wrong UDP checksum of an empty datagram', fromClient({ checksum: 'bad', payload: EMPTY })],
    [
      'a wrong UDP checksum behind a forged option',
      fromClient({ checksum: 'bad', options: addressOption(CIP, 1) }),
    ],
    ['a wrong UDP checksum behind a header 248', forgedOpp({ checksum: 'bad' })],
  ]),
  ...fromInside('bad_udp_length', [
    ['a UDP length one beyond the datagram', fromRealServer({ udpLength: 57 })],
    ['a UDP length of 7', fromRealServer({ udpLength: 7 })],
    ['a UDP length beyond an echo ACK of dialect opp', oppAck({ udpLength: 9 })],
  ]),
  ...fromInside('bad_udp_checksum', [
    ['a wrong UDP checksum', fromRealServer({ checksum: 'bad' })],
    [
      'a wrong UDP checksum of an echo ACK',
      fromRealServer({ checksum: 'bad', payload: EMPTY, options: addressOption(CIP, 5000) }),
    ],
  ]),
]);

const nested = opp4({ src: CIP, sport: 5000, dst: VIP, dport: 6000, option: EMPTY }).subarray(20);

rows('hostile protocol-248 headers', [
  ...fromOutside('bad_opp', [
    ['an opp length of 0', forgedOpp({ oppLength: 0 })],
    ['an opp length of 3', forgedOpp({ oppLength: 3 })],
    ['an opp length beyond the datagram', forgedOpp({ oppLength: 53 })],
    ['an opp length of 65535', forgedOpp({ oppLength: 65535 })],
    ['TCP inside opp', forgedOpp({ inner: 6 })],
    ['opp inside opp', ipv4({ src: CIP, dst: VIP }, OPP, concat(unhex('10f80004'), nested))],
    ['an opp header of 3 bytes', ipv4({ src: CIP, dst: VIP }, OPP, unhex('101100'))],
    ['no opp header at all', ipv4({ src: CIP, dst: VIP }, OPP, EMPTY)],
  ]),
  ...fromOutside('bad_udp_length', [
    ['an opp length that leaves 7 bytes for UDP', forgedOpp({ oppLength: 45 })],
    ['an opp length that leaves no byte for UDP', forgedOpp({ oppLength: 52 })],
  ]),
  ...fromInside('bad_opp', [
    ['an opp length of 3', oppAck({ oppLength: 3 })],
    ['an opp length beyond the datagram', oppAck({ oppLength: 99 })],
    ['ICMP inside opp', oppAck({ inner: 1 })],
  ]),
]);
