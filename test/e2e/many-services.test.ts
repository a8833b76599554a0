// More services and addresses than a classic BPF program has room for, with net.core.optmem_max as on Debian
// 12 (20,480), where the exact capture filter of 47 services does not fit. The steering program has no such
// limit. Where a filter is at work they are served all the same, and nothing is lost when it changes its
// size.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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

const outcomesOf = (proxy: Rig['proxy']): number =>
  proxy.log.split('\n').filter((line) => /"msg":"(reloaded|reload failed)/.test(line)).length;

function writeServices(rig: Rig, count: number): void {
  rig.rewriteConfig((config) => {
    config.services = [config.services[0], ...moreServices(config, count)];
  });
}

async function reloadTo(rig: Rig, count: number, proxy = rig.proxy): Promise<void> {
  const before = outcomesOf(proxy);
  writeServices(rig, count);
  proxy.child.kill('SIGHUP');
  await until('the reload is over', () => outcomesOf(proxy) > before);
  assert.doesNotMatch(proxy.log, /reload failed/);
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

const COMPLAINT =
  /has \d+ instructions, which net\.core\.optmem_max, 20480 bytes, has no room for \(sysctl -w net\.core\.optmem_max=131072\)/;

/** What `check` says of the services in the load balancer's namespace. */
function checkWarning({ topology }: Rig, under: readonly string[] = []): string {
  const runner = MAIN.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const config = join(topology.scratch, 'proxy.yaml');
  const said = topology.exec('lb', [
    ...under,
    process.execPath,
    ...runner,
    MAIN,
    'check',
    '--json',
    '--config',
    config,
  ]);
  const { warnings } = JSON.parse(said) as { warnings: { path: string; message: string }[] };
  return warnings.find(({ path }) => path === 'services')?.message ?? '';
}

const complaints = ({ proxy }: Pick<Rig, 'proxy'>) =>
  proxy.log.split('\n').filter((line) => line.includes('the exact capture filter for'));

const WITHOUT_BPF = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'];
const STEERED: (IoUnderTest & { name: string })[] = [
  { name: 'ring', mode: 'ring', workers: 1 },
  { name: 'ring with 2 workers', mode: 'ring', workers: 2 },
];
const FILTERED: { name: string; io: IoUnderTest; under: readonly string[] }[] = [
  { name: 'ring without CAP_BPF', io: { mode: 'ring', workers: 2 }, under: WITHOUT_BPF },
  { name: 'pcap', io: { mode: 'pcap' }, under: [] },
];

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
    for (const count of [30, 31, 999, 60, 999, 20]) await reloadTo(rig, count, proxy);
    assert.deepEqual([complaints({ proxy }), checkWarning(rig)], [[], '']);
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
    assert.deepEqual([complaints({ proxy: again }), checkWarning(rig)], [[], '']);
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
    assert.deepEqual([complaints({ proxy: again }), checkWarning(rig)], [[], '']);
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

for (const { name, io, under } of FILTERED) {
  test(`${name}: a capture filter that outgrows the kernel and comes back loses nothing`, async (t) => {
    const rig = await startSmall(t, io, under);
    if (rig === undefined) return;
    const servers = await rig.startServers();
    assert.deepEqual(complaints(rig), []);
    const loss =
      /one worker instead of 2, and a flood may cost clients with sessions packets.*give the process CAP_BPF/;
    if (io.mode === 'ring') assert.match(rig.proxy.log, loss);
    const steady = rig.startSteadyClients({ portsPerAddress: 4, rate: 500 });
    await steady.ready;
    // Near what fits twice, beyond it, another that does not fit, and back.
    for (const count of [30, 31, 63, 60]) await reloadTo(rig, count);
    assert.match(checkWarning(rig, under), COMPLAINT);
    await reloadTo(rig, 20);
    assert.equal(checkWarning(rig, under), '');
    const [first, ...others] = complaints(rig);
    assert.match(first, COMPLAINT);
    assert.equal(others.length, 1, 'said anew for other services');
    assert.match(rig.proxy.log, /the capture filter is exact again/);
    const { sent, answered, unexpected } = await steady.end();
    assert.deepEqual({ answered, unexpected }, { answered: sent, unexpected: 0 });
    await Promise.all(servers.map((server) => server.end()));
  });

  test(`${name}: it starts with 1,000 services, serves the last, and passes over what is for others`, async (t) => {
    const rig = await startSmall(t, io, under);
    if (rig === undefined) return;
    writeServices(rig, 999);
    const again = await restart(rig);
    assert.match(again.log, /the exact capture filter for/);
    const servers = await rig.startServers();
    const last = { to: ['198.18.3.230', 20_998], sizes: [64, 1000, 4000, 64] };
    assert.deepEqual((await rig.probe('exchange', last)).results, ['same', 'same', 'same', 'same']);
    const other = { to: ['198.18.3.230', 9], sizes: [64] };
    assert.deepEqual(
      (await rig.probe('exchange', other)).results,
      ['ECONNREFUSED'],
      'the host’s own business',
    );
    const answer = await again.get('/readyz');
    assert.equal(answer.status, 200, answer.body);
    await Promise.all(servers.map((server) => server.end()));
    assert.equal(await again.stop('SIGTERM'), 0);
  });
}
