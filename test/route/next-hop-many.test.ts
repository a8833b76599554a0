// Next hops among many routes, compared with what the kernel itself says (ip route get).
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../e2e/harness.ts';
import { sh } from '../io/namespaces.ts';
import { addAddresses, addNeighbor, macOf, routedHost, startFinder } from './next-hop.ts';

const NETWORKS = [1, 2, 3];
const HOSTS = [2, 3, 4];

/** A small generator of numbers (mulberry32), so that a failure can be repeated. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Prefix {
  bits: number[];
  length: number;
  isV4: boolean;
}

/** Prefixes that lie in each other: bits come from few choices. */
function randomPrefix(next: (below: number) => number): Prefix {
  const isV4 = next(2) === 0;
  const base = isV4 ? [203, next(2)] : [0x20, 0x01, 0x0d, next(2)];
  const rest = Array.from(
    { length: (isV4 ? 4 : 16) - base.length },
    () => [0, 1, 128, 129, 255, next(256)][next(6)],
  );
  const shortest = 8 * base.length - 4;
  const bits = [...base, ...rest];
  return { bits, length: shortest + next(8 * bits.length - shortest + 1), isV4 };
}

function text(bits: readonly number[]): string {
  if (bits.length === 4) return bits.join('.');
  return Array.from({ length: 8 }, (_, i) => ((bits[2 * i] << 8) | bits[2 * i + 1]).toString(16)).join(':');
}

function prefixText({ bits, length }: Prefix): string {
  const masked = bits.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))));
  return `${text(masked)}/${length}`;
}

/** An address in the prefix or beside it. */
function near({ bits, length }: Prefix, next: (below: number) => number): string {
  const inside = bits.map((byte, i) => {
    const fixed = 0xff & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i)));
    return (byte & fixed) | (next(256) & ~fixed & 0xff);
  });
  if (next(4) === 0) inside[bits.length - 1 - next(2)] ^= 1 << next(8);
  return text(inside);
}

function randomRoute(prefix: Prefix, next: (below: number) => number): string {
  const family = prefix.isV4 ? '-4' : '-6';
  const tail = `${prefixText(prefix)} metric ${100 + next(3)}`;
  const kind = next(12);
  if (kind === 0)
    return `${family} route WHAT ${['blackhole', 'unreachable', 'prohibit', 'throw'][next(4)]} ${tail}`;
  const network = NETWORKS[next(3)];
  if (kind === 1) return `${family} route WHAT ${tail} dev e${network}`;
  const gateway = prefix.isV4 ? `10.${network}.0.` : `fd00:${network}::`;
  return `${family} route WHAT ${tail} via ${gateway}${HOSTS[next(3)]} dev e${network}`;
}

interface RouteGet {
  type?: string;
  gateway?: string;
  via?: { host: string };
  dev: string;
  error?: unknown;
}

/** The Ethernet address that the kernel would send to; '' when there is none. */
function kernelMacs(ns: string, addresses: readonly string[]): string[] {
  const neighbors = new Map(
    (
      JSON.parse(sh(`ip -n ${ns} -j neigh show nud permanent`)) as {
        dst: string;
        dev: string;
        lladdr: string;
      }[]
    ).map(({ dst, dev, lladdr }) => [`${dst} ${dev}`, lladdr]),
  );
  const output = sh(
    `ip -n ${ns} -j -force -batch - 2>&1 || true`,
    addresses.map((address) => `route get ${address}`).join('\n'),
  );
  const failed = new Set([...output.matchAll(/Command failed -:(\d+)/g)].map(([, line]) => Number(line)));
  const rows = [...output.matchAll(/^\[.*\]\s*$/gm)].map(([json]) => JSON.parse(json) as RouteGet[]);
  let row = 0;
  return addresses.map((address, index) => {
    if (failed.has(index + 1)) return '';
    const route = rows[row++][0];
    if (route.error !== undefined || (route.type ?? 'unicast') !== 'unicast') return '';
    return neighbors.get(`${route.gateway ?? route.via?.host ?? address} ${route.dev}`) ?? '';
  });
}

