// A config of the size that docs/config.md allows, and the state file of a proxy that had a million sessions
// by it, written by the code that saves them. Of its real servers two are alive: those of the first service
// and of the last.
import {
  CLIENT,
  CPORT_SERVICE,
  FLAG_NORMAL,
  FLAG_USED,
  HANDSHAKE,
  LAST_SEEN,
  LEG_MTU,
  LPORT_FLAGS,
  SESSION_WORDS,
} from '../../../src/session/session.ts';
import { type StateService, saveSessions } from '../../../src/session/state-file.ts';
import { WholeFile } from '../../../src/sys/whole-file.ts';
import { startHandshake } from '../../../src/uoa/handshake.ts';
import { V4_MAPPED } from '../../../src/wire/address.ts';

export const SERVICES = 400;
/** The most that a config may have; it begins with one less. */
export const SERVERS = 4096;
export const SESSIONS = 1_000_000;
export const LEGS_WITH_SESSIONS = 2000;
const SESSIONS_PER_LEG = SESSIONS / LEGS_WITH_SESSIONS;

/** Of each real server; with all of them 61,440 of the 65,535 combinations that a config may have. */
export const LIPS = Array.from({ length: 15 }, (_, index) => `10.2.0.${201 + index}`);
/** What is behind these is away, or there by a route of the load balancer's. */
export const DEAD_SERVERS = '10.64.0.0/10';
export const MORE_VIPS = { 4: '198.18.0.0/15', 6: 'fd00:18::/32' } as const;
const FIRST_LPORT = 1024;
/** Longer than the test takes. */
const TIMEOUTS = { oneway: '1h', normal: '1h' };

export interface LargeService {
  name: string;
  vip: string[];
  vport: number;
  lips: readonly string[];
  timeouts: typeof TIMEOUTS;
  realServers: { ip: string; port: number }[];
}

const deadServer = (number: number) => ({ ip: `10.64.${number >> 8}.${number & 255}`, port: 7000 });
/** The one that the reload adds. */
export const ADDED_SERVER = deadServer(SERVERS);

const serviceOf = (index: number, realServers: LargeService['realServers']): LargeService => ({
  name: `more-${index}`,
  vip: [`198.18.${index >> 8}.${index & 255}`, `fd00:18::${index.toString(16)}`],
  vport: 20_000 + index,
  lips: LIPS,
  timeouts: TIMEOUTS,
  realServers,
});

/** All services but the first; the last has the one real server that is alive. */
export function moreServices(live: { ip: string; port: number }): LargeService[] {
  const dead = Array.from({ length: SERVERS - 3 }, (_, number) => deadServer(number));
  const services = SERVICES - 2;
  const shares = Array.from({ length: services }, (_, index) =>
    dead.filter((_server, number) => number % services === index),
  );
  return [...shares, [live]].map((realServers, index) => serviceOf(index + 1, realServers));
}

/** Of an IPv6 client that the state file has a session of. */
export const SAVED_CLIENT = '2001:db8::1:86a0';

/**
 * Half of the clients are over IPv6; every second real server that is away has sessions, by one of its LIPs.
 */
export function writeState(path: string, services: readonly LargeService[], workers: number): void {
  let leg = 0;
  const planned = services.map(
    (service, index): StateService => ({
      index,
      name: service.name,
      vips: service.vip,
      vport: service.vport,
      lports: { first: FIRST_LPORT, last: 65_535 },
      onewayMs: 3_600_000,
      normalMs: 3_600_000,
      realServers: service.realServers.map((server) => ({
        ...server,
        dialect: 'ipo',
        legs: LIPS.map((lip) => ({ index: leg++, lip })),
      })),
    }),
  );
  const servers = planned.flatMap(({ index, realServers }) =>
    realServers.map(({ legs }) => ({ index, legs })),
  );
  const records = new Int32Array(SESSIONS * SESSION_WORDS);
  const nowMs = 1 << 24;
  for (let session = 0; session < SESSIONS; session++) {
    const base = session * SESSION_WORDS;
    const place = Math.floor(session / SESSIONS_PER_LEG);
    const { index, legs } = servers[2 * place];
    const isV6 = session % 2 === 0;
    records.set(
      isV6 ? [0x2001_0db8, 0, 0, session] : [0, 0, V4_MAPPED, 0x0b00_0000 + session],
      base + CLIENT,
    );
    records[base + CPORT_SERVICE] = (5000 << 16) | index;
    records[base + LEG_MTU] = legs[place % legs.length].index;
    records[base + LAST_SEEN] = nowMs - (session % 60_000);
    startHandshake(records, base + HANDSHAKE, nowMs);
    // Few are unanswered, for which a quarter of the table would be room.
    const state = session % 10 < 8 ? FLAG_NORMAL : 0;
    records[base + LPORT_FLAGS] = ((FIRST_LPORT + (session % SESSIONS_PER_LEG)) << 16) | FLAG_USED | state;
  }
  const meta = { workers, key: new Uint8Array(), wallMs: Date.now() };
  const outcome = saveSessions(new WholeFile(path), [{ records, slots: SESSIONS }], planned, meta, nowMs);
  if ('problem' in outcome || outcome.saved !== SESSIONS) throw new Error(JSON.stringify(outcome));
}
