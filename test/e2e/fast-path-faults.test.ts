// What the fast path does with others at the same interfaces, with interfaces that change, and with what
// proxies leave that are killed.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inNamespace } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../../src/lab/programs.ts';
import { mountBpffs, pinnedIn, withBpffs, withoutBpffs } from '../sys/bpffs.ts';
import { MAIN, type Rig, type RigOptions, startRig, until } from './harness.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

const start = (t: TestContext, options: RigOptions = {}, fastPath: 'tc' | 'xdp' | 'auto' = 'tc') =>
  startRig(t, { clients: CLIENTS, servers: 2, io: { mode: 'ring', workers: 1, fastPath }, ...options });

const areHot = (rig: Rig, count = ALL) =>
  until('all are hot', async () => (await rig.metric('fast_path_sessions')) === count);

const inLb = ({ topology }: Rig, ...argv: string[]) =>
  spawnSync('ip', inNamespace(topology.namespaces.lb, argv).slice(1), { encoding: 'utf8' });

const fastPathOf = async (rig: Rig) =>
  (JSON.parse((await rig.proxy.get('/stats')).body) as { fastPath: { kind: string; why: string } }).fastPath;

function ctl(rig: Rig, ...words: string[]): void {
  const argv = nodeArgv(MAIN, 'ctl', '--config', rig.configPath, ...words);
  const { status, stderr } = inLb(rig, ...argv);
  assert.equal(status, 0, stderr);
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.stdin!.end();
  await ended;
}

test('another tc program that ends the chain: it is seen, said, and sessions go by the datapath until it is gone', async (t) => {
  const rig = await start(t);
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: 1000 });
  await areHot(rig);
  const foreign = rig.topology.spawn('lb', nodeArgv(file('../fast/chain-program.ts'), rig.topology.wan), {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(foreign.stdout!, 'data');
  await until('it is seen', async () => (await fastPathOf(rig)).why.includes('another tc program at wan0'));
  assert.match(rig.proxy.log, /"level":"error".*another tc program at wan0 ends the chain before it/);
  const missed = await rig.metric('fast_path_missed_total');
  t.diagnostic(`${missed} packets were missed`);
  assert.ok(missed >= 16);
  await until('none is hot', async () => (await rig.metric('fast_path_sessions')) === 0);
  const before = await rig.metric('forwarded_packets_total');
  await until('they go on', async () => (await rig.metric('forwarded_packets_total')) > before + 5_000);
  await end(foreign);
  ctl(rig, 'fast-path', 'on');
  await areHot(rig);
  await clients.end();
  await Promise.all(servers.map((server) => server.end()));
});

test('the XDP program of another keeps its interface: xdp stays slow and says so, tc works behind it', async (t) => {
  let id: number | undefined;
  const idOf = (rig: { topology: Rig['topology'] }) => {
    const [link] = JSON.parse(inLb(rig as Rig, 'ip', '-j', 'link', 'show', 'wan0').stdout);
    return link.xdp?.prog?.id as number | undefined;
  };
  const beforeProxy = (topology: Rig['topology']) => {
    const peer = ['python3', '-B', file('./programs/xdp_peer.py'), 'wan0'];
    execFileSync('ip', inNamespace(topology.namespaces.lb, peer).slice(1));
    id = idOf({ topology });
    assert.notEqual(id, undefined);
  };
  const io = { mode: 'ring', workers: 1, fastPath: 'tc' } as const;
  const rig = await start(t, { beforeProxy, io });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await areHot(rig);
  assert.equal(await rig.proxy.stop(), 0);
  rig.rewriteConfig((config) => {
    config.io = { ...(config.io as object), fastPath: 'xdp' };
  });
  await clients.end();
  const next = rig.startProxy();
  await next.ready();
  assert.match(next.log, new RegExp(`"level":"warn".*no fast path: .*another XDP program \\(id ${id}\\)`));
  const slow = await rig.clients({ portsPerAddress: PORTS, count: 2_000, sizes: [64] });
  assert.equal(slow.missing, 0);
  assert.equal((await fastPathOf(rig)).kind, 'off');
  assert.equal(await rig.metric('fast_path_forwarded_packets_total'), 0);
  // The workers know, too, and put none into maps that nobody reads.
  const busy = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await sleep(3_000);
  assert.equal(await rig.metric('fast_path_sessions'), 0);
  await busy.end();
  assert.equal(idOf(rig), id, 'it is still there');
  await Promise.all(servers.map((server) => server.end()));
});

