// `run --takeover` where there is a fast path: hot sessions and others under load, by what stays of maps and
// programs and by what does not; and processes that fail when the one before has stepped aside already.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxyProcess } from '../../src/lab/programs.ts';
import { mountBpffs, pinnedIn, withBpffs } from '../sys/bpffs.ts';
import { type IoUnderTest, type PythonProgram, type Rig, startRig, until } from './harness.ts';
import { type Listed, listedIn, mappingsOf } from './listed.ts';
import { workersOf } from './processes.ts';

const CLIENTS = 5;
/** Of hot sessions, and of others: these have too few datagrams each to become hot. */
const HOT_PORTS = 4;
const COLD_PORTS = 80;
const FIRST_HOT = 20_000;
const FIRST_COLD = 30_000;
const HOT = CLIENTS * HOT_PORTS;
const ALL = HOT + CLIENTS * COLD_PORTS;
/** Datagrams per second of the others. */
const RATE = 1000;
const TOOK_OVER = /"msg":"took over"/;

interface ListedHot extends Listed {
  fastPath: string;
}

async function sessionsOf(proxy: ProxyProcess): Promise<ListedHot[]> {
  const { body } = await proxy.get('/sessions?limit=1000');
  return body === '' ? [] : listedIn(body);
}

const mappings = async (proxy: ProxyProcess): Promise<string[]> => mappingsOf(await sessionsOf(proxy));

const isBusy = ({ clientPort }: ListedHot) => clientPort >= FIRST_HOT && clientPort < FIRST_COLD;

/** Of the busy ones. */
const hotCount = async (proxy: ProxyProcess) =>
  (await sessionsOf(proxy)).filter((session) => isBusy(session) && session.fastPath === 'hot').length;

interface Load {
  servers: PythonProgram[];
  hot: PythonProgram;
  cold: PythonProgram;
}

/** Hot sessions and others, all of them at work. */
async function startLoad(rig: Rig, areHot: boolean): Promise<Load> {
  const servers = await rig.startServers();
  const hot = rig.startClients({ portsPerAddress: HOT_PORTS, firstPort: FIRST_HOT, sizes: [64], window: 4 });
  const cold = rig.startSteadyClients({ portsPerAddress: COLD_PORTS, firstPort: FIRST_COLD, rate: RATE });
  await until('all have sessions', async () => (await sessionsOf(rig.proxy)).length === ALL);
  if (areHot) await until('the busy ones are hot', async () => (await hotCount(rig.proxy)) === HOT);
  return { servers, hot, cold };
}

/** Ends it, and says what was lost: of hot sessions and of others. */
async function endLoad(t: TestContext, rig: Rig, { servers, hot, cold }: Load) {
  const [busy, others] = await Promise.all([hot.end(), cold.end()]);
  const heard = await Promise.all(servers.map((server) => server.end()));
  const lines = rig.topology.exec('client', ['cat', '/proc/net/snmp']).match(/^Udp: .*$/gm) ?? [];
  const [names, counts] = lines.map((line) => line.split(' '));
  // On a machine that stands still for long the client's own kernel may have no room for what it makes up
  // for.
  const unsent = Number(counts![names!.indexOf('SndbufErrors')]);
  t.diagnostic(
    `hot: ${busy.missing} of ${busy.sent} lost; others: ${others.lost} of ${others.sent}, ` +
      `${unsent} of them not sent, for ${others.longestGapMs} ms none had an answer`,
  );
  assert.deepEqual([busy.unexpected, others.unexpected], [0, 0], 'nothing came twice');
  const learned = heard.reduce((sum, { learned }) => sum + (learned as number), 0);
  assert.equal(learned, ALL, 'the real servers saw no new address');
  return { hot: busy.missing as number, cold: (others.lost as number) - unsent };
}

async function takeOver(rig: Rig): Promise<ProxyProcess> {
  const exited = once(rig.proxy.child, 'exit');
  const after = rig.startProxy('--takeover');
  const failed = once(after.child, 'exit').then(() => assert.fail(after.log));
  await Promise.race([until('it has taken over', () => TOOK_OVER.test(after.log)), failed]);
  assert.deepEqual(await exited, [11, null], rig.proxy.log);
  await after.ready();
  return after;
}

interface Case {
  before: IoUnderTest;
  after: IoUnderTest;
  /** With a bpffs; by default there is one. */
  isPinned?: boolean;
  /** Hot sessions go on in the kernel, so that they are hot at once. */
  staysHot: boolean;
}

const io = (fastPath: 'tc' | 'xdp' | 'off', workers: number): IoUnderTest => ({
  mode: 'ring',
  workers,
  fastPath,
});

