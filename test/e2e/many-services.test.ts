// More services than the kernel has room for in a capture filter: net.core.optmem_max as on Debian 12 (20,480), where the
// exact filter of 47 services does not fit. They are served all the same, and nothing is lost when the filter changes its size.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type IoUnderTest, MAIN, type Rig, type RigConfig, startRig, until } from './harness.ts';

const OPTMEM = '/proc/sys/net/core/optmem_max';
const DEBIAN_12 = 20_480;
/** Addresses that the host has by a route, all at once. */
const MORE_VIPS = '198.18.0.0/15';

/** In the test's network namespace only; an older kernel has one for all, and begins with this. */
function lowerOptmem(exec: (argv: readonly string[]) => string): boolean {
  if (exec(['sh', '-c', `test -e ${OPTMEM} && echo there || echo missing`]).trim() === 'there') {
    exec(['sysctl', '-qw', `net.core.optmem_max=${DEBIAN_12}`]);
    return true;
  }
  return existsSync(OPTMEM) && Number(readFileSync(OPTMEM, 'utf8')) <= DEBIAN_12;
}

const moreServices = ({ services: [first] }: RigConfig, count: number): RigConfig['services'] =>
  Array.from({ length: count }, (_, index) => ({
    ...first!,
    name: `more-${index}`,
    vip: `198.18.${index >> 8}.${index & 255}`,
    vport: 20_000 + index,
    lips: first!.lips,
  }));

const outcomesOf = (rig: Rig): number =>
  rig.proxy.log.split('\n').filter((line) => /"msg":"(reloaded|reload failed)/.test(line)).length;

async function reloadTo(rig: Rig, count: number): Promise<void> {
  const before = outcomesOf(rig);
  rig.rewriteConfig((config) => {
    config.services = [config.services[0]!, ...moreServices(config, count)];
  });
  rig.proxy.child.kill('SIGHUP');
  await until('the reload is over', () => outcomesOf(rig) > before);
  assert.doesNotMatch(rig.proxy.log, /reload failed/);
}

async function startSmall(t: TestContext, io: IoUnderTest): Promise<Rig | undefined> {
  let isLow = false;
  const rig = await startRig(t, {
    io,
    clients: 5,
    config: { admin: { listen: '127.0.0.1:9464' } },
    beforeProxy: (topology) => {
      isLow = lowerOptmem((argv) => topology.exec('lb', argv));
      topology.exec('lb', ['ip', 'route', 'add', 'local', MORE_VIPS, 'dev', 'lo']);
    },
  });
  if (isLow) return rig;
  t.skip('this kernel has one net.core.optmem_max for all namespaces, and it is larger');
  return undefined;
}

const COMPLAINT =
  /has \d+ instructions, which net\.core\.optmem_max, 20480 bytes, has no room for \(sysctl -w net\.core\.optmem_max=131072\)/;

/** What `check` says of the services in the load balancer's namespace. */
function checkWarning({ topology }: Rig): string {
  const runner = MAIN.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const config = join(topology.scratch, 'proxy.yaml');
  const said = topology.exec('lb', [
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

const complaints = (rig: Rig) =>
  rig.proxy.log.split('\n').filter((line) => line.includes('the exact capture filter for'));

const IOS: (IoUnderTest & { name: string })[] = [
  { name: 'ring', mode: 'ring', workers: 1 },
  { name: 'ring with 2 workers', mode: 'ring', workers: 2 },
  { name: 'pcap', mode: 'pcap' },
];
for (const { name, ...io } of IOS) {
  test(`${name}: a capture filter that outgrows the kernel and comes back loses nothing`, async (t) => {
    const rig = await startSmall(t, io);
    if (rig === undefined) return;
    const servers = await rig.startServers();
    assert.deepEqual(complaints(rig), []);
    const steady = rig.startSteadyClients({ portsPerAddress: 4, rate: 500 });
    await steady.ready;
    // Near what fits twice, beyond it, another that does not fit, and back.
    for (const count of [30, 31, 63, 60]) await reloadTo(rig, count);
    assert.match(checkWarning(rig), COMPLAINT);
    await reloadTo(rig, 20);
    assert.equal(checkWarning(rig), '');
    const [first, ...others] = complaints(rig);
    assert.match(first!, COMPLAINT);
    assert.equal(others.length, 1, 'said anew for other services');
    assert.match(rig.proxy.log, /the capture filter is exact again/);
    const { sent, answered, unexpected } = await steady.end();
    assert.deepEqual({ answered, unexpected }, { answered: sent, unexpected: 0 });
    await Promise.all(servers.map((server) => server.end()));
  });

  test(`${name}: it starts with 1,000 services, serves the last, and passes over what is for others`, async (t) => {
    const rig = await startSmall(t, io);
    if (rig === undefined) return;
    rig.rewriteConfig((config) => {
      config.services = [config.services[0]!, ...moreServices(config, 999)];
    });
    assert.equal(await rig.proxy.stop('SIGTERM'), 0);
    const again = rig.startProxy();
    await again.ready();
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