test('two proxies on one host have each a fast path at the same interfaces, and outlive one another', async (t) => {
  const path = mountBpffs(t);
  const under = withBpffs(path);
  const rig = await start(t, { under, service: { lports: '1024-30000' } });
  const copy = join(rig.topology.scratch, 'other.yaml');
  const config = JSON.parse(readFileSync(rig.configPath, 'utf8'));
  config.admin = { listen: '127.0.0.1:9465', socket: join(rig.topology.scratch, 'other.sock') };
  config.services[0].vport = 6001;
  config.services[0].lports = '30001-60000';
  writeFileSync(copy, JSON.stringify(config));
  const startOther = async () => {
    const child = rig.topology.spawn('lb', [...under, ...nodeArgv(MAIN, 'run', '--config', copy)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let log = '';
    child.stdout!.on('data', (text) => {
      log += text;
    });
    await until('the other is ready', () => {
      assert.equal(child.exitCode, null, log);
      return log.includes('"msg":"ready"');
    });
    return { child, log };
  };
  const first = await startOther();
  assert.equal(pinnedIn(path).filter((name) => name.endsWith('layout-2')).length, 2);
  const servers = await rig.startServers();
  const clients = [6000, 6001].map((vport) =>
    rig.startClients({ portsPerAddress: PORTS, sizes: [64], vport }),
  );
  const otherMetric = (name: string) => {
    const script = `fetch('http://127.0.0.1:9465/metrics').then((a) => a.text()).then((text) =>
      console.log(text.split('\\n').find((line) => line.startsWith('uoa_proxy_${name}{'))?.split(' ').at(-1) ?? '0'))`;
    return Number(inLb(rig, process.execPath, '-e', script).stdout);
  };
  await areHot(rig);
  await until('those of the other, too', () => otherMetric('fast_path_sessions') === ALL);
  const exited = once(first.child, 'exit');
  first.child.kill('SIGKILL');
  await exited;
  const second = await startOther();
  assert.match(second.log, new RegExp(`"msg":"fast path: ${ALL} sessions go on"`));
  await areHot(rig);
  // Who stops takes its own away, and no other's.
  const ended = clients.map((one) => one.end());
  const counted = await Promise.all(ended);
  assert.deepEqual(
    counted.map(({ missing }) => missing),
    [0, 0],
  );
  const others = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until('they are busy', async () => (await rig.metric('fast_path_sessions')) >= ALL);
  const left = once(second.child, 'exit');
  second.child.kill('SIGTERM');
  await left;
  assert.equal(pinnedIn(path).filter((name) => name.endsWith('layout-2')).length, 1);
  const before = await rig.metric('fast_path_forwarded_packets_total');
  await until(
    'the first goes on',
    async () => (await rig.metric('fast_path_forwarded_packets_total')) > before + 5_000,
  );
  assert.equal((await others.end()).missing, 0);
  await Promise.all(servers.map((server) => server.end()));
});

test('an interface that gets another Ethernet address is followed', async (t) => {
  const rig = await start(t);
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: 1000 });
  await areHot(rig);
  assert.equal(inLb(rig, 'ip', 'link', 'set', 'wan0', 'address', '02:00:00:00:77:01').status, 0);
  execFileSync('ip', ['-n', rig.topology.namespaces.client, 'neighbor', 'flush', 'all']);
  await until('it is said', () => rig.proxy.log.includes('wan0 has the Ethernet address 02:00:00:00:77:01'));
  await areHot(rig);
  const before = await rig.metric('fast_path_forwarded_packets_total', { direction: 'inbound' });
  await until(
    'it forwards again',
    async () =>
      (await rig.metric('fast_path_forwarded_packets_total', { direction: 'inbound' })) > before + 5_000,
  );
  await clients.end();
  await Promise.all(servers.map((server) => server.end()));
});

test('a control plane that stands still ends the fast path after 30 s, and its workers lose nothing', async (t) => {
  const rig = await start(t);
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await areHot(rig);
  rig.proxy.child.kill('SIGSTOP');
  await sleep(33_000);
  rig.proxy.child.kill('SIGCONT');
  await until('it tells', async () => (await rig.metric('fast_path_passed_total', { reason: 'dead' })) > 100);
  await areHot(rig);
  assert.equal((await clients.end()).missing, 0);
  await Promise.all(servers.map((server) => server.end()));
});

