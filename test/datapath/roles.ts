// pair(4, 4) in short words, for the rows that need no other family: client 10.1.0.2:5000 -> VIP
// 10.1.0.100:6000 becomes LIP 10.2.0.200:20005 -> RS 10.2.0.10:6000, and the answer. Rows over families take
// their packets from pair.ts.
import { concat } from '../packets/bytes.ts';
import { addressOption, type OppHeader } from '../packets/uoa-builder.ts';
import { EMPTY, type Fields, pair } from './pair.ts';

export { EMPTY, REPLY, REQUEST } from './pair.ts';

const V4 = pair(4, 4);

export const CIP = V4.named.cip;
export const CPORT = V4.named.cport;
export const VIP = V4.named.vip;
export const VPORT = V4.named.vport;
export const LIP = V4.lip;
export const LPORT = V4.lport;
export const RIP = V4.rip;
export const RPORT = V4.rport;

/** This session's UOA, as the option of dialect ipo and inside dialect opp. */
export const UOA = addressOption(CIP, CPORT);

export const fromClient = (change: Fields = {}) => V4.fromClient(change);
export const toRealServer = (change: Fields = {}) => V4.toRealServer(change);
export const fromRealServer = (change: Fields = {}) => V4.fromRealServer(change);
export const toClient = (change: Fields = {}) => V4.toClient(change);

export type OppChange = Fields & Partial<OppHeader>;

const header = (change: OppChange): OppHeader => ({ option: UOA, ...change });

/** The forwarded packet with this session's UOA in front of `options`. */
export const withIpo = (change: Fields = {}) =>
  toRealServer({ ...change, options: concat(UOA, change.options ?? EMPTY) });

/** The forwarded packet with this session's UOA in a protocol-248 header. */
export const withOpp = (change: OppChange = {}) => V4.toRealServer(change, header(change));

/** A client's packet behind a protocol-248 header. */
export const forgedOpp = (change: OppChange = {}) => V4.fromClient(change, header(change));

/** The echo ACK of dialect ipo. */
export const ipoAck = (change: Fields = {}) => fromRealServer({ options: UOA, payload: EMPTY, ...change });

/** The echo ACK of dialect opp. */
export const oppAck = (change: OppChange = {}) =>
  V4.fromRealServer({ payload: EMPTY, ...change }, header(change));

/** The carrier that goes ahead of a packet with these fields. */
export const ipoCarrier = (change: Fields = {}) => V4.carrier('ipo', change);
export const oppCarrier = (change: Fields = {}) => V4.carrier('opp', change);
