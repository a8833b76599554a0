// /metrics as Prometheus itself reads it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { startRig } from './harness.ts';
import { PAIRS } from './pairs.ts';

test('promtool finds nothing wrong with /metrics', async (t) => {
  const rig = await startRig(t);
  await rig.startServers();
  await rig.probe('exchange', { sizes: [64, 0, 1472] });
  const { status, body } = await rig.proxy.get('/metrics');
  assert.equal(status, 200);
  const result = spawnSync('promtool', ['check', 'metrics'], { input: body, encoding: 'utf8' });
  if (result.error) throw new Error('this test needs promtool; on Debian it is in the package prometheus');
  assert.equal(result.status, 0, result.stdout + result.stderr);
  assert.equal(result.stderr, '', 'not even a remark');
});

for (const { name, dialect, ...pair } of [PAIRS[4], PAIRS[6]]) {
  test(`${name}: no label of a metric holds a client address or port`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect } });
    await rig.startServers();
    const { client } = await rig.probe('exchange', { sizes: [64] });
    const { body } = await rig.proxy.get('/metrics');
    const [, ip, port] = /^\[?(.*?)\]?:(\d+)$/.exec(String(client))!;
    assert.equal(body.includes(`${ip}"`), false);
    assert.equal(body.includes(`"${port}"`), false);
    assert.equal(body.includes(`${port}"`), false);
    const series = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.ok(series.length < 500, `${series.length} series for one service`);
  });
}

test('counters agree with what the clients sent', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { sent } = await rig.clients({ portsPerAddress: 4, count: 1200, sizes: [64] });
  await Promise.all(servers.map((server) => server.end()));
  assert.equal(sent, 1200);
  assert.deepEqual(
    {
      received: await rig.metric('packets_total', { direction: 'inbound', service: 'test' }),
      forwarded: await rig.metric('forwarded_packets_total', { direction: 'inbound' }),
      back: await rig.metric('forwarded_packets_total', { direction: 'outbound' }),
      sessions: await rig.metric('sessions', { state: 'normal' }),
      created: await rig.metric('sessions_created_total'),
      uoas: await rig.metric('uoa_sent_total', { carriage: 'inserted' }),
      exhausted: await rig.metric('uoa_exhausted_total'),
    },
    { received: 1200, forwarded: 1200, back: 1200, sessions: 12, created: 12, uoas: 36, exhausted: 12 },
  );
});