test("root's fast-path clear removes what a proxy of another user left, and not what that user leads it to", (t) => {
  const path = mountBpffs(t);
  const precious = mkdtempSync(join(tmpdir(), 'uoa-precious-'));
  t.after(() => rmSync(precious, { recursive: true }));
  writeFileSync(join(precious, 'kept'), '');
  const folder = join(path, 'uoa-proxy/proxy-00000000');
  mkdirSync(join(folder, 'layout-1'), { recursive: true });
  symlinkSync(precious, join(folder, 'layout-2'));
  execFileSync('chown', ['-R', '62123:62123', join(path, 'uoa-proxy')]);
  chmodSync(precious, 0o755);
  const clear = () => {
    const argv = [...withBpffs(path), ...nodeArgv(MAIN, 'fast-path', 'clear')];
    return spawnSync('unshare', ['--mount', ...argv], { encoding: 'utf8' });
  };
  const refused = clear();
  assert.equal(refused.status, 1);
  assert.match(
    refused.stderr,
    /^uoa-proxy: what is left of the fast path cannot be removed: EACCES.*\nHint: /,
  );
  assert.ok(existsSync(join(precious, 'kept')));
  rmSync(join(folder, 'layout-2'));
  assert.deepEqual([clear().status, pinnedIn(path)], [0, []]);
});

test('fast-path clear removes what a killed proxy left, and refuses while it lives', async (t) => {
  const path = mountBpffs(t);
  const under = withBpffs(path);
  const rig = await start(t, { under });
  const servers = await rig.startServers();
  const load = { portsPerAddress: PORTS, firstPort: 20_000, sizes: [64] };
  await rig.clients({ ...load, count: 2_000 });
  await areHot(rig);
  const clear = (...words: string[]) =>
    inLb(rig, ...under, ...nodeArgv(MAIN, 'fast-path', 'clear', ...words));
  const refused = clear();
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /the proxy proxy-[0-9a-f]{8} lives, its fast path stays: stop it first/);
  assert.notDeepEqual(pinnedIn(path), []);
  const exited = once(rig.proxy.child, 'exit');
  rig.proxy.child.kill('SIGKILL');
  await exited;
  await sleep(1000); // while workers and rings go, one that confirms a neighbor may be lost
  assert.equal((await rig.clients({ ...load, count: 200 })).missing, 0, 'it is at work');
  const other = join(rig.topology.scratch, 'other.yaml');
  writeFileSync(other, readFileSync(rig.configPath));
  const nothing = clear('--config', other);
  assert.deepEqual([nothing.status, nothing.stdout], [0, 'nothing is left\n']);
  const cleared = clear('--config', rig.configPath);
  assert.equal(cleared.status, 0, cleared.stderr);
  assert.match(cleared.stdout, /^removed: \/sys\/fs\/bpf\/uoa-proxy\/proxy-[0-9a-f]{8}\/layout-2\n$/);
  assert.deepEqual(pinnedIn(path), []);
  assert.equal((await rig.clients({ ...load, count: ALL, timeoutMs: 200 })).missing, ALL);
  assert.equal(clear().stdout, 'nothing is left\n');
  await Promise.all(servers.map((server) => server.end()));
});

test('a proxy that can pin nothing is known to live by its guard: clear leaves it alone, and so does another start', async (t) => {
  const rig = await start(t, { under: withoutBpffs });
  const servers = await rig.startServers();
  const clear = () =>
    inLb(rig, ...withoutBpffs, ...nodeArgv(MAIN, 'fast-path', 'clear', '--config', rig.configPath));
  // By it `clear` cannot see that it lives.
  renameSync(rig.socketPath, `${rig.socketPath}.away`);
  const refused = clear();
  assert.deepEqual([refused.status, refused.stdout], [1, '']);
  assert.match(refused.stderr, /the proxy proxy-[0-9a-f]{8} lives, its fast path stays: stop it first/);
  const again = rig.topology.spawn(
    'lb',
    [...withoutBpffs, ...nodeArgv(MAIN, 'run', '--config', rig.configPath)],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let said = '';
  again.stdout!.on('data', (text) => {
    said += text;
  });
  const [code] = await once(again, 'close');
  assert.equal(code, 1);
  assert.match(said, /no fast path: another uoa-proxy with this config file lives/);
  assert.equal((await rig.clients({ portsPerAddress: PORTS, count: 2_000, sizes: [64] })).missing, 0);
  renameSync(`${rig.socketPath}.away`, rig.socketPath);
  await areHot(rig);
  assert.equal(await rig.proxy.stop(), 0);
  assert.deepEqual([clear().status, clear().stdout], [0, 'nothing is left\n']);
  await Promise.all(servers.map((server) => server.end()));
});
