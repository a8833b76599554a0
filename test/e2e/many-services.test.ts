// More services and addresses than a classic BPF program has room for, with net.core.optmem_max as on Debian
// 12 (20,480), where the capture filter of 47 services does not fit. The steering program has no such limit.
// Where a filter is at work they are refused, in the same words by check, run and a reload.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { LB_LAN_IPS } from '../../src/lab/topology.ts';
import { type Answer, type IoUnderTest, MAIN, type Rig, type RigConfig, startRig, until } from './harness.ts';

const OPTMEM = '/proc/sys/net/core/optmem_max';
const DEBIAN_12 = 20_480;
/** Addresses that the host has by a route, all at once. */
const MORE_VIPS = '198.18.0.0/16';
const MORE_VIPS_6 = 'fd00:18::/64';
const MORE_LIPS = '198.20.0.0/16';
const LIPS = 4096;

/** In the test's network namespace only; an older kernel has one for all, and begins with this. */
function lowerOptmem(exec: (argv: readonly string[]) => string): boolean {
  if (exec(['sh', '-c', `test -e ${OPTMEM} && echo there || echo missing`]).trim() === 'there') {
    exec(['sysctl', '-qw', `net.core.optmem_max=${DEBIAN_12}`]);
    return true;
  }
  return existsSync(OPTMEM) && Number(readFileSync(OPTMEM, 'utf8')) <= DEBIAN_12;
}

const vip4 = (index: number) => `198.18.${index >> 8}.${index & 255}`;
const vip6 = (index: number) => `fd00:18::${index.toString(16)}`;

const moreServices = ({ services: [first] }: RigConfig, count: number): RigConfig['services'] =>
  Array.from({ length: count }, (_, index) => ({
    ...first,
    name: `more-${index}`,
    vip: vip4(index),
    vport: 20_000 + index,
    lips: first.lips,
  }));

/** What the log says of each reload. */
const outcomesOf = (proxy: Rig['proxy']): string[] =>
  proxy.log.split('\n').filter((line) => /"msg":"(reloaded|reload failed)/.test(line));

function writeServices(rig: Rig, count: number): void {
  rig.rewriteConfig((config) => {
    config.services = [config.services[0], ...moreServices(config, count)];
  });
}

/** Why it failed; undefined: it did not. */
async function reloadTo(rig: Rig, count: number, proxy = rig.proxy): Promise<string | undefined> {
  const before = outcomesOf(proxy).length;
  writeServices(rig, count);
  proxy.child.kill('SIGHUP');
  await until('the reload is over', () => outcomesOf(proxy).length > before);
  const { problems } = JSON.parse(outcomesOf(proxy)[before]) as { problems?: string[] };
  return problems?.join('; ');
}

/** Starts the proxy anew, with room for what its config has now. */
async function restart(rig: Rig): Promise<Rig['proxy']> {
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  const proxy = rig.startProxy();
  await proxy.ready();
  return proxy;
}

async function startSmall(
  t: TestContext,
  io: IoUnderTest,
  under: readonly string[] = [],
): Promise<Rig | undefined> {
  let isLow = false;
  const rig = await startRig(t, {
    io,
    under,
    servers: 1,
    clients: 5,
    config: { admin: { listen: '127.0.0.1:9464' } },
    beforeProxy: (topology) => {
      isLow = lowerOptmem((argv) => topology.exec('lb', argv));
      for (const [family, prefix] of [
        ['-4', MORE_VIPS],
        ['-6', MORE_VIPS_6],
        ['-4', MORE_LIPS],
      ] as const)
        topology.exec('lb', ['ip', family, 'route', 'add', 'local', prefix, 'dev', 'lo']);
    },
  });
  if (isLow) return rig;
  t.skip('this kernel has one net.core.optmem_max for all namespaces, and it is larger');
  return undefined;
}

interface Said {
  path: string;
  message: string;
}

/** Why the services are too many; undefined: they are not. Checked in the load balancer's namespace. */
function refusalOf({ topology, configPath }: Rig, under: readonly string[] = []): string | undefined {
  const runner = MAIN.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const command = [process.execPath, ...runner, MAIN, 'check', '--json', '--config', configPath];
  const said = topology.exec('lb', ['sh', '-c', '"$@"; echo "exit code $?"', 'sh', ...under, ...command]);
  const [json, code] = said.split(/exit code (?=\d+\n$)/);
  const { ok, problems, warnings } = JSON.parse(json) as Record<'problems' | 'warnings', Said[]> & {
    ok: boolean;
  };
  assert.equal(ok, problems.length === 0);
  assert.equal(Number(code), ok ? 0 : 1);
  // A right that only the service may have must not fail a check by somebody else.
  const unlessAllowed = 'run would refuse it with the rights that this check has: ';
  const warning = warnings.find(({ message }) => message.startsWith(unlessAllowed));
  assert.ok(under.length > 0 ? ok : warning === undefined);
  if (ok) return warning?.message.slice(unlessAllowed.length);
  assert.deepEqual(
    problems.map(({ path }) => path),
    ['services'],
  );
  return problems[0].message;
}

const WITHOUT_BPF = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'];
const STEERED: (IoUnderTest & { name: string })[] = [
  { name: 'ring', mode: 'ring', workers: 1 },
  { name: 'ring with 2 workers', mode: 'ring', workers: 2 },
];
const FILTERED: { name: string; io: IoUnderTest; under: readonly string[]; refusal: RegExp }[] = [
  {
    name: 'ring without CAP_BPF',
    io: { mode: 'ring', workers: 2 },
    under: WITHOUT_BPF,
    refusal:
      /^(\d+) services with \1 VIPs and \d LIPs? are too many for a capture filter: .*; a filter is needed because the steering program does not work: .* \(give the process CAP_BPF, or .*\)$/,
  },
  {
    name: 'pcap',
    io: { mode: 'pcap' },
    under: [],
    refusal:
      /^(\d+) services with \1 VIPs and \d LIPs? are too many for a capture filter: .* \(ring with CAP_BPF needs none, or .*\)$/,
  },
];
/** What does not fit, and what is there to be done. */
const NO_ROOM =
  /: its \d+ instructions take more than net\.core\.optmem_max, 20480 bytes, leaves; for some (\d+) such services there is room.*or make room with sysctl -w net\.core\.optmem_max=262144, or have fewer services, VIPs and LIPs\)$/;

