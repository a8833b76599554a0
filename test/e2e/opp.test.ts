// Dialect opp against the reference real server, which takes protocol 248 apart as a kernel module does, and
// against servers whose kernels know nothing of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listen, type ServerEvent, type ServerTotals } from '../../src/lab/events.ts';
import { startRealServer } from '../../src/lab/programs.ts';
import { type Rig, startRig } from './harness.ts';
import { ALL_PAIRS, ICMP_ERRORS, PAIRS, STRANGE_TO_CLIENTS } from './pairs.ts';
import { assertAllRight, endAll, sumOf } from './tally.ts';

interface Served {
  totals: ServerTotals;
  clients: string[];
}

/** Starts the lab's real servers; the function ends them. */
async function startReaders(rig: Rig): Promise<() => Promise<Served[]>> {
  const results: Served[] = [];
  const servers = rig.realServers.map((address) => {
    const child = startRealServer(rig.topology, address);
    const ready = new Promise<void>((resolve) => {
      listen<ServerEvent>(child, (event) => {
        if (event.event === 'ready') resolve();
        if (event.event === 'result') {
          results.push({ totals: event.totals, clients: event.learned.map(({ client }) => client) });
        }
      });
    });
    return { child, ready };
  });
  await Promise.all(servers.map((server) => server.ready));
  return async () => {
    await Promise.all(
      servers.map(async ({ child }) => {
        child.stdin?.end();
        await once(child, 'close');
      }),
    );
    return results;
  };
}

for (const pair of ALL_PAIRS) {
  test(`${pair.name}, opp: 3,000 datagrams of 100 clients arrive unchanged and each client address is right`, async (t) => {
    const rig = await startRig(t, { pair, clients: 10, uoa: { dialect: 'opp' } });
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
    const lan = await rig.watch('rs', 'eth0', `ip proto 248 or ip6[6] = 248 or ${ICMP_ERRORS}`);
    const end = await startReaders(rig);
    const sizes = [26, 64, 512, 1200, pair.full];
    const clients = await rig.clients({ portsPerAddress: 10, count: 3000, sizes });
    const results = await end();

    const { answered, altered, missing, unexpected, refused } = clients;
    assert.deepEqual(
      { answered, altered, missing, unexpected, refused },
      { answered: 3000, altered: 0, missing: 0, unexpected: 0, refused: 0 },
    );
    const sum = (key: keyof ServerTotals) => results.reduce((total, { totals }) => total + totals[key], 0);
    assert.deepEqual(
      { attributed: sum('attributed'), unattributed: sum('unattributed'), wrong: sum('wrong') },
      { attributed: 3000, unattributed: 0, wrong: 0 },
    );
    assert.equal(new Set(results.flatMap((result) => result.clients)).size, 100);
    assert.equal(await rig.metric('uoa_acked_total'), 100, 'each session was acknowledged');
    const repeated = await rig.metric('uoa_ack_repeated_total');
    assert.equal(100 + repeated, sum('acks'), 'each echo ACK is consumed');
    await wan.none('frame', 'nothing strange reaches the clients');
    await lan.none('icmp or icmpv6', 'and no ICMP error is about it');
    const carried = await lan.matching('ip.proto == 248 or ipv6.nxt == 248');
    assert.equal(carried.count, sum('uoas') + sum('acks'), 'the witness saw each UOA and each echo ACK');
    // Over IPv6 a large one crashes receivers: it is empty there.
    const large = await lan.matching('ipv6.nxt == 248 and ipv6.plen > 100');
    assert.equal(large.count, 0, 'over IPv6 opp comes in carriers only');
  });
}

for (const pair of [PAIRS[4], PAIRS[6]]) {
  test(`${pair.name}, opp: a server without a receiver gets plain datagrams after its first refusal`, async (t) => {
    const rig = await startRig(t, { pair, clients: 5, servers: 1, uoa: { dialect: 'opp' } });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS, 'in');
    await rig.probe('exchange', { sizes: [64] });
    assert.equal(await rig.metric('uoa_unsupported_total'), 1);
    const clients = await rig.clients({ portsPerAddress: 10, count: 500, sizes: [64, 0, pair.full] });
    const ended = await endAll(servers);
    const { answered, altered, missing, unexpected } = clients;
    assert.deepEqual(
      { answered, altered, missing, unexpected },
      { answered: 500, altered: 0, missing: 0, unexpected: 0 },
    );
    assert.equal(sumOf(ended, 'uoas'), 0);
    await wan.none('frame', 'the refusal stays between the proxy and the server');
    await assertRefusalLoggedOnce(t, rig);
  });
}

for (const [pair, onUnsupported] of [
  [PAIRS[4], 'ipo'],
  [PAIRS.nat64, 'unified'],
  [PAIRS.nat46, 'elb'],
] as const) {
  test(`${pair.name}, opp falls back to ${onUnsupported} where no receiver is`, async (t) => {
    const rig = await startRig(t, { pair, clients: 5, servers: 1, uoa: { dialect: 'opp', onUnsupported } });
    const servers = await rig.startServers();
    await rig.probe('exchange', { sizes: [64] });
    const sizes = [64, 26, pair.full];
    const clients = await rig.clients({ portsPerAddress: 10, count: 500, sizes });
    const ended = await endAll(servers);
    // Over IPv6 opp goes ahead in a carrier, so that what the first client sent arrived, without its name.
    const nameless = pair.server === 6 ? 1 : 0;
    assertAllRight(clients, ended, 500, nameless);
    await assertRefusalLoggedOnce(t, rig);
  });
}

/** Waits for the warning about the first real server, and fails when it comes more than once. */
async function assertRefusalLoggedOnce(t: TestContext, { proxy, realServers }: Rig): Promise<void> {
  const warnings = () =>
    proxy.log
      .split('\n')
      .filter((line) => line.includes('"level":"warn"') && line.includes(realServers[0].ip));
  while (warnings().length === 0 && !t.signal.aborted) await sleep(50);
  await proxy.stop();
  assert.equal(warnings().length, 1, proxy.log);
}
