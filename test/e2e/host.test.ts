// The proxy as a guest of its host: other people's firewall rules, pings and ports on the same addresses, and
// what is left when it ends, however it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS, type Topology } from '../../src/lab/topology.ts';
import { type Rig, startRig, until } from './harness.ts';
import { ICMP_ERRORS, PAIRS } from './pairs.ts';

const OTHER_PORT = 6999;

function masquerade(topology: Topology): void {
  topology.exec(
    'lb',
    ['nft', '-f', '-'],
    `
    table ip nat {
      chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "lan0" masquerade
        oifname "wan0" masquerade
      }
    }
    table ip6 nat {
      chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "lan0" masquerade
        oifname "wan0" masquerade
      }
    }`,
  );
}

/** nft tables in the proxy's namespace, without those named. */
function tables(topology: Topology, ...except: string[]): string[] {
  const listed = topology.exec('lb', ['nft', 'list', 'tables']).split('\n').filter(Boolean);
  return listed.filter((table) => !except.includes(table));
}

/** Without those that the kernel gives an interface itself, when it gets to it. */
function addresses(topology: Topology): string[] {
  const listed = topology.exec('lb', ['ip', '-o', 'address', 'show']);
  const all = [...listed.matchAll(/inet6? ([0-9a-f.:]+)/g)].map((match) => match[1]);
  return all.filter((address) => !address.startsWith('fe80:'));
}

/** Waits until nothing runs in any of the namespaces; the kernel needs a moment to take a process down. */
const untilNobodyIsLeft = (rig: Rig): Promise<void> =>
  until('no process is left', () => rig.topology.pids().length === 0);

/**
 * Waits until the guard is gone: the kernel closes what a process has a moment after that left its namespace.
 */
const untilNoTableIsLeft = (rig: Rig): Promise<void> =>
  until('no table is left', () => tables(rig.topology).length === 0);

for (const { name, dialect, full, ...pair } of [PAIRS[4], PAIRS[6]]) {
  const options = { pair, uoa: { dialect } };

  test(`${name}: a MASQUERADE rule of the host does not rewrite LIP:lport`, async (t) => {
    const rig = await startRig(t, { ...options, beforeProxy: masquerade });
    const servers = await rig.startServers();
    const clients = await rig.clients({ portsPerAddress: 10, count: 3000, sizes: [26, 512, full] });
    assert.equal(clients.answered, 3000);
    assert.equal(clients.altered, 0);
    for (const server of servers) {
      const { clients: learned, wrong, unattributed } = await server.end();
      assert.deepEqual({ wrong, unattributed }, { wrong: 0, unattributed: 0 });
      const locals = Object.keys(learned as object).map((local) => local.replace(/^\[|\]?:\d+$/g, ''));
      assert.ok(locals.length > 0);
      assert.deepEqual([...new Set(locals)].sort(), LIPS[pair.server]);
    }
    const rules = rig.topology.exec('lb', ['nft', 'list', 'ruleset']);
    assert.match(rules, /table ip6 nat[\s\S]*masquerade/, 'the rules were there all along');
  });

  test(`${name}: ping and other UDP ports of the VIP are the host's, which answers nothing else`, async (t) => {
    const rig = await startRig(t, options);
    assert.equal((await rig.probe('ping')).answered, true);
    const { results: refused } = await rig.probe('exchange', { to: [rig.vip, OTHER_PORT], sizes: [64] });
    assert.deepEqual(refused, ['ECONNREFUSED'], 'the kernel answers with port unreachable');
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', ICMP_ERRORS, 'in');
    const lan = await rig.watch('rs', 'eth0', ICMP_ERRORS, 'in');
    const { results } = await rig.probe('exchange', { sizes: [64, 0, full, 4000, 64], pauseMs: 20 });
    assert.deepEqual(results, ['same', 'same', 'same', 'same', 'same']);
    await Promise.all(servers.map((server) => server.end()));
    await wan.none('frame', 'the clients get no ICMP error');
    await lan.none('frame', 'the real servers get no ICMP error');
  });

  test(`${name}: SIGTERM ends it with exit code 0 and gives the host back as it was`, async (t) => {
    let before: string[] = [];
    const rig = await startRig(t, {
      ...options,
      beforeProxy: (topology) => {
        before = addresses(topology);
      },
    });
    assert.ok(addresses(rig.topology).includes(rig.vip), 'the VIP is assigned meanwhile');
    const guards = pair.client === 6 ? 2 : 1;
    assert.equal(
      tables(rig.topology).length,
      guards,
      'the guard is there meanwhile, for each family that is served',
    );
    assert.equal(await rig.proxy.stop('SIGTERM'), 0);
    assert.deepEqual(addresses(rig.topology), before);
    await untilNoTableIsLeft(rig);
    await untilNobodyIsLeft(rig);
  });
}

test('packets that a rule of the host decides about leave at layer 2 as others do', async (t) => {
  const rig = await startRig(t, {
    io: { mode: 'ring', workers: 2 },
    beforeProxy: (topology) => {
      topology.exec('lb', 'ip rule add not fwmark 7 lookup 100 pref 50'.split(' '));
    },
  });
  const servers = await rig.startServers();
  const { answered } = await rig.clients({ portsPerAddress: 10, count: 300, sizes: [64] });
  assert.equal(answered, 300);
  const sent = await rig.metric('io_sent_total');
  assert.ok(sent >= 600);
  // Those that come before a neighbor is known, and one per neighbor now and then.
  assert.ok((await rig.metric('io_sent_by_ip_total')) < sent / 2);
  await Promise.all(servers.map((server) => server.end()));
});

test('SIGKILL leaves no guard and no process', async (t) => {
  const rig = await startRig(t);
  assert.equal(tables(rig.topology).length, 1);
  assert.equal(await rig.proxy.stop('SIGKILL'), null);
  await untilNobodyIsLeft(rig);
  await untilNoTableIsLeft(rig);
});

test('after a SIGKILL it starts again on the same addresses', async (t) => {
  const rig = await startRig(t);
  await rig.proxy.stop('SIGKILL');
  await untilNobodyIsLeft(rig);
  const again = rig.startProxy();
  await again.ready();
  const servers = await rig.startServers();
  assert.deepEqual((await rig.probe('exchange', { sizes: [64, 0, 1472] })).results, ['same', 'same', 'same']);
  await Promise.all(servers.map((server) => server.end()));
  assert.equal(await again.stop('SIGTERM'), 0);
});

test('during a flood /metrics answers, ping answers and SIGTERM ends it with exit code 0', async (t) => {
  const rig = await startRig(t);
  await rig.startServers();
  const floods = ['10.1.0.2', '10.1.0.3'].map((bind) =>
    rig.startProbe('flood', { bind, size: 64, seconds: 60 }),
  );
  await Promise.all(floods.map((flood) => flood.ready));
  const counted = () => rig.metric('packets_total', { direction: 'inbound' });
  await until('packets are counted', async () => (await counted()) > 0);
  const first = await counted();
  await until('and go on being counted', async () => (await counted()) > first);
  assert.equal((await rig.proxy.get('/healthz')).status, 200);
  assert.equal((await rig.probe('ping')).answered, true);
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  await untilNoTableIsLeft(rig);
  for (const flood of floods) flood.child.kill('SIGKILL');
});