/** Frames that the proxy took in. */
const framesIn = (rig: Rig) => rig.metric('io_received_total');

/** Those of the sessions that there are. */
async function lipsInUse(proxy: Rig['proxy']): Promise<Set<string>> {
  const lips = new Set<string>();
  const limit = 1000;
  for (let offset = 0; ; offset += limit) {
    const { body } = await proxy.get(`/sessions?limit=${limit}&offset=${offset}`);
    const { sessions } = JSON.parse(body) as { sessions: { lip: string }[] };
    if (sessions.length === 0) return lips;
    for (const { lip } of sessions) lips.add(lip.split(':')[0]);
  }
}

/** All answers were the same as what was sent. */
async function assertServed(rig: Rig, to: readonly [string, number][]): Promise<void> {
  for (const one of to) {
    const bind = rig.topology.clientIps[one[0].includes(':') ? 6 : 4][0];
    const { results } = await rig.probe('exchange', { to: one, bind, sizes: [64, 1000] });
    assert.deepEqual(results, ['same', 'same'], one.join(' '));
  }
}

for (const { name, ...io } of STEERED) {
  test(`${name}: reloads between few and 1,000 services lose nothing of what is in both`, async (t) => {
    const rig = await startSmall(t, io);
    if (rig === undefined) return;
    writeServices(rig, 999);
    const proxy = await restart(rig);
    const servers = await rig.startServers();
    const steady = rig.startSteadyClients({ portsPerAddress: 4, rate: 1000 });
    await steady.ready;
    for (const count of [30, 31, 999, 60, 999, 20])
      assert.equal(await reloadTo(rig, count, proxy), undefined);
    assert.equal(refusalOf(rig), undefined);
    const { sent, answered, unexpected } = await steady.end();
    assert.deepEqual({ answered, unexpected }, { answered: sent, unexpected: 0 });
    await Promise.all(servers.map((server) => server.end()));
    assert.equal(await proxy.stop('SIGTERM'), 0);
  });

  test(`${name}: 1,000 services of both families are served, and what is for others is not taken in`, async (t) => {
    const rig = await startSmall(t, io);
    if (rig === undefined) return;
    const last = 998;
    rig.rewriteConfig((config) => {
      const more = moreServices(config, last + 1);
      for (const [index, service] of more.entries()) service.vip = [service.vip, vip6(index)];
      config.services = [config.services[0], ...more];
    });
    const again = await restart(rig);
    assert.equal(refusalOf(rig), undefined);
    const servers = await rig.startServers();
    const some = [0, last >> 1, last];
    await assertServed(
      rig,
      some.map((n) => [vip4(n), 20_000 + n]),
    );
    await assertServed(
      rig,
      some.map((n) => [vip6(n), 20_000 + n]),
    );
    const before = await framesIn(rig);
    const other = { to: [vip4(last), 9], sizes: [64] };
    assert.deepEqual((await rig.probe('exchange', other)).results, ['ECONNREFUSED']);
    assert.equal(await framesIn(rig), before);
    const answer = await again.get('/readyz');
    assert.equal(answer.status, 200, answer.body);
    await Promise.all(servers.map((server) => server.end()));
    assert.equal(await again.stop('SIGTERM'), 0);
  });

  test(`${name}: 4,096 LIPs are used, each of them`, async (t) => {
    const rig = await startSmall(t, io);
    if (rig === undefined) return;
    rig.topology.exec('rs', ['ip', 'route', 'add', MORE_LIPS, 'via', LB_LAN_IPS[4]]);
    rig.rewriteConfig((config) => {
      config.services[0].lips = Array.from({ length: LIPS }, (_, n) => `198.20.${n >> 8}.${n & 255}`);
    });
    const again = await restart(rig);
    assert.equal(refusalOf(rig), undefined);
    const servers = await rig.startServers();
    // Each worker takes them in turn: it must get more clients than there are LIPs.
    const portsPerAddress = 180;
    const count = portsPerAddress * rig.clientIps.length;
    for (let round = 0; round < Math.ceil(9000 / count); round++) {
      const firstPort = 10_000 + round * portsPerAddress;
      const counted: Answer = await rig.clients({ portsPerAddress, count, sizes: [64], firstPort });
      assert.deepEqual([counted.answered, counted.altered], [count, 0]);
    }
    assert.equal((await lipsInUse(again)).size, LIPS);
    await Promise.all(servers.map((server) => server.end()));
    assert.equal(await again.stop('SIGTERM'), 0);
  });
}

