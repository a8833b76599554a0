// The packets of every walk over (family of the client, family of the real server), with the addresses of the
// golden packets: client 10.1.0.2:5000 or [fd00:1::2]:5001 -> VIP 10.1.0.100 or fd00:1::100, port 6000,
// becomes LIP 10.2.0.200 or fd00:2::200, port 20005 -> RS 10.2.0.10 or fd00:2::10, port 6000, and the answer.
// TTL 65 comes in, 64 goes out.
import { type Family, pattern } from '../packets/bytes.ts';
import { type EitherFields, type Form, type Named, type Uoa, udp, uoaOf } from '../packets/uoa-builder.ts';
import { anyId, type Expected } from './expected.ts';
import { realServer, type ServiceChange } from './rig.ts';

export const EMPTY = new Uint8Array(0);
export const REQUEST = pattern(32);
export const REPLY = pattern(48).reverse();

export type Fields = Partial<EitherFields>;

const WAN = {
  4: { cip: '10.1.0.2', cport: 5000, vip: '10.1.0.100' },
  6: { cip: 'fd00:1::2', cport: 5001, vip: 'fd00:1::100' },
};
const LAN = {
  4: { lip: '10.2.0.200', rip: '10.2.0.10' },
  6: { lip: 'fd00:2::200', rip: 'fd00:2::10' },
};
const RPORT = 6000;
const IPV6_MIN_MTU = 1280;

export interface Pair {
  client: Family;
  server: Family;
  /** 'IPv6 client, IPv4 real server'. */
  name: string;
  named: Named;
  lip: string;
  lport: number;
  rip: string;
  rport: number;
  /** The service of a plan for this pair: its VIP, LIP and real server. */
  service: ServiceChange;
  fromClient(change?: Fields, uoa?: Uoa): Uint8Array;
  /** Its bytes; between families its IPv4 identification is made up. */
  toRealServer(change?: Fields, uoa?: Uoa): Uint8Array;
  fromRealServer(change?: Fields, uoa?: Uoa): Uint8Array;
  toClient(change?: Fields): Uint8Array;
  /** What toRealServer and toClient say, as a row expects it: from IPv6 to IPv4 with any identification. */
  atRealServer(change?: Fields, uoa?: Uoa): Expected;
  atClient(change?: Fields): Expected;
  /** This session's UOA towards the real server. */
  uoa(form: Form): Uoa;
  /** The carrier that goes ahead of a packet with these fields, with its DF. */
  carrier(form: Form, change?: Fields): Expected;
  echoAck(form: Form, change?: Fields): Uint8Array;
}

export function pair(client: Family, server: Family, { vport = 6000, lport = 20005 } = {}): Pair {
  const named = { ...WAN[client], vport };
  const { cip, cport, vip } = named;
  const { lip, rip } = LAN[server];
  const up = { src: lip, sport: lport, dst: rip, dport: RPORT, ttl: 64, payload: REQUEST };
  const down = { src: vip, sport: vport, dst: cip, dport: cport, ttl: 64, payload: REPLY };

  const uoa = (form: Form): Uoa => {
    const found = uoaOf(form, server, named);
    if (!found) throw new Error(`${form} does not exist over IPv${server}`);
    return found;
  };
  const fromRealServer = (change: Fields = {}, uoa?: Uoa) =>
    udp({ ...up, src: rip, sport: RPORT, dst: lip, dport: lport, ttl: 65, payload: REPLY, ...change }, uoa);
  const toRealServer = (change: Fields = {}, uoa?: Uoa) =>
    udp(translated({ ...up, ...change }, client, server), uoa);
  const toClient = (change: Fields = {}) => udp(translated({ ...down, ...change }, server, client));
  return {
    client,
    server,
    name: `IPv${client} client, IPv${server} real server`,
    named,
    lip,
    lport,
    rip,
    rport: RPORT,
    service: {
      vips: [vip],
      vport,
      lips: [lip],
      lports: { first: lport, last: lport + 99 },
      realServers: [realServer(rip)],
    },
    fromClient: (change = {}, uoa) =>
      udp({ src: cip, sport: cport, dst: vip, dport: vport, ttl: 65, payload: REQUEST, ...change }, uoa),
    toRealServer,
    fromRealServer,
    toClient,
    atRealServer: (change, uoa) => expected(toRealServer(change, uoa), client, server),
    atClient: (change) => expected(toClient(change), server, client),
    uoa,
    carrier: (form, change = {}) => {
      const { df = false } = translated({ ...up, ...change }, client, server);
      return anyId(toRealServer({ ...change, df, payload: EMPTY }, uoa(form)));
    },
    echoAck: (form, change = {}) => fromRealServer({ payload: EMPTY, ...change }, uoa(form)),
  };
}

export const PAIRS: readonly Pair[] = [pair(4, 4), pair(6, 6), pair(6, 4), pair(4, 6)];

/**
 * RFC 7915, 5.1: DF is clear when the packet fits into 1,280 bytes of IPv6. Everything else follows from the
 * fields: TTL is hop limit, TOS is traffic class, no options, flow label 0.
 */
function translated(fields: EitherFields, from: Family, to: Family): EitherFields {
  if (from !== 6 || to !== 4) return fields;
  const length = 40 + 8 + (fields.payload ?? EMPTY).length + (fields.surplus ?? EMPTY).length;
  return { df: length > IPV6_MIN_MTU, ...fields };
}

/** A packet translated to IPv4 has an identification that nobody foresees. */
function expected(packet: Uint8Array, from: Family, to: Family): Expected {
  return from === 6 && to === 4 ? anyId(packet) : packet;
}
