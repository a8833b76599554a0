// A host of the size that the documents allow: 1,000 services with a VIP and a LIP each, which the proxy adds
// and removes, half of them IPv6, and 4,096 real servers. What start, reload, changes of the host and stop
// took is printed, not asserted: it is the machine's.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { IO, type Rig, startRig, until } from '../harness.ts';

const SERVICES = 1000;
const SERVERS = 4096;
/** Of the rig's own service. */
const LIVE = 2;
const MORE_ADDRESSES = ['10.64.0.0/10', 'fd00:64::/32'] as const;
const CHANGED_SERVERS = '10.64.1.0/24';

const hex = (number: number): string => number.toString(16);

/** Every second one is IPv6. */
function serviceOf(index: number, servers: number) {
  const isIpv6 = index % 2 === 1;
  const low = `${index >> 8}.${index & 255}`;
  const first = index * 8;
  return {
    name: `more-${index}`,
    vip: isIpv6 ? `fd00:18::${hex(index)}` : `198.18.${low}`,
    vport: 20_000 + index,
    uoa: { dialect: isIpv6 ? 'opp' : 'ipo' },
    lips: [isIpv6 ? `fd00:2::1:${hex(index)}` : `198.19.${low}`],
    realServers: Array.from({ length: servers }, (_, number) => ({
      ip: isIpv6
        ? `fd00:64::${hex(first + number)}`
        : `10.64.${(first + number) >> 8}.${(first + number) & 255}`,
      port: 7000,
    })),
  };
}

function moreServices() {
  const others = SERVICES - 1;
  const each = Math.floor((SERVERS - LIVE) / others);
  const rest = (SERVERS - LIVE) % others;
  return Array.from({ length: others }, (_, index) => serviceOf(index, index < rest ? each + 1 : each));
}

const secondsSince = (start: number): string => `${((performance.now() - start) / 1000).toFixed(2)} s`;

/** How many of the proxy's addresses the host has. */
const assigned = ({ topology }: Rig): number =>
  topology
    .exec('lb', ['ip', '-o', 'address', 'show'])
    .split('\n')
    .filter((line) => /\/(32|128) /.test(line) && !/ lo /.test(line)).length;

/** Until the log says `what` once more. */
async function toldOf(rig: Rig, what: RegExp, change: () => void): Promise<string> {
  const count = (): number => rig.proxy.log.split('\n').filter((line) => what.test(line)).length;
  const before = count();
  const start = performance.now();
  change();
  await until(`the log says ${what}`, () => count() > before);
  return secondsSince(start);
}

async function changeHost(t: TestContext, rig: Rig): Promise<void> {
  const ip = (...argv: string[]) => void rig.topology.exec('lb', ['ip', ...argv]);
  const steps: [what: string, told: RegExp, change: () => void][] = [
    ['an address', /address 10\.9\.0\.1 added/, () => ip('address', 'add', '10.9.0.1/24', 'dev', 'lan0')],
    [
      'a route',
      /MTU towards 10\.64\.1\.0, [^:]*: 1500 -> 1400/,
      () => ip('route', 'add', CHANGED_SERVERS, 'dev', 'lan0', 'mtu', '1400'),
    ],
    [
      'routes that are gone',
      /real server 10\.64\.\d+\.\d+: no route to it/,
      () => ip('route', 'delete', MORE_ADDRESSES[0]),
    ],
    [
      'routes that are back',
      /real server 10\.64\.\d+\.\d+ can be reached/,
      () => ip('route', 'add', MORE_ADDRESSES[0], 'dev', 'lan0'),
    ],
    ['an MTU', /lan0: MTU 1500 -> 1450/, () => ip('link', 'set', 'lan0', 'mtu', '1450')],
    [
      'an Ethernet address',
      /wan0: Ethernet address .* -> 02:00:00:00:01:01/,
      () => ip('link', 'set', 'wan0', 'address', '02:00:00:00:01:01'),
    ],
    [
      'an address of its own that somebody removed',
      /address 198\.19\.0\.2 of lan0 was gone/,
      () => ip('address', 'delete', '198.19.0.2/32', 'dev', 'lan0'),
    ],
  ];
  // What the clients' host knows by itself after a while.
  const forget = () => void rig.topology.exec('client', ['ip', 'neighbor', 'flush', 'dev', 'eth0']);
  for (const [what, told, change] of steps) t.diagnostic(`${what}: ${await toldOf(rig, told, change)}`);
  forget();
}

test('1,000 services, 1,000 LIPs and 4,096 real servers: start, reload, changes of the host, stop', async (t) => {
  let started = 0;
  const rig = await startRig(t, {
    io: { ...IO, workers: 1 },
    clients: 5,
    servers: LIVE,
    lips: ['10.2.0.200'],
    others: moreServices(),
    beforeProxy: (topology) => {
      topology.exec('lb', ['ip', 'route', 'add', MORE_ADDRESSES[0], 'dev', 'lan0']);
      topology.exec('lb', ['ip', '-6', 'route', 'add', MORE_ADDRESSES[1], 'dev', 'lan0']);
      started = performance.now();
    },
  });
  t.diagnostic(`start to ready: ${secondsSince(started)}`);
  assert.equal(assigned(rig), 2 * SERVICES);
  assert.equal(await rig.metric('server_up'), SERVERS);
  const servers = await rig.startServers();
  const load = { portsPerAddress: 4, count: 300, sizes: [64] };
  assert.equal((await rig.clients(load)).answered, 300);

  const weight = await toldOf(rig, /"msg":"(reloaded|reload failed)/, () => {
    rig.rewriteConfig(({ services }) => {
      services.at(-1)!.realServers[0].weight = 5;
    });
    // When it is written: else the proxy finds it by itself, which takes half a second.
    rig.proxy.child.kill('SIGHUP');
  });
  assert.doesNotMatch(rig.proxy.log, /reload failed/);
  t.diagnostic(`reload of one weight: ${weight}`);

  await changeHost(t, rig);
  assert.equal(assigned(rig), 2 * SERVICES);
  assert.equal((await rig.clients(load)).answered, 300);
  await Promise.all(servers.map((server) => server.end()));

  const start = performance.now();
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  t.diagnostic(`stop: ${secondsSince(start)}`);
  assert.equal(assigned(rig), 0);
});
