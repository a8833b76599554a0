// Two workers are one proxy: turns and lports are those of the service, wherever the kernel's hash brings the
// clients.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRig } from './harness.ts';

const io = { mode: 'ring', workers: 2 } as const;

test('the first 8 sessions over 4 real servers are 2 for each', async (t) => {
  const rig = await startRig(t, { io, servers: 4 });
  await rig.startServers();
  const { answered } = await rig.clients({
    addresses: [rig.clientIps[0]],
    portsPerAddress: 8,
    count: 8,
    sizes: [64],
  });
  assert.equal(answered, 8);
  const sessions = await Promise.all(
    rig.realServers.map(({ ip, port }) => rig.metric('server_sessions', { rs: `${ip}:${port}` })),
  );
  assert.deepEqual(sessions, [2, 2, 2, 2]);
});

test('8 lports serve 8 clients, and a ninth finds none', async (t) => {
  const rig = await startRig(t, {
    io,
    servers: 1,
    service: { lports: '2000-2007', lips: ['10.2.0.200'] },
    config: { sessions: { lportReserve: 0 } },
  });
  await rig.startServers();
  const options = { addresses: [rig.clientIps[0]], sizes: [64, 1472] };
  const all = await rig.clients({ ...options, portsPerAddress: 8, count: 800 });
  assert.deepEqual([all.answered, all.altered, all.missing, all.unexpected], [800, 0, 0, 0]);
  assert.equal(await rig.metric('sessions', { state: 'normal' }), 8);
  assert.equal(await rig.metric('lports_in_use'), 8);
  const ninth = await rig.clients({
    ...options,
    addresses: [rig.clientIps[1]],
    portsPerAddress: 1,
    count: 1,
    timeoutMs: 2000,
  });
  assert.equal(ninth.answered, 0);
  assert.ok((await rig.metric('drops_total', { reason: 'lports_exhausted' })) > 0);
  const counted = await Promise.all(
    (['packets_total', 'forwarded_packets_total'] as const).map((name) =>
      rig.metric(name, { service: 'test', direction: 'inbound' }),
    ),
  );
  assert.deepEqual(counted, [801, 800], 'a packet that was passed on is received once');
});
