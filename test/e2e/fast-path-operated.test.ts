// What an operator does and sees of the fast path, over XDP and tc: he switches it off and on by the real
// `ctl`, and looks for the packets of a hot session with tcpdump and sniff.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeArgv, type ProxyProcess } from '../../src/lab/programs.ts';
import { mountBpffs, withBpffs } from '../sys/bpffs.ts';
import { MAIN, type Rig, until } from './harness.ts';
import { Client, goingFast, hotCount, overBoth, startHot } from './hot.ts';

async function ctl(rig: Rig, ...args: string[]): Promise<string> {
  const argv = nodeArgv(MAIN, 'ctl', '--config', rig.configPath, ...args);
  const child = rig.topology.spawn('lb', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  assert.deepEqual(await once(child, 'close'), [0, null], args.join(' '));
  return printed;
}

async function stateOf(rig: Rig, { port }: Client): Promise<string | null | undefined> {
  const { sessions } = JSON.parse((await rig.get('/sessions')).body) as {
    sessions: { clientPort: number; fastPath: string | null }[];
  };
  return sessions.find(({ clientPort }) => clientPort === port)?.fastPath;
}

/** Exchanges long enough that the session would be hot by now. */
async function exchangeCold(rig: Rig, client: Client): Promise<void> {
  for (let n = 0; n < 25; n++) await client.exchange(20, { pauseMs: 5 });
  assert.equal(await hotCount(rig), 0);
}

overBoth(
  'it is switched off and on while it runs, over a reload and the end of a worker',
  async (t, kind) => {
    const { rig, servers } = await startHot(t, kind);
    const client = await Client.start(rig);
    await client.heat(rig);
    assert.equal(await stateOf(rig, client), 'hot');
    assert.match(await ctl(rig, 'stats'), new RegExp(`ring, fast path ${kind}, 1 worker`));

    assert.match(await ctl(rig, 'fast-path', 'off', 'test'), /^fast path off for test: /);
    await until('nothing is hot', async () => (await hotCount(rig)) === 0);
    assert.equal(await stateOf(rig, client), 'off');
    await exchangeCold(rig, client);
    assert.match(await ctl(rig, 'services', '--no-rate'), /^test {2}.* {2}fast path off$/m);

    rig.rewriteConfig((config) => {
      config.services.unshift({ ...config.services[0]!, name: 'another', vport: 6001 });
    });
    await until('the config was read', async () => /another/.test(await ctl(rig, 'reload')));
    await exchangeCold(rig, client);

    const { workers } = JSON.parse((await rig.get('/stats')).body) as { workers: { pid: number }[] };
    process.kill(workers[0]!.pid, 'SIGKILL');
    await until('a worker forwards again', async () => (await rig.metric('worker_restarts_total')) === 1);
    await until('it is ready', async () => (await rig.get('/readyz')).status === 200);
    await exchangeCold(rig, client);

    assert.equal(await ctl(rig, 'fast-path', 'on'), 'fast path on: busy sessions go by the kernel\n');
    await client.heat(rig);
    assert.equal(await stateOf(rig, client), 'hot');
    for (const server of servers) await server.end();
  },
);

overBoth('what is switched off stays so over kill -9 and a takeover', async (t, kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-switch-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { rig, servers } = await startHot(t, kind, {
    under: withBpffs(mountBpffs(t)),
    config: { sessions: { stateFile: join(folder, 'state') } },
  });
  const client = await Client.start(rig);
  await client.heat(rig);
  await ctl(rig, 'fast-path', 'off', 'test');
  await until('nothing is hot', async () => (await hotCount(rig)) === 0);
  const killed = once(rig.proxy.child, 'exit');
  rig.proxy.child.kill('SIGKILL');
  await killed;
  const second = rig.startProxy();
  await second.ready();
  assert.match(second.log, /"fast path off for test by an operator before the restart: still so"/);
  await exchangeCold(rig, client);
  const gone = once(second.child, 'exit');
  const third = rig.startProxy('--takeover');
  await gone;
  await third.ready();
  await exchangeCold(rig, client);
  assert.equal(await ctl(rig, 'fast-path', 'on'), 'fast path on: busy sessions go by the kernel\n');
  await client.heat(rig);
  for (const server of servers) await server.end();
});

overBoth('what is switched off stays so over processes without a fast path', async (t, kind) => {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-switch-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const { rig, servers } = await startHot(t, kind, {
    config: { sessions: { stateFile: join(folder, 'state') } },
  });
  const client = await Client.start(rig);
  await client.heat(rig);
  await ctl(rig, 'fast-path', 'off', 'test');
  const fastPath = (wanted: string) =>
    rig.rewriteConfig((config) => {
      Object.assign(config.io as object, { fastPath: wanted });
    });
  const takeOver = async (before: ProxyProcess) => {
    const gone = once(before.child, 'exit');
    const after = rig.startProxy('--takeover');
    await gone;
    await after.ready();
    return after;
  };
  fastPath('off');
  assert.equal(await rig.proxy.stop(), 0);
  const without = rig.startProxy();
  await without.ready();
  await exchangeCold(rig, client);
  assert.equal(await without.stop(), 0);
  fastPath(kind);
  const second = rig.startProxy();
  await second.ready();
  await exchangeCold(rig, client);
  fastPath('off');
  const third = await takeOver(second);
  await exchangeCold(rig, client);
  fastPath(kind);
  const fourth = await takeOver(third);
  await exchangeCold(rig, client);
  fastPath('off');
  const fifth = await takeOver(fourth);
  const said = 'fast path on, for a process that has one: here there is none (io.fastPath is off)\n';
  assert.equal(await ctl(rig, 'fast-path', 'on'), said);
  fastPath(kind);
  await takeOver(fifth);
  await client.heat(rig);
  for (const server of servers) await server.end();
});

overBoth('tcpdump sees the packets of hot sessions at tc only, and sniff says so', async (t, kind) => {
  const { rig, servers } = await startHot(t, kind);
  const client = await Client.start(rig);
  await client.heat(rig);
  const { wan, lan } = rig.topology;
  const ways = [wan, lan].flatMap((device) => (['in', 'out'] as const).map((way) => [device, way] as const));
  const watched = await Promise.all(ways.map(([device, way]) => rig.watch('lb', device, 'udp', way)));
  await goingFast(rig, 380, () => client.exchange(200));
  for (const [at, witness] of watched.entries()) {
    const { count } = await witness.matching('udp');
    // One per 5 s and hop goes by the datapath, which sends by a ring.
    if (kind === 'xdp') assert.ok(count <= 20, `${count} packets ${ways[at]}`);
    else assert.ok(count >= 180, `${count} packets ${ways[at]}`);
  }

  const said = await sniffed(rig);
  assert.match(said, /^listening on /);
  const isSaid = said.includes(
    `${wan}, ${lan}: what the XDP program there forwards by itself is not seen here.`,
  );
  assert.equal(isSaid, kind === 'xdp', said);
  await ctl(rig, 'fast-path', 'off');
  await until('nothing is hot', async () => (await hotCount(rig)) === 0);
  const witness = await rig.watch('lb', wan, 'udp', 'in');
  await client.exchange(200);
  const { count } = await witness.matching('udp');
  assert.equal(count, 200);
  for (const server of servers) await server.end();
});

/** What sniff says on standard error until it listens. */
async function sniffed(rig: Rig): Promise<string> {
  const { wan, lan } = rig.topology;
  const argv = nodeArgv(MAIN, 'sniff', '-i', `${wan},${lan}`);
  const child = rig.topology.spawn('lb', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    const isFirst = said === '';
    said += text;
    if (isFirst) child.kill('SIGINT'); // it listens
  });
  assert.deepEqual(await once(child, 'close'), [0, null], said);
  return said;
}