test('the next hop in a random table is the one that the kernel takes', async (t) => {
  const seed = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 1e6));
  const next = numbers(seed);
  const { ns } = routedHost(t, 3);
  for (const network of NETWORKS) for (const host of HOSTS) addNeighbor(ns, network, host);
  const prefixes = Array.from({ length: 400 }, () => randomPrefix(next));
  const routes = prefixes.map((prefix) => randomRoute(prefix, next));
  const inFamily = (what: string, lines: readonly string[]) => {
    for (const family of ['-4', '-6']) {
      sh(
        `ip ${family} -n ${ns} -force -batch - 2>/dev/null || true`,
        lines
          .filter((line) => line.startsWith(family))
          .map((line) => line.slice(3).replace('WHAT', what))
          .join('\n'),
      );
    }
  };
  inFamily('add', routes.slice(0, 200));
  const finder = await startFinder(t, ns);
  const compare = async (when: string) => {
    const addresses = Array.from({ length: 600 }, () => near(prefixes[next(prefixes.length)], next));
    addresses.push('10.1.0.2', '10.3.0.4', 'fd00:2::3', '10.1.0.1', '192.0.2.1');
    const expected = kernelMacs(ns, addresses);
    const found = await finder.macs(...addresses);
    const differing = addresses.flatMap((address, i) =>
      found[i] === expected[i] ? [] : [`${address}: ${found[i]}, the kernel: ${expected[i]}`],
    );
    assert.deepEqual(differing, [], `${when}, SEED=${seed}`);
    assert.ok(found.filter((mac) => mac !== '').length > 50, `${when}: there are routes, SEED=${seed}`);
  };
  await compare('as it was read');
  inFamily('add', routes.slice(200));
  await compare('after additions');
  inFamily(
    'replace',
    prefixes.slice(0, 150).map((prefix) => randomRoute(prefix, next)),
  );
  await compare('after replacements');
  inFamily(
    'delete',
    routes.filter(() => next(3) === 0),
  );
  await compare('after deletions');
  sh(`ip -n ${ns} link set e2 down`);
  await compare('with an interface down');
  sh(`ip -n ${ns} link set e2 up`);
  addAddresses(ns, 2);
  for (const host of HOSTS) addNeighbor(ns, 2, host);
  inFamily('add', routes.slice(0, 100));
  await compare('with the interface up again');
  await finder.program.stop();
});

test('among 100,000 routes the kernel is asked, and they are followed as they are added and removed', async (t) => {
  const { ns } = routedHost(t, 2);
  for (const host of HOSTS) addNeighbor(ns, 1, host);
  const route = (i: number, host: number) =>
    `20.${i >>> 16}.${(i >>> 8) & 255}.${i & 255}/32 via 10.1.0.${host}`;
  const command = (what: string, from: number, to: number, host = 2) =>
    sh(
      `ip -n ${ns} -batch -`,
      Array.from({ length: to - from }, (_, i) => `route ${what} ${route(from + i, host)}`).join('\n'),
    );
  command('add', 0, 50_000);
  const finder = await startFinder(t, ns);
  const probe = ['20.0.0.0', '20.0.195.79', '20.0.195.80', '20.1.134.159', '20.1.134.160'];
  assert.deepEqual(await finder.macs(...probe), [macOf(1, 2), macOf(1, 2), '', '', '']);
  for (const [what, mac] of [
    ['add', macOf(1, 4)],
    ['delete', ''],
  ] as const) {
    sh(`ip -n ${ns} route ${what} 20.0.0.0/15 via 10.1.0.4`);
    assert.deepEqual(await finder.macs(probe[0], probe[2]), [macOf(1, 2), mac], what);
  }
  command('add', 50_000, 100_000, 3);
  assert.deepEqual(await finder.macs(...probe), [macOf(1, 2), macOf(1, 2), macOf(1, 3), macOf(1, 3), '']);
  command('delete', 0, 1_000);
  assert.deepEqual(await finder.macs(...probe), ['', macOf(1, 2), macOf(1, 3), macOf(1, 3), '']);
  sh(`ip -n ${ns} link set e1 down`);
  assert.deepEqual(await finder.macs(...probe), ['', '', '', '', '']);
  await finder.program.stop();
});

