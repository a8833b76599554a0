// The four packets of every walk, with the addresses of the golden packets: client 10.1.0.2:5000 -> VIP 10.1.0.100:6000
// becomes LIP 10.2.0.200:20005 -> RS 10.2.0.10:6000, and the answer. TTL 65 comes in, 64 goes out.
import assert from 'node:assert/strict';
import { type Udp4Fields, udp4, withId } from '../packets/builder.ts';
import { concat, hex, pattern } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { addressOption, opp4 } from '../packets/uoa-builder.ts';

export const CIP = '10.1.0.2';
export const CPORT = 5000;
export const VIP = '10.1.0.100';
export const VPORT = 6000;
export const LIP = '10.2.0.200';
export const LPORT = 20005;
export const RIP = '10.2.0.10';
export const RPORT = 6000;

/** This session's UOA, as the option of dialect ipo and inside dialect opp. */
export const UOA = addressOption(CIP, CPORT);
export const EMPTY = new Uint8Array(0);
export const REQUEST = pattern(32);
export const REPLY = pattern(48).reverse();

type Fields = Partial<Udp4Fields>;

const CLIENT_TUPLE = { src: CIP, sport: CPORT, dst: VIP, dport: VPORT, ttl: 65, payload: REQUEST };
const LOCAL_TUPLE = { src: LIP, sport: LPORT, dst: RIP, dport: RPORT, ttl: 64, payload: REQUEST };
const REPLY_TUPLE = { src: RIP, sport: RPORT, dst: LIP, dport: LPORT, ttl: 65, payload: REPLY };
const ANSWER_TUPLE = { src: VIP, sport: VPORT, dst: CIP, dport: CPORT, ttl: 64, payload: REPLY };

export const fromClient = (change: Fields = {}) => udp4({ ...CLIENT_TUPLE, ...change });
export const toRealServer = (change: Fields = {}) => udp4({ ...LOCAL_TUPLE, ...change });
export const fromRealServer = (change: Fields = {}) => udp4({ ...REPLY_TUPLE, ...change });
export const toClient = (change: Fields = {}) => udp4({ ...ANSWER_TUPLE, ...change });

/** The forwarded packet with this session's UOA in front of `options`. */
export const withIpo = (change: Fields = {}) =>
  toRealServer({ ...change, options: concat(UOA, change.options ?? EMPTY) });

/** The forwarded packet with this session's UOA in a protocol-248 header. */
export const withOpp = (change: Fields & { option?: Uint8Array } = {}) =>
  opp4({ ...LOCAL_TUPLE, option: UOA, ...change });

export type OppChange = Fields & Partial<Parameters<typeof opp4>[0]>;

/** A client's packet behind a protocol-248 header. */
export const forgedOpp = (change: OppChange = {}) => opp4({ ...CLIENT_TUPLE, option: UOA, ...change });

/** The echo ACK of dialect ipo. */
export const ipoAck = (change: Fields = {}) => fromRealServer({ options: UOA, payload: EMPTY, ...change });

/** The echo ACK of dialect opp. */
export const oppAck = (change: OppChange = {}) =>
  opp4({ ...REPLY_TUPLE, option: UOA, payload: EMPTY, ...change });

/** A sent packet that a row expects: its bytes, or what must be true of it. */
export type Expected = Uint8Array | ((sent: Uint8Array) => void);

/** Equal to `packet` but for the IP identification, which may be any but zero: a packet that the proxy itself made. */
export function anyId(packet: Uint8Array): Expected {
  return (sent) => {
    const { id } = dissect(sent);
    assert.notEqual(id, 0, 'identification');
    assertSame(sent, withId(packet, id));
  };
}

/** The carrier that goes ahead of a packet with these fields. */
export const ipoCarrier = (change: Fields = {}) => anyId(withIpo({ ...change, payload: EMPTY }));
export const oppCarrier = (change: Fields = {}) => anyId(withOpp({ ...change, payload: EMPTY }));

/** An ICMP error about `about`, which it embeds as far as 576 bytes go. */
export function icmpError(
  src: string,
  dst: string,
  { type, code, rest = 0, about }: { type: number; code: number; rest?: number; about: Uint8Array },
): Expected {
  return (sent) => {
    const seen = dissect(sent);
    assert.deepEqual(
      { src: seen.src, dst: seen.dst, ipChecksumOk: seen.ipChecksumOk, icmp: seen.icmp },
      {
        src,
        dst,
        ipChecksumOk: true,
        icmp: { type, code, rest, body: hex(about.slice(0, 548)), checksumOk: true },
      },
    );
    assert.ok(seen.ttl >= 32, `TTL ${seen.ttl}`);
  };
}

/** Byte equality that fails with the two packets taken apart. */
export function assertSame(sent: Uint8Array, expected: Uint8Array): void {
  if (hex(sent) === hex(expected)) return;
  assert.deepEqual(dissect(sent), dissect(expected));
  assert.equal(hex(sent), hex(expected));
}