const CASES: Case[] = [
  { before: io('tc', 1), after: io('tc', 1), staysHot: true },
  { before: io('tc', 2), after: io('tc', 2), staysHot: true },
  { before: io('xdp', 1), after: io('xdp', 1), staysHot: true },
  { before: io('xdp', 2), after: io('xdp', 2), staysHot: true },
  { before: io('tc', 1), after: io('tc', 2), staysHot: false },
  { before: io('tc', 2), after: io('tc', 1), staysHot: false },
  { before: io('xdp', 2), after: io('xdp', 1), staysHot: false },
  { before: io('tc', 2), after: io('tc', 2), isPinned: false, staysHot: false },
  { before: io('xdp', 1), after: io('xdp', 1), isPinned: false, staysHot: false },
  { before: io('off', 2), after: io('tc', 2), staysHot: false },
  { before: io('tc', 1), after: io('off', 1), staysHot: false },
  { before: io('xdp', 2), after: io('tc', 2), staysHot: false },
];

const nameOf = ({ fastPath, workers }: IoUnderTest) => `${fastPath}, workers ${workers}`;

async function start(t: TestContext, before: IoUnderTest, isPinned = true) {
  const bpffs = isPinned ? mountBpffs(t) : undefined;
  const under = bpffs === undefined ? [] : withBpffs(bpffs);
  return { rig: await startRig(t, { clients: CLIENTS, servers: 2, io: before, under }), bpffs };
}

for (const { before, after: next, isPinned = true, staysHot } of CASES)
  test(`a takeover loses nothing: ${nameOf(before)} -> ${nameOf(next)}${isPinned ? '' : ', no bpffs'}`, async (t) => {
    const { rig, bpffs } = await start(t, before, isPinned);
    const load = await startLoad(rig, before.fastPath !== 'off');
    const sessions = await mappings(rig.proxy);
    rig.rewriteConfig((config) => {
      config.io = { ...(config.io as object), ...next };
    });
    const after = await takeOver(rig);
    if (staysHot) assert.match(after.log, new RegExp(`"msg":"fast path: ${HOT} sessions go on"`));
    assert.deepEqual(await mappings(after), sessions, 'every session, with its LIP:lport and real server');
    for (const line of [rig.proxy.log, after.log].flatMap((log) => log.match(/"ms":\{[^}]*\}/g) ?? []))
      t.diagnostic(line);
    const areHot = next.fastPath === 'off' ? 0 : HOT;
    await until('they are hot again', async () => (await hotCount(after)) === areHot);
    await sleep(500);
    const lost = await endLoad(t, rig, load);
    assert.deepEqual(lost, { hot: 0, cold: 0 });
    if (bpffs !== undefined)
      assert.equal(
        pinnedIn(bpffs).some((name) => /layout-\d+\//.test(name)),
        next.fastPath !== 'off',
        'pins',
      );
    assert.equal(await after.stop(), 0);
    if (bpffs !== undefined) assert.deepEqual(pinnedIn(bpffs), [], 'who stops for good leaves nothing');
    assert.equal(rig.topology.exec('lb', ['ip', '-d', 'link']).includes('xdp'), false);
  });

for (const [kind, isPinned] of [
  ['tc', true],
  ['xdp', true],
  ['tc', false],
  ['xdp', false],
] as const)
  test(`one that ends before it forwards leaves the other at work, with what is hot: ${kind}${isPinned ? '' : ', no bpffs'}`, async (t) => {
    const { rig } = await start(t, io(kind, 2), isPinned);
    const load = await startLoad(rig, true);
    const sessions = await mappings(rig.proxy);
    const { pid } = rig.proxy.child;
    const after = rig.startProxy('--takeover');
    await until('they speak', () => after.log.includes('taking over from the proxy at work'));
    process.kill(pid!, 'SIGSTOP');
    await until('all is ready', () => after.log.includes('all is ready'));
    // They will never say that they forward.
    for (const worker of workersOf(after)) process.kill(worker, 'SIGSTOP');
    process.kill(pid!, 'SIGCONT');
    await until('it has stepped aside', () => rig.proxy.log.includes('stepped aside: nothing is forwarded'));
    await until('its programs are replaced', () => after.log.includes('programs are in their places'));
    const ended = once(after.child, 'exit');
    after.child.kill('SIGKILL');
    await ended;
    await until('it goes on', () => rig.proxy.log.includes('forwarding again, with all sessions'));
    assert.equal(await hotCount(rig.proxy), HOT, 'what was hot is hot');
    assert.deepEqual(await mappings(rig.proxy), sessions);
    const forwarded = await rig.metric('fast_path_forwarded_packets_total');
    await until(
      'the kernel forwards',
      async () => (await rig.metric('fast_path_forwarded_packets_total')) > forwarded + 100,
    );
    // And one that does not fail takes over all the same.
    const next = await takeOver(rig);
    assert.deepEqual(await mappings(next), sessions);
    await until('they are hot', async () => (await hotCount(next)) === HOT);
    const lost = await endLoad(t, rig, load);
    assert.deepEqual(lost, { hot: 0, cold: 0 });
  });
