// The fast path outlives its process where it is pinned, and ends where nobody comes back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { threeInARow } from '../io/namespaces.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import {
  ask,
  keepAsking,
  linkOf,
  optionsFor,
  reportOf,
  SESSIONS,
  setOffloads,
  start,
  startServers,
  WAN_LAN,
} from './live.ts';

describe('where it is pinned', () => {
  const asking = { rounds: 5, length: 64, copies: 1 };
  const five = new Array(5).fill(1);

  for (const [how, change] of [
    ['xdp', { kind: 'xdp' }],
    ['tcx', { kind: 'tc' }],
    ['clsact', { kind: 'tc', withoutTcx: true }],
  ] as const) {
    test(`by ${how}, it goes on without its process, the next one takes it over, and no datagram is lost`, async (t) => {
      const root = join(mountBpffs(t), 'proxy');
      const network = threeInARow(t);
      setOffloads(network.client, 'c0', { gro: 1, tx: 0 });
      setOffloads(network.server, 's0', { gro: 1, tx: 0 });
      const servers = await startServers(t, network.server, 1);
      const first = start(t, network, optionsFor(network, { ...change, root }));
      const attached = await first.next<{ how: string; wasThere: boolean }[]>('attached');
      if (attached[0].how !== how) return t.skip(`this kernel has no ${how}`);
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five);
      const steady = keepAsking(t, network.client, SESSIONS[1]);
      first.child.kill('SIGKILL');
      await once(first.child, 'close');
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five, 'nobody is there');

      const next = start(t, network, optionsFor(network, { ...change, root, sessions: [] }));
      assert.deepEqual(await next.next('attached'), [
        { how, wasThere: true },
        { how, wasThere: true },
      ]);
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five);
      const { rounds, short } = await steady.stop();
      assert.equal(short, 0, `of ${rounds} datagrams in between`);
      assert.deepEqual(
        (await reportOf(next)).activity.map(([[packets]]) => packets),
        [15, rounds],
        'what nobody folded is not lost',
      );
      next.write('end');
      await next.next('done');
      assert.deepEqual(ask(network.client, SESSIONS[0], { ...asking, waitMs: 300 }), [0, 0, 0, 0, 0]);
      assert.ok((await reportOf(next)).passed.ended >= 5);
      await next.stop();
      assert.deepEqual(
        (await servers.stop()).map(({ received }) => received),
        [15, rounds],
      );
    });
  }

  test('a link that is not wanted any more, as in the other kind, is removed', async (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const network = threeInARow(t);
    const first = start(t, network, optionsFor(network, { root, kind: 'xdp', stays: true }));
    await first.next('attached');
    await first.stop();
    assert.notEqual(linkOf(network.lb, 'wan0').xdp, undefined);
    const ports = [WAN_LAN[0]];
    const next = start(t, network, optionsFor(network, { root, kind: 'tc', ports, sessions: [] }));
    assert.deepEqual(
      (await next.next<string[]>('removed')).sort(),
      ['lan0', 'wan0'].map((device) => `xdp-${linkOf(network.lb, device).ifindex}`).sort(),
    );
    await next.next('attached');
    for (const device of ['lan0', 'wan0']) assert.equal(linkOf(network.lb, device).xdp, undefined);
    await next.stop();
  });

  test('it ends when nobody says for long that he lives', async (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const network = threeInARow(t);
    await startServers(t, network.server, 1);
    // 2.7 s, in which a machine that stands still may hinder the first asking.
    const first = start(t, network, optionsFor(network, { root, aliveTicks: 20 }));
    await first.next('attached');
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    const once1 = { rounds: 1, length: 64, copies: 1, waitMs: 200 };
    const deadline = performance.now() + 60_000;
    while (ask(network.client, SESSIONS[0], once1)[0] > 0)
      assert.ok(performance.now() < deadline, 'it still forwards');
    const next = start(t, network, optionsFor(network, { root, sessions: [] }));
    await next.next('attached');
    assert.ok((await reportOf(next)).passed.dead >= 1);
    assert.deepEqual(ask(network.client, SESSIONS[0], asking), five, 'it is alive again');
    await next.stop();
  });
});
