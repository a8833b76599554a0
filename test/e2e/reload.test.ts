// The config changes while datagrams flow: what a service that is not touched loses (nothing), what becomes
// of the sessions of one that is, and that a wrong config changes nothing.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Rig, type RigConfig, startPython, startRig, until } from './harness.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;

const linesOf = (rig: Rig) =>
  rig.proxy.log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { msg: string; changes?: string[]; problems?: string[] });

/** Rewrites the config, sends SIGHUP and waits; returns what the proxy says of it. */
async function reload(rig: Rig, change: (config: RigConfig) => void) {
  const isOutcome = ({ msg }: { msg: string }) => msg === 'reloaded' || /^reload(:| failed)/.test(msg);
  const before = linesOf(rig).filter(isOutcome).length;
  rig.rewriteConfig(change);
  rig.proxy.child.kill('SIGHUP');
  await until('the reload is over', () => linesOf(rig).filter(isOutcome).length > before);
  return linesOf(rig).filter(isOutcome)[before];
}

/** Returns what ends it and says the moments at which the load balancer did not have the address. */
function watchAddress(rig: Rig, address: string): () => string[] {
  const script = `while :; do ip address | grep -q ' ${address}/' || echo gone; sleep 0.02; done`;
  const child = rig.topology.spawn('lb', ['sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  child.stdout?.on('data', (chunk) => lines.push(String(chunk)));
  return () => {
    child.kill('SIGKILL');
    return lines;
  };
}

test('services and real servers are added, changed and removed; the service that stays loses no datagram and no session', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, uoa: { maxTrials: 3 } });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const { ip } = rig.realServers[0];
  const vip = rig.vip.replace(/\d+$/, '120');
  const another = {
    name: 'another',
    vip,
    vport: 7000,
    lips: ['10.2.0.210'],
    realServers: [{ ip, port: 7001 }],
  };

  const added = await reload(rig, ({ services }) => void services.push(another));
  assert.deepEqual([added.msg, added.problems], ['reloaded', undefined]);
  const other = startPython(rig.topology, 'rs', 'server.py', { ip, port: 7001 });
  await other.ready;
  const heard = await startPython(rig.topology, 'client', 'clients.py', {
    addresses: rig.clientIps,
    portsPerAddress: 2,
    vip,
    vport: 7000,
    count: 200,
    window: 8,
    sizes: [64],
  }).result;
  assert.deepEqual([heard.answered, heard.missing], [200, 0]);

  const changed = await reload(rig, ({ services: [, one] }) => {
    one.scheduler = 'wlc';
    one.realServers[0].weight = 7;
    one.timeouts = { oneway: '20s' };
  });
  assert.equal(changed.msg, 'reloaded');
  assert.equal(await rig.metric('sessions', { service: 'another' }), 2 * CLIENTS, 'its sessions stay');

  const removed = await reload(rig, ({ services }) => void services.pop());
  assert.equal(removed.msg, 'reloaded');
  assert.equal(rig.topology.exec('lb', ['ip', 'address']).includes(vip), false, 'its address is gone');
  for (let i = 0; i < 10; i++) {
    const { msg, problems } = await reload(rig, ({ services }) => {
      if (services.length === 1) services.push(another);
      else services.pop();
    });
    assert.deepEqual([msg, problems], ['reloaded', undefined]);
  }
  assert.equal(await rig.metric('config_reloads_total', { result: 'ok' }), 13);
  const created = await rig.metric('sessions_created_total', { service: 'test' });
  const counted = await clients.end();
  assert.equal(created, ALL, 'no session of the service that stays was opened anew');
  t.diagnostic(`${counted.missing} of ${counted.sent} lost over 13 reloads`);
  assert.doesNotMatch(
    rig.proxy.log,
    /the host changed/,
    'what the reloads did to it is no change of the host',
  );
  assert.deepEqual(
    [counted.missing, counted.altered, counted.unexpected, counted.refused],
    [0, 0, 0, 0],
    'nothing is lost',
  );
  await Promise.all([...servers, other].map((server) => server.end()));
});

test('a real server that is taken out keeps its sessions until drainTimeout, then they go on elsewhere', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, service: { drainTimeout: '12s' } });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: 500 });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const gone = `${rig.realServers[0].ip}:${rig.realServers[0].port}`;
  const held = await rig.metric('server_sessions', { rs: gone }); // each worker takes turns by itself
  assert.ok(held > 0);
  const vip = rig.vip.replace(/\d+$/, '120');
  const { changes } = await reload(rig, ({ services }) => {
    const [server] = services[0].realServers.splice(0, 1);
    services.push({ name: 'another', vip, vport: 7000, lips: ['10.2.0.210'], realServers: [server] });
  });
  const unwatch = watchAddress(rig, vip);
  assert.match(changes!.join('\n'), /10\.2\.0\.11:6000 removed: its sessions stay for up to 12s/);
  assert.equal(await rig.metric('server_sessions', { rs: gone }), held);
  const others = await rig.clients({ portsPerAddress: PORTS, count: 100, sizes: [64] });
  assert.equal(others.missing, 0);
  assert.equal(await rig.metric('server_sessions', { rs: gone }), held, 'no new session went there');
  await until(
    'it is out',
    async () => (await rig.metric('server_sessions', { rs: gone, service: 'test' })) === 0,
  );
  await until('it is not named any more', async () => {
    const { services } = JSON.parse((await rig.proxy.get('/services')).body) as RigConfig;
    return services[0].realServers.length === 1;
  });
  assert.deepEqual(unwatch(), [], 'what the reload added stays');
  const loss = rig.proxy.log.split('\n').find((line) => line.includes('is gone: sessions end with it'));
  const { service, rs, sessions } = JSON.parse(loss ?? '{}');
  assert.deepEqual([service, rs, sessions], ['test', gone, held], 'it is logged whose sessions ended');
  const counted = await clients.end();
  t.diagnostic(`${counted.missing} of ${counted.sent} lost`);
  assert.deepEqual([counted.altered, counted.unexpected], [0, 0]);
  await Promise.all(servers.map((server) => server.end()));
});