test('changes that the socket cannot hold are made up for by reading everything again', async (t) => {
  const { ns } = routedHost(t, 1);
  for (const host of HOSTS) addNeighbor(ns, 1, host);
  sh(`ip -n ${ns} route add default via 10.1.0.2`);
  const finder = await startFinder(t, ns);
  finder.program.child.kill('SIGSTOP');
  const lines = (what: string) =>
    Array.from({ length: 60_000 }, (_, i) => `route ${what} 20.0.${i >>> 8}.${i & 255}/32 via 10.1.0.3`);
  sh(`ip -n ${ns} -batch -`, [...lines('add'), ...lines('delete')].join('\n'));
  sh(`ip -n ${ns} route replace default via 10.1.0.4`);
  finder.program.child.kill('SIGCONT');
  assert.deepEqual(await finder.macs('20.0.0.7', '20.0.255.7', '198.51.100.1'), Array(3).fill(macOf(1, 4)));
  await finder.program.stop();
});

test('with more prefixes than are kept a change of one counts, and of what it does not concern nothing is asked', async (t) => {
  const { ns } = routedHost(t, 1);
  for (const host of HOSTS) addNeighbor(ns, 1, host);
  const run = (text: string) => sh(`ip -n ${ns} ${text}`);
  run('route add default via 10.1.0.2');
  run('-6 route add default via fd00:1::2');
  const finder = await startFinder(t, ns, { maxPrefixes: 4 });
  const addresses = ['198.51.100.1', '203.0.113.1', '2001:db8::1'];
  const [by2, by3, by4] = HOSTS.map((host) => macOf(1, host));
  assert.deepEqual(await finder.macs(...addresses), [by2, by2, by2]);
  const asked = await finder.asked();
  assert.deepEqual(await finder.macs(...addresses), [by2, by2, by2]);
  assert.equal(await finder.asked(), asked);
  run('route add 198.51.100.0/24 via 10.1.0.3');
  assert.deepEqual(await finder.macs(...addresses), [by3, by2, by2]);
  assert.equal(await finder.asked(), asked + 1);
  run('-6 route add 2001:db8::/32 via fd00:1::4');
  assert.deepEqual(await finder.macs(...addresses), [by3, by2, by4]);
  assert.equal(await finder.asked(), asked + 2);
  run('route delete 198.51.100.0/24');
  assert.deepEqual(await finder.macs(...addresses), [by2, by2, by4]);
  run('route replace default via 10.1.0.4');
  run('-6 route delete 2001:db8::/32');
  assert.deepEqual(await finder.macs(...addresses), [by4, by4, by2]);
  run('route add 198.51.0.0/16 via 10.1.0.3');
  run('-6 route replace default via fd00:1::4');
  assert.deepEqual(await finder.macs(...addresses), [by3, by4, by4]);
  run('route delete 198.51.0.0/16');
  run('route replace default via 10.1.0.2');
  assert.deepEqual(await finder.macs(...addresses), [by2, by2, by4]);
  run('rule add to 203.0.113.0/24 unreachable');
  assert.deepEqual(await finder.macs(...addresses), [by2, '', by4]);
  run('rule add not to 198.51.100.0/24 unreachable');
  assert.deepEqual(await finder.macs(...addresses), [by2, '', by4]);
  run('rule delete to 203.0.113.0/24 unreachable');
  run('rule delete not to 198.51.100.0/24 unreachable');
  assert.deepEqual(await finder.macs(...addresses), [by2, by2, by4]);
  run('rule add not to 198.51.100.0/24 unreachable');
  assert.deepEqual(await finder.macs(...addresses), [by2, '', by4]);
  run('link set e1 down');
  assert.deepEqual(await finder.macs(...addresses), ['', '', '']);
  await finder.program.stop();
});

