// The two ends of a session, as its record and the plan at work have them: who they are, and how large a
// packet to each may be.
import type { Service } from '../service/service.ts';
import type { Leg } from '../session/leg.ts';
import { CLIENT, cportOf, familyOfClient, learnedMtuOf, vipAt } from '../session/session.ts';
import { Origin } from '../uoa/origin.ts';
import { proxyHeaderLen } from '../uoa/proxy-v2.ts';
import type { Family } from '../wire/address.ts';
import type { Walk } from './walk.ts';

const origin = new Origin();
const toClient = new Int32Array(8);

/**
 * Largest IP packet that may be sent to the session's real server: its leg's MTU, or a smaller one that ICMP
 * taught.
 */
export function mtuToRealServer(records: Int32Array, base: number, leg: Leg, nowMs: number): number {
  const learned = learnedMtuOf(records, base, nowMs);
  return learned === 0 ? leg.mtu : Math.min(leg.mtu, learned);
}

/** Bytes by which datagrams of clients of that family may grow on their way over the leg. */
export const addedTo = ({ proxyV2 }: Leg, client: Family): number =>
  proxyV2 === undefined ? 0 : proxyHeaderLen(client);

/**
 * Largest IP packet that may be sent to the session's client from its service's `vips`; less where one of
 * `len` bytes goes anyway.
 */
export function mtuToClient(
  { directory, memory, routing }: Pick<Walk, 'directory' | 'memory' | 'routing'>,
  base: number,
  vips: Int32Array,
  len: number,
): number {
  if (routing === undefined) return directory.wanMtu;
  if (len <= routing.leastMtu) return routing.leastMtu;
  const { records } = memory;
  const vip = vipAt(familyOfClient(records, base));
  return routing.mtuTowards(records, base + CLIENT, vips, vip) || directory.wanMtu;
}

/** The session's client and the VIP that it called; holds until the next call. */
export function originOf(records: Int32Array, base: number, service: Service): Origin {
  const { addresses } = origin;
  const family = familyOfClient(records, base);
  origin.family = family;
  origin.cport = cportOf(records, base);
  origin.vport = service.vport;
  const at = vipAt(family);
  for (let i = 0; i < 4; i++) {
    addresses[i] = records[base + CLIENT + i];
    addresses[4 + i] = service.vips[at + i];
  }
  return origin;
}

/**
 * Source and destination of what goes to the session's client of that family: the VIP and the client; holds
 * until the next call.
 */
export function addressesToClient(
  records: Int32Array,
  base: number,
  service: Service,
  family: Family,
): Int32Array {
  const at = vipAt(family);
  for (let i = 0; i < 4; i++) {
    toClient[i] = service.vips[at + i];
    toClient[4 + i] = records[base + CLIENT + i];
  }
  return toClient;
}
