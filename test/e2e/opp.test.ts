// Dialect opp against the reference real server, which takes protocol 248 apart as a kernel module does, and against a
// server whose kernel knows nothing of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { listen, type ServerEvent, type ServerTotals } from '../../src/lab/events.ts';
import { startRealServer } from '../../src/lab/programs.ts';
import { startRig } from './harness.ts';

test('opp: 10,000 datagrams of 100 clients arrive unchanged and each client address is right', async (t) => {
  const rig = await startRig(t, { clients: 10, uoa: { dialect: 'opp' } });
  const wan = await rig.watch('client', 'eth0', 'ip proto 248 or icmp or ip[0] & 0x0f > 5');
  const lan = await rig.watch('rs', 'eth0', 'ip proto 248');
  const results: { totals: ServerTotals; clients: string[] }[] = [];
  const servers = rig.realServers.map((address) => {
    const child = startRealServer(rig.topology, { ...address, dialect: 'opp' });
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

  const clients = await rig.clients({ portsPerAddress: 10, count: 10_000, sizes: [14, 64, 512, 1200, 1472] });
  await Promise.all(
    servers.map(async ({ child }) => {
      child.stdin?.end();
      await once(child, 'close');
    }),
  );

  const { answered, altered, missing, unexpected, refused } = clients;
  assert.deepEqual(
    { answered, altered, missing, unexpected, refused },
    { answered: 10_000, altered: 0, missing: 0, unexpected: 0, refused: 0 },
  );
  const sum = (key: keyof ServerTotals) => results.reduce((total, { totals }) => total + totals[key], 0);
  assert.deepEqual(
    { attributed: sum('attributed'), unattributed: sum('unattributed'), wrong: sum('wrong') },
    { attributed: 10_000, unattributed: 0, wrong: 0 },
  );
  assert.equal(new Set(results.flatMap((result) => result.clients)).size, 100);
  assert.equal(await rig.metric('uoa_acked_total'), sum('acks'), 'each echo ACK is consumed');
  await wan.none('ip.proto == 248 or icmp.type == 3', 'nothing strange reaches the clients');
  const carried = await lan.matching('ip.proto == 248');
  assert.equal(carried.count, sum('uoas') + sum('acks'), 'the witness saw each UOA and each echo ACK');
});

test('opp to a server without a receiver: what is not carried inside protocol 248 still passes', async (t) => {
  const rig = await startRig(t, { servers: 1, uoa: { dialect: 'opp' } });
  const servers = await rig.startServers();
  // Three trials are lost on such a server; the fourth datagram is plain.
  const { answered, missing } = await rig.clients({
    portsPerAddress: 1,
    count: 24,
    sizes: [64],
    timeoutMs: 500,
  });
  await Promise.all(servers.map((server) => server.end()));
  assert.deepEqual({ answered, missing }, { answered: 24 - 9, missing: 9 });
});