test('where there stay more prefixes than are kept, nothing is asked anew as time goes by', async (t) => {
  const { ns } = routedHost(t, 1);
  for (const host of HOSTS) addNeighbor(ns, 1, host);
  sh(`ip -n ${ns} route add default via 10.1.0.2`);
  const finder = await startFinder(t, ns, { maxPrefixes: 4 });
  await finder.macs('198.51.100.1', '203.0.113.1');
  await finder.macs('198.51.100.1', '203.0.113.1');
  const asked = await finder.asked();
  for (let minutes = 0; minutes < 30; minutes++) await finder.find(['198.51.100.1'], 60_000);
  await finder.macs('198.51.100.1', '203.0.113.1');
  assert.equal(await finder.asked(), asked);
  sh(`ip -n ${ns} route replace default via 10.1.0.3`);
  assert.deepEqual(await finder.macs('198.51.100.1'), [macOf(1, 3)]);
  await finder.program.stop();
});

test('with few prefixes the kernel is asked once for all destinations between them', async (t) => {
  const { ns } = routedHost(t, 1);
  for (const host of HOSTS) addNeighbor(ns, 1, host);
  sh(`ip -n ${ns} route add default via 10.1.0.2 && ip -n ${ns} route add 20.1.0.0/16 via 10.1.0.3`);
  const finder = await startFinder(t, ns);
  await finder.macs('198.51.100.1', '20.1.0.1');
  const asked = await finder.asked();
  const many = Array.from({ length: 200 }, (_, n) => `20.${n % 4}.7.${n}`);
  assert.deepEqual(
    await finder.macs(...many),
    many.map((_, n) => macOf(1, n % 4 === 1 ? 3 : 2)),
  );
  assert.equal(await finder.asked(), asked);
  await finder.program.stop();
});

