// The addresses of every world, those of test/datapath/pair.ts, and a world as a datapath's plan.
import type { DatapathPlan } from '../../src/datapath/plan.ts';
import { pair } from '../datapath/pair.ts';
import { makePlan, realServer } from '../datapath/rig.ts';
import type { Family } from '../packets/bytes.ts';
import type { World } from './input.ts';

const V4 = pair(4, 4);
const V6 = pair(6, 6);

export const VPORT = V4.named.vport;
export const RPORT = V4.rport;
export const FIRST_LPORT = V4.lport;

/** The parts of each family. */
export const AT = {
  4: { cip: V4.named.cip, cport: V4.named.cport, vip: V4.named.vip, lip: V4.lip, rip: V4.rip },
  6: { cip: V6.named.cip, cport: V6.named.cport, vip: V6.named.vip, lip: V6.lip, rip: V6.rip },
} as const;

export const FAMILIES: readonly Family[] = [4, 6];

export const ONEWAY_MS = 3_000;
export const NORMAL_MS = 8_000;

export function planOf(world: World): DatapathPlan {
  const { dialect4, dialect6, mtu4, mtu6, portMtu } = world;
  return makePlan({
    maxSessions: world.maxSessions,
    ports: [1, 2].map((side) => ({ side, mtu: portMtu, loopback: false })),
    wanMtu: world.wanMtu,
    ownAddresses: ['192.0.2.1', '2001:db8::1'],
    service: {
      vips: [AT[4].vip, AT[6].vip],
      vport: VPORT,
      lips: [AT[4].lip, AT[6].lip],
      lports: { first: FIRST_LPORT, last: FIRST_LPORT + world.lports - 1 },
      onewayMs: ONEWAY_MS,
      normalMs: NORMAL_MS,
      maxTrials: world.maxTrials,
      refreshMs: world.refreshMs,
      refreshesAcked: true,
      carriage: 'inserted',
      idleRefreshMs: world.idleRefreshMs,
      unifiedType: world.unifiedType,
      onUnsupported: world.onUnsupported,
      proxyV2: world.proxyV2 ?? 'every',
      realServers: [
        ...(dialect4 === null ? [] : [realServer(AT[4].rip, { mtu: mtu4, dialect: dialect4 })]),
        ...(dialect6 === null ? [] : [realServer(AT[6].rip, { mtu: mtu6, dialect: dialect6 })]),
      ],
    },
  });
}
