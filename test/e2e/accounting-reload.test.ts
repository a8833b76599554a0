// Services and real servers come and go, and what each counted stays its own: the equations of
// docs/operations.md hold, and no counter of a name goes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS, VPORT } from '../../src/lab/topology.ts';
import { balanced, readBooks, watchBooks } from './books.ts';
import { type Rig, type RigConfig, startRig, until } from './harness.ts';

/** Reloads, and waits until each is over. */
function reloads(rig: Rig): (change: (config: RigConfig) => void) => Promise<void> {
  let count = 0;
  return async (change) => {
    count++;
    rig.rewriteConfig(change);
    rig.proxy.child.kill('SIGHUP');
    await until('the reload is over', async () => (await rig.metric('config_reloads_total')) >= count);
  };
}

test('services come and go: a number that is used anew inherits nothing, and no counter of a name goes back', async (t) => {
  const rig = await startRig(t, { servers: 1, clients: 1 });
  const servers = await rig.startServers();
  const other = (name: string, vport: number) => (config: RigConfig) => {
    const [game] = config.services;
    config.services = [game, { ...game, name, vport, lips: [LIPS[4][1]] }];
  };
  const alone = (config: RigConfig) => {
    config.services = config.services.slice(0, 1);
  };
  const reload = reloads(rig);
  const exchange = async (port: number, count: number) => {
    const sizes = Array(count).fill(64);
    const { results } = await rig.probe('exchange', { to: [rig.vip, port], sizes });
    assert.deepEqual(
      results,
      sizes.map(() => 'same'),
    );
  };
  const counts = async (service: string) => {
    const books = await balanced(rig);
    return ['packets', 'forwarded_packets', 'server_packets'].map((name) =>
      books.sum(name, { service, direction: 'inbound' }),
    );
  };
  const watched = watchBooks(rig);
  await exchange(VPORT, 5);
  await reload(other('b', 7000));
  await exchange(7000, 7);
  assert.deepEqual(await counts('b'), [7, 7, 7]);
  await reload(alone);
  await reload(other('c', 8000));
  assert.deepEqual(await counts('c'), [0, 0, 0], 'c has the number of b');
  await exchange(8000, 3);
  assert.deepEqual(await counts('c'), [3, 3, 3]);
  await reload(alone);
  await reload(other('b', 7000));
  await exchange(7000, 2);
  assert.deepEqual(await counts('b'), [9, 9, 9], 'b goes on');
  await reload(other('b', 7001));
  await exchange(7001, 1);
  assert.deepEqual(await counts('b'), [10, 10, 10], 'with another number at once');
  assert.deepEqual(await counts('test'), [5, 5, 5]);
  assert.deepEqual(await watched.end(), []);
  await Promise.all(servers.map((server) => server.end()));
});

test('what a real server that is gone had counts on in its service, and is its own again when it is back', async (t) => {
  const rig = await startRig(t, { servers: 2, clients: 1 });
  const servers = await rig.startServers();
  const [, staying] = rig.realServers;
  const reload = reloads(rig);
  const exchange = async () => {
    const { results } = await rig.probe('exchange', { sizes: [64, 64, 64] });
    assert.deepEqual(results, ['same', 'same', 'same']);
  };
  const inbound = { service: 'test', direction: 'inbound' };
  await exchange();
  await exchange();
  const before = await balanced(rig);
  const own = before.sum('server_packets', { ...inbound, rs: `${staying!.ip}:${VPORT}` });
  assert.deepEqual([before.sum('forwarded_packets', inbound), own], [6, 3]);
  let all: RigConfig['services'][0]['realServers'] = [];
  await reload(({ services: [service] }) => {
    service!.drainTimeout = '0s';
    all = service!.realServers;
    service!.realServers = all.filter(({ ip }) => ip === staying!.ip);
  });
  await exchange();
  const without = await readBooks(rig);
  assert.deepEqual(
    [without.sum('forwarded_packets', inbound), without.sum('server_packets', inbound)],
    [9, 6],
    'but not in the sum of those that there are',
  );
  await reload(({ services: [service] }) => {
    service!.realServers = all;
  });
  const again = await balanced(rig);
  assert.equal(again.sum('server_packets', inbound), 9);
  await Promise.all(servers.map((server) => server.end()));
});