test('a service gets an IPv6 VIP and loses it again, gets fewer lports and more again: no session is opened anew, none ends that need not', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS, servers: 2, service: { lports: '1024-40000' } });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  const added = await reload(rig, ({ services: [one] }) => {
    one.vip = [rig.vip, 'fd00:1::130'];
    one.lips = [...(one.lips as string[]), 'fd00:2::230'];
  });
  assert.deepEqual(added.changes, [
    `service test: vip ${rig.vip} -> ${rig.vip}, fd00:1::130`,
    'service test: lips fd00:2::230 added',
  ]);
  const more = await reload(rig, ({ services: [one] }) => {
    one.lports = '1024-65535';
  });
  assert.deepEqual(more.changes, ['service test: lports 1024-40000 -> 1024-65535']);
  const narrowed = await reload(rig, ({ services: [one] }) => {
    one.lports = '1024-60000'; // those in use are below
  });
  assert.deepEqual(narrowed.changes, ['service test: lports 1024-65535 -> 1024-60000']);
  const widened = await reload(rig, ({ services: [one] }) => {
    one.lports = '1024-65535';
  });
  assert.equal(widened.msg, 'reloaded');
  const others = await rig.clients({ portsPerAddress: PORTS, count: 200, sizes: [64] });
  assert.equal(others.missing, 0);
  const removed = await reload(rig, ({ services: [one] }) => {
    one.vip = rig.vip;
    one.lips = (one.lips as string[]).slice(0, -1);
  });
  assert.equal(removed.msg, 'reloaded');
  assert.equal(await rig.metric('sessions_created_total'), 2 * ALL, 'no session was opened anew');
  assert.equal(await rig.metric('sessions_removed_total'), 0);
  const gone = `${rig.realServers[0].ip}:${rig.realServers[0].port}`;
  const held = await rig.metric('server_sessions', { rs: gone });
  const counted = await clients.end();
  assert.deepEqual([counted.missing, counted.altered, counted.unexpected], [0, 0, 0]);
  const ended = await reload(rig, ({ services: [one] }) => {
    one.drainTimeout = 0;
    one.realServers.shift();
  });
  assert.match(ended.changes!.join('\n'), new RegExp(`real server ${gone} removed: ${held} sessions end`));
  await Promise.all(servers.map((server) => server.end()));
});

test('a config that is wrong, or that needs a restart, changes nothing and is said', async (t) => {
  const rig = await startRig(t, { clients: 2, servers: 1 });
  const wrong = await reload(rig, ({ services: [one] }) => {
    one.vport = 70_000;
  });
  assert.match(wrong.problems!.join('\n'), /services\[0\]\.vport: 70000 is not allowed/);
  const fixed = await reload(rig, (config) => {
    config.services[0].vport = 6000;
    config.sessions = { max: 1234 };
  });
  assert.match(fixed.problems!.join('\n'), /sessions\.max.*restart/);
  assert.equal(await rig.metric('config_last_reload_successful'), 0);
  assert.equal(await rig.metric('config_reloads_total', { result: 'failed' }), 2);
  assert.equal(await rig.metric('ready'), 1);
  const same = await reload(rig, (config) => {
    delete config.sessions;
  });
  assert.equal(same.msg, 'reload: nothing changed');
  assert.equal(await rig.metric('config_last_reload_successful'), 1);
});

test('a config file that is replaced is read by itself', async (t) => {
  const rig = await startRig(t, { clients: 2, servers: 2 });
  const path = join(rig.topology.scratch, 'proxy.yaml');
  let text = '';
  rig.rewriteConfig((config) => {
    config.services[0].scheduler = 'mh';
    text = JSON.stringify(config);
  });
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  await until('it is reloaded', () =>
    linesOf(rig).some(({ changes }) => changes?.join().includes('rr -> mh') === true),
  );
});

test('a long filter replaces another one also where the kernel has no room for both', async (t) => {
  const rig = await startRig(t, {
    clients: 2,
    servers: 1,
  });
  rig.topology.exec('lb', ['sysctl', '-q', '-w', 'net.core.optmem_max=20480']);
  const lipsOf = (count: number) =>
    Array.from({ length: count }, (_, i) => `10.2.${1 + (i >> 7)}.${1 + (i & 127)}`);
  for (const count of [300, 500, 1]) {
    const { msg, problems } = await reload(rig, ({ services: [one] }) => {
      one.lips = lipsOf(count);
    });
    assert.deepEqual([msg, problems], ['reloaded', undefined], `${count} LIPs`);
  }
  assert.equal(rig.topology.exec('lb', ['nft', 'list', 'tables']).split('\n').filter(Boolean).length, 1);
});
