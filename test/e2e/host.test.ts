// The proxy as a guest of its host: other people's firewall rules, pings and ports on the same addresses, and what is left
// when it ends, however it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Topology } from '../../src/lab/topology.ts';
import { type Rig, startRig } from './harness.ts';

const VIP_ONLY = { port: 6999 };

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
    }`,
  );
}

/** nft tables in the proxy's namespace, without those named. */
function tables(topology: Topology, ...except: string[]): string[] {
  const listed = topology.exec('lb', ['nft', 'list', 'tables']).split('\n').filter(Boolean);
  return listed.filter((table) => !except.includes(table));
}

function addresses(topology: Topology): string[] {
  const listed = topology.exec('lb', ['ip', '-o', '-4', 'address', 'show']);
  return [...listed.matchAll(/inet ([0-9.]+)/g)].map((match) => match[1]!);
}

/** Waits until nothing runs in any of the namespaces; the kernel needs a moment to take a process down. */
async function untilNobodyIsLeft(rig: Rig): Promise<void> {
  for (let tries = 0; tries < 100 && rig.topology.pids().length > 0; tries++) await sleep(50);
  assert.deepEqual(rig.topology.pids(), [], 'no process is left');
}

test('a MASQUERADE rule of the host does not rewrite LIP:lport', async (t) => {
  const rig = await startRig(t, { beforeProxy: masquerade });
  const servers = await rig.startServers();
  const clients = await rig.clients({ portsPerAddress: 10, count: 3000, sizes: [26, 512, 1472] });
  assert.equal(clients.answered, 3000);
  assert.equal(clients.altered, 0);
  for (const server of servers) {
    const { clients: learned, wrong, unattributed } = await server.end();
    assert.deepEqual({ wrong, unattributed }, { wrong: 0, unattributed: 0 });
    const locals = Object.keys(learned as object).map((local) => local.split(':')[0]);
    assert.ok(locals.length > 0);
    assert.deepEqual([...new Set(locals)].sort(), ['10.2.0.200', '10.2.0.201']);
  }
  const ports = rig.topology.exec('lb', ['nft', 'list', 'table', 'ip', 'nat']);
  assert.match(ports, /masquerade/, 'the rule was there all along');
});

test('ping to the VIP answers while the proxy runs', async (t) => {
  const rig = await startRig(t);
  assert.equal((await rig.probe('ping')).answered, true);
});

test('another UDP port of the VIP is the business of the host', async (t) => {
  const rig = await startRig(t);
  const { results } = await rig.probe('exchange', { to: [rig.vip, VIP_ONLY.port], sizes: [64] });
  assert.deepEqual(results, ['ECONNREFUSED'], 'the kernel answers with port unreachable');
});

test("the host's kernel answers neither the clients nor the real servers", async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', 'icmp', 'in');
  const lan = await rig.watch('rs', 'eth0', 'icmp', 'in');
  const { results } = await rig.probe('exchange', { sizes: [64, 0, 1472, 64], pauseMs: 20 });
  assert.deepEqual(results, ['same', 'same', 'same', 'same']);
  await Promise.all(servers.map((server) => server.end()));
  await wan.none('icmp', 'the clients get no ICMP');
  await lan.none('icmp', 'the real servers get no ICMP');
});

test('SIGTERM ends it with exit code 0 and gives the host back as it was', async (t) => {
  let before: string[] = [];
  const rig = await startRig(t, {
    beforeProxy: (topology) => {
      before = addresses(topology);
    },
  });
  assert.ok(addresses(rig.topology).includes(rig.vip), 'the VIP is assigned meanwhile');
  assert.equal(tables(rig.topology).length, 1, 'the guard is there meanwhile');
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  assert.deepEqual(addresses(rig.topology), before);
  assert.deepEqual(tables(rig.topology), []);
  await untilNobodyIsLeft(rig);
});

test('SIGKILL leaves no guard and no process', async (t) => {
  const rig = await startRig(t);
  assert.equal(tables(rig.topology).length, 1);
  assert.equal(await rig.proxy.stop('SIGKILL'), null);
  await untilNobodyIsLeft(rig);
  assert.deepEqual(tables(rig.topology), []);
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
  await sleep(1000);
  const first = await rig.metric('packets_total', { direction: 'inbound' });
  assert.ok(first > 0, 'packets are counted');
  await sleep(500);
  const second = await rig.metric('packets_total', { direction: 'inbound' });
  assert.ok(second > first, 'and go on being counted');
  assert.equal((await rig.proxy.get('/healthz')).status, 200);
  assert.equal((await rig.probe('ping')).answered, true);
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  assert.deepEqual(tables(rig.topology), []);
  for (const flood of floods) flood.child.kill('SIGKILL');
});