for (const maxPrefixes of [4, 1_000]) {
  const name = `where each destination is asked about and ${maxPrefixes} prefixes are kept`;

  test(`${name}, other links, gateways and prefixes make it ask nothing anew`, async (t) => {
    const { ns } = routedHost(t, 3);
    const run = (text: string) => sh(`ip -n ${ns} ${text}`);
    for (const network of NETWORKS) for (const host of HOSTS) addNeighbor(ns, network, host);
    run('route add default nexthop via 10.1.0.2 nexthop via 10.1.0.3');
    run('route add 20.0.0.0/8 via 10.3.0.2');
    run('route add 21.0.0.0/8 via 10.1.0.4');
    const finder = await startFinder(t, ns, { maxPrefixes });
    const addresses = Array.from({ length: 40 }, (_, n) => `198.51.100.${n}`);
    const macs = await finder.macs(...addresses, '20.0.0.1', '21.0.0.1');
    let asked = await finder.asked();
    const assertUnasked = async (what: string) => {
      for (let epochs = 0; epochs < 3; epochs++) {
        assert.deepEqual(await finder.macs(...addresses), macs.slice(0, 40), what);
        assert.equal(await finder.asked(), asked, what);
      }
    };
    await assertUnasked('at first');
    run('link add v1 type veth peer name v2');
    run('link set v1 up');
    run('link set v2 up');
    await assertUnasked('a link comes');
    run('link delete v1');
    await assertUnasked('it goes');
    run('link set e2 down');
    await assertUnasked('one goes down that no route in use leads over');
    run('route add 203.0.113.0/24 via 10.1.0.4');
    run('route replace 203.0.113.0/24 via 10.1.0.2');
    run('route delete 203.0.113.0/24');
    await assertUnasked('other prefixes change');
    run('link set e3 down');
    assert.deepEqual(await finder.macs(...addresses), macs.slice(0, 40));
    assert.ok((await finder.asked()) > asked, 'one goes down that a route in use leads over');
    run('route delete 21.0.0.0/8');
    run('link delete e3');
    await finder.macs(...addresses);
    await finder.macs(...addresses);
    asked = await finder.asked();
    run('neighbor change 10.1.0.4 dev e1 nud failed');
    await assertUnasked('a gateway of before does not answer');
    addNeighbor(ns, 1, 4);
    run('route replace default via 10.1.0.4');
    assert.deepEqual(
      await finder.macs(...addresses),
      addresses.map(() => macOf(1, 4)),
    );
    await finder.program.stop();
  });

  test(`${name}, a source that becomes an address of this host is one that rules mean`, async (t) => {
    const { ns } = routedHost(t, 1);
    for (const host of HOSTS) addNeighbor(ns, 1, host);
    sh(`ip -n ${ns} link set lo up && ip -n ${ns} route add default via 10.1.0.2`);
    sh(`ip -n ${ns} rule add from 10.9.0.0/16 lookup 200`);
    sh(`ip -n ${ns} route add default via 10.1.0.3 table 200`);
    const finder = await startFinder(t, ns, { maxPrefixes });
    const from = async () => finder.macsFrom('10.9.0.1', '198.51.100.1');
    assert.deepEqual(await from(), [macOf(1, 2)]);
    sh(`ip -n ${ns} route add local 10.9.0.0/16 dev lo`);
    assert.deepEqual(await from(), [macOf(1, 3)]);
    sh(`ip -n ${ns} route delete local 10.9.0.0/16 dev lo`);
    assert.deepEqual(await from(), [macOf(1, 2)]);
    await finder.program.stop();
  });
}

test('a link that comes back with a better route is gone over, whether a route in use led there or not', async (t) => {
  const { ns, peer } = routedHost(t, 2);
  for (const network of [1, 2]) for (const host of HOSTS) addNeighbor(ns, network, host);
  for (const link of ['all', 'e1', 'e2'])
    sh(`ip netns exec ${ns} sysctl -qw net.ipv4.conf.${link}.ignore_routes_with_linkdown=1`);
  sh(`ip -n ${ns} route add default via 10.1.0.2 metric 10`);
  sh(`ip -n ${ns} route add default via 10.2.0.2 metric 20`);
  sh(`ip -n ${peer} link set p1 down`);
  for (const maxPrefixes of [4, 1_000]) {
    const finder = await startFinder(t, ns, { maxPrefixes });
    await until('the other way', async () => (await finder.macs('198.51.100.1'))[0] === macOf(2, 2));
    sh(`ip -n ${peer} link set p1 up`);
    await until('the other way', async () => (await finder.macs('198.51.100.1'))[0] === macOf(1, 2));
    sh(`ip -n ${peer} link set p1 down`);
    await until('the other way', async () => (await finder.macs('198.51.100.1'))[0] === macOf(2, 2));
    await finder.program.stop();
  }
});

test('where not all routes can be read, some may be for some sources only', async (t) => {
  const { ns } = routedHost(t, 1);
  for (const [maxPrefixes, isBySource] of [
    [1_000, false],
    [4, true],
  ] as const) {
    const finder = await startFinder(t, ns, { maxPrefixes });
    assert.equal(await finder.isBySource(), isBySource);
    sh(`ip -n ${ns} -6 route add 2001:db8:1::/48 from 2001:db8:2::/48 via fd00:1::2`);
    assert.equal(await finder.isBySource(), true);
    await finder.find([], 700_000); // it tries to read them again
    assert.equal(await finder.isBySource(), true);
    await finder.program.stop();
    sh(`ip -n ${ns} -6 route delete 2001:db8:1::/48 from 2001:db8:2::/48`);
  }
});