for (const { name, io, under, refusal } of FILTERED) {
  test(`${name}: reloads lose nothing up to what there is room for, and more are refused`, async (t) => {
    const rig = await startSmall(t, io, under);
    if (rig === undefined) return;
    const servers = await rig.startServers();
    if (io.mode === 'ring')
      assert.match(
        rig.proxy.log,
        /one worker instead of 2, and a flood may cost clients with sessions packets.*give the process CAP_BPF/,
      );
    const steady = rig.startSteadyClients({ portsPerAddress: 4, rate: 500 });
    await steady.ready;
    // Filters that fit both at once, one at a time, not at all, and again.
    for (const count of [10, 11, 38, 40]) assert.equal(await reloadTo(rig, count), undefined);
    const last: [string, number] = [vip4(39), 20_039];
    await assertServed(rig, [last]);
    for (const count of [55, 63]) {
      const said: string = (await reloadTo(rig, count)) ?? '';
      assert.match(said, refusal);
      assert.match(said, NO_ROOM);
      const room = Number(NO_ROOM.exec(said)?.[1]);
      assert.ok(room >= 35 && room <= 50, `some ${room} of ${count}`);
      assert.equal(refusalOf(rig, under), said);
      await assertServed(rig, [last]);
    }
    for (const count of [41, 20]) {
      assert.equal(await reloadTo(rig, count), undefined);
      assert.equal(refusalOf(rig, under), undefined);
    }
    const { sent, answered, unexpected } = await steady.end();
    assert.deepEqual({ answered, unexpected }, { answered: sent, unexpected: 0 });
    await Promise.all(servers.map((server) => server.end()));
    assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  });

  test(`${name}: it does not start with 1,000 services, and says what check says`, async (t) => {
    const rig = await startSmall(t, io, under);
    if (rig === undefined) return;
    writeServices(rig, 999);
    assert.equal(await rig.proxy.stop('SIGTERM'), 0);
    const again = rig.startProxy();
    const [code] = await once(again.child, 'close');
    assert.equal(code, 1);
    const [, message, hint] = /(\d+ services with .*)\nHint: (.*)\n/.exec(again.log) ?? [];
    assert.equal(`${message} (${hint})`, refusalOf(rig, under), again.log);
  });
}
