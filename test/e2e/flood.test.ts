// Clients go on while spoofed datagrams of millions of sources, which no real server answers, come in: as
// fast as this machine makes them, which is more than the proxy looks at, and at a rate at which all of them
// are looked at, where the flood has the table to fill and where it has the lports to take.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HIGHEST_RATE, ignoreFlood, lostByLinks, prepareFlood } from './flooding.ts';
import { type Rig, type RigOptions, startRig, until } from './harness.ts';

const SECONDS = 30;
/**
 * New sessions per second: what the proxy, the clients and the real servers leave of two processors, with
 * some room.
 */
const RATE = 70_000;
const ADDRESSES = 100;
const NEW_CLIENTS = 5;
const PORTS = 10;
const CLIENTS = ADDRESSES * PORTS;
/** How often as many new sockets come during the flood. */
const ROUNDS = 3;
/** Few under way, so that the load is modest: about 2,000 datagrams a second. */
const WINDOW = 2;

async function underFlood(rig: Rig, rate: number) {
  const flood = await prepareFlood(rig, rate, SECONDS);
  const servers = await rig.startServers();
  const addresses = rig.clientIps.slice(0, ADDRESSES);
  const load = { addresses, portsPerAddress: PORTS, sizes: [64], window: WINDOW, timeoutMs: 10_000 };
  const running = rig.startClients(load);
  await running.ready;
  // Each client is answered before the flood, or it would have no session that is worth keeping.
  await until('every client has a session', async () => {
    return (await rig.metric('sessions', { state: 'normal' })) === CLIENTS;
  });
  const over = flood();
  // New sockets of the same addresses, from when the flood has taken all that it gets.
  const newcomers = { sent: 0, answered: 0, missing: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    await sleep((SECONDS * 1000) / (ROUNDS + 2));
    const joined = await rig.clients({ ...load, count: CLIENTS });
    for (const name of ['sent', 'answered', 'missing'] as const) newcomers[name] += Number(joined[name]);
  }
  const made = await over;
  const clients = await running.end();
  await Promise.all(servers.map((server) => server.end()));
  return {
    sent: Number(made.sent),
    clients,
    newcomers,
    lost: {
      unknown: await rig.metric('io_lost_total', { sources: 'any' }),
      known: await rig.metric('io_lost_total', { sources: 'known' }),
      links: lostByLinks(rig.topology),
    },
  };
}

/** With persistence: all sessions of an address, those from before the flood and those that came in it. */
async function eachHasOneServer(rig: Rig): Promise<void> {
  const servers = new Map<string, Set<string>>();
  const limit = 1000;
  for (let offset = 0; ; offset += limit) {
    const { body } = await rig.proxy.get(`/sessions?state=normal&limit=${limit}&offset=${offset}`);
    const { sessions } = JSON.parse(body) as { sessions: { client: string; rs: string }[] };
    if (sessions.length === 0) break;
    for (const { client, rs } of sessions) servers.set(client, (servers.get(client) ?? new Set()).add(rs));
  }
  const spread = [...servers].filter(([, all]) => all.size > 1).map(([client]) => client);
  assert.deepEqual([servers.size, spread], [ADDRESSES, []], 'clients, and those with two real servers');
}

/** Clients of whom none was answered before. */
async function newClientsAreServed(rig: Rig): Promise<void> {
  const servers = await rig.startServers();
  const addresses = rig.clientIps.slice(ADDRESSES);
  const count = addresses.length * PORTS;
  const load = { addresses, portsPerAddress: PORTS, count, sizes: [64], timeoutMs: 10_000 };
  const { answered, missing } = await rig.clients(load);
  assert.deepEqual([answered, missing], [count, 0], 'new clients after the flood');
  await Promise.all(servers.map((server) => server.end()));
}

interface Scenario {
  name: string;
  rate: number;
  options: RigOptions;
  /** `lost`: what of the flood found no room in the ring of unknown sources. */
  check(rig: Rig, sent: number, lost: number): Promise<void>;
}

const scenarios: Scenario[] = [
  {
    name: 'as fast as it can be made',
    rate: HIGHEST_RATE,
    options: { config: { sessions: { max: 80_000, onewayShare: 25 } } },
    check: async (rig, sent, lost) => {
      assert.ok(lost > 100_000, `it is more than the proxy can look at: ${lost} of ${sent} are lost`);
      assert.ok((await rig.metric('sessions_evicted_total')) > 20_000);
    },
  },
  {
    name: 'that turns the table over many times',
    rate: RATE,
    options: { config: { sessions: { max: 80_000, onewayShare: 25 } } },
    check: async (rig, sent) => {
      const evicted = await rig.metric('sessions_evicted_total');
      assert.ok(evicted > 10 * 20_000, `${evicted} evicted of ${sent}`);
      assert.ok((await rig.metric('sessions', { state: 'oneway' })) <= 20_000);
      assert.equal(await rig.metric('drops_total', { reason: 'lports_exhausted' }), 0);
    },
  },
  {
    name: 'that turns the lports over many times, all but the reserve',
    rate: RATE,
    options: {
      config: { sessions: { max: 80_000, lportReserve: 30 } },
      // The reserve is more than all new sockets of the clients take.
      service: { lports: '20000-23999', persistence: '300s' },
    },
    check: async (rig, sent, lost) => {
      const displaced = await rig.metric('sessions_displaced_total');
      assert.ok(
        displaced > Math.max((sent - lost) / 2, 50_000),
        `${displaced} of ${sent - lost} got the lport of another`,
      );
      assert.equal(await rig.metric('sessions_evicted_total'), displaced);
      for (const reason of ['lports_exhausted', 'lports_reserved'])
        assert.equal(await rig.metric('drops_total', { reason }), 0, reason);
      await eachHasOneServer(rig);
      await newClientsAreServed(rig);
    },
  },
];

describe(`${CLIENTS} clients and a flood of ${SECONDS} seconds`, () => {
  for (const { name, rate, options, check } of scenarios) {
    test(`${name}: they lose nothing, and new sockets of theirs are served`, {
      timeout: 180_000,
    }, async (t) => {
      const rig = await startRig(t, {
        clients: ADDRESSES + NEW_CLIENTS,
        servers: 2,
        io: { mode: 'ring', workers: 1 },
        beforeProxy: ignoreFlood,
        ...options,
      });
      const { sent, clients, newcomers, lost } = await underFlood(rig, rate);
      const seen = await rig.metric('packets_total', { direction: 'inbound' });
      t.diagnostic(
        `flood: ${sent} sent, ${seen} seen, lost ${JSON.stringify(lost)}; clients: ${clients.sent} sent, ` +
          `${clients.answered} answered, ${clients.missing} missing; newcomers: ${newcomers.answered} of ${newcomers.sent}; ` +
          `evicted ${await rig.metric('sessions_evicted_total')}, created ${await rig.metric('sessions_created_total')}`,
      );
      assert.ok(sent > 0.2 * RATE * SECONDS, 'the flood was one');
      assert.equal(clients.altered, 0);
      assert.equal(lost.known, 0, 'the flood has no part in the rings of known sources');
      // What a link lost between two namespaces never came to the proxy, or had left it.
      assert.ok(Number(clients.missing) <= lost.links, `missing with ${lost.links} lost by links`);
      assert.ok(
        newcomers.missing <= lost.links + lost.unknown,
        'the first packet of a socket is of an unknown source',
      );
      await check(rig, sent, lost.unknown);
    });
  }
});
