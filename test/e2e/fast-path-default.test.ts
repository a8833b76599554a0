// What a proxy has of the fast path whose config says nothing of it: what there is, what is said where there
// is none, and that it is harmless on all kinds of interfaces.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { createNamespace, inNamespace, removeNamespace } from '../../src/lab/namespace.ts';
import { nodeArgv } from '../../src/lab/programs.ts';
import { LB_LAN_IPS, LB_WAN_IPS, type Role, type Topology } from '../../src/lab/topology.ts';
import { mountBpffs, withBpffs, withoutBpffs } from '../sys/bpffs.ts';
import { type IoUnderTest, MAIN, type Rig, type RigOptions, startRig } from './harness.ts';
import { assertCounted, assertRightClients, Client, fastCount } from './hot.ts';

const DEFAULT: IoUnderTest = { mode: 'auto', workers: 1, fastPath: undefined };
const WITHOUT_BPF = ['setpriv', '--bounding-set=-bpf,-sys_admin', '--inh-caps=-bpf,-sys_admin'];
const WITHOUT_LIBBPF = [
  'sh',
  '-c',
  'for at in $(ldconfig -p | sed -n "s/.*libbpf[.]so[.]1 .*=> //p"); do mount --bind /dev/null "$at" || exit 1; done; exec "$@"',
  'sh',
];

const start = (t: TestContext, { io, ...options }: RigOptions = {}) =>
  startRig(t, { clients: 2, servers: 1, io: { ...DEFAULT, ...io }, ...options });

/** Lines of the log that are about it, without what was found or removed. */
const linesOf = ({ proxy }: Rig) =>
  proxy.log
    .split('\n')
    .filter((line) => /fast path/.test(line))
    .map((line) => JSON.parse(line) as { level: string; msg: string })
    .map(({ level, msg }) => `${level}: ${msg}`);

const fastPathOf = async (rig: Rig) => {
  const { fastPath } = JSON.parse((await rig.get('/stats')).body);
  const { kind, wanted, why } = fastPath as { kind: string; wanted: string; why: string };
  return { kind, wanted, why };
};

function ctl(rig: Rig, ...words: string[]): string {
  const argv = nodeArgv(MAIN, 'ctl', '--config', rig.configPath, ...words);
  return execFileSync('ip', inNamespace(rig.topology.namespaces.lb, argv).slice(1), { encoding: 'utf8' });
}

/** All is forwarded; a hot session where there is a fast path. */
async function assertServes(rig: Rig, isHot: boolean): Promise<void> {
  const servers = await rig.startServers();
  const client = await Client.start(rig);
  if (isHot) await client.heat(rig);
  await client.exchange(50);
  await client.exchange(10, { size: 1400 });
  await client.assertQuiet();
  await assertCounted(rig, client.answered);
  if (!isHot) assert.equal(await fastCount(rig), 0);
  await assertRightClients(servers);
}

test('where no card stands behind an interface it is tc, and the log, /stats, ctl and a metric say so', async (t) => {
  const rig = await start(t, { under: withBpffs(mountBpffs(t)) });
  const why = 'no card stands behind wan0, lan0';
  const [line, ...others] = linesOf(rig);
  assert.match(
    line!,
    /^info: fast path: (tcx|clsact) at wan0, \1 at lan0 \(no card stands behind wan0, lan0\)$/,
  );
  assert.deepEqual(others, []);
  assert.deepEqual(await fastPathOf(rig), { kind: 'tc', wanted: 'auto', why });
  assert.match(
    ctl(rig, 'stats'),
    /^Fast path tc: \w+ at wan0, \w+ at lan0 \(no card stands behind wan0, lan0\)$/m,
  );
  assert.equal(await rig.metric('fast_path_info', { kind: 'tc', wanted: 'auto', why }), 1);
  await assertServes(rig, true);
});

test('without a bpffs it works all the same, and what is lost is said once', async (t) => {
  const rig = await start(t, { under: withoutBpffs });
  const [first, second, ...others] = linesOf(rig);
  assert.match(first!, /^info: fast path: /);
  assert.match(
    second!,
    /^info: the fast path ends with the proxy, and a restart finds no hot session: no bpffs is mounted at \/sys\/fs\/bpf/,
  );
  assert.deepEqual(others, []);
  await assertServes(rig, true);
});

for (const [name, options, why] of [
  [
    'CAP_BPF',
    { under: WITHOUT_BPF },
    /^bpf_\w+( of \w+)? failed: EPERM.* \(it takes CAP_BPF and CAP_NET_ADMIN\)$/,
  ],
  [
    'libbpf',
    { under: WITHOUT_LIBBPF },
    /^libbpf cannot be loaded: .*\(install the Debian package libbpf1\)$/,
  ],
  [
    'rings',
    { io: { mode: 'pcap' } },
    /^io\.mode is pcap, and packets come in by capture filters, which do not know it$/,
  ],
] as const)
  test(`without ${name} there is none, which one line of the log says and no warning, and all goes by the datapath`, async (t) => {
    const rig = await start(t, {
      ...options,
      under: [...withBpffs(mountBpffs(t)), ...('under' in options ? options.under : [])],
    });
    const found = await fastPathOf(rig);
    assert.match(found.why, why);
    assert.deepEqual([found.kind, found.wanted], ['off', 'auto']);
    assert.deepEqual(linesOf(rig), [`info: no fast path: ${found.why}`]);
    assert.match(ctl(rig, 'stats'), /^No fast path, io\.fastPath is auto: /m);
    await assertServes(rig, false);
  });

/** Makes an interface over a port, which is to have the port's addresses, by commands of `ip`. */
interface Kind {
  name: string;
  make: (port: string, made: string) => string[];
  /** The other ends have the same. */
  isOfBothEnds?: true;
}

const KINDS: readonly Kind[] = [
  {
    name: 'bridges',
    make: (port, made) => [
      `link add ${made} type bridge stp_state 0 forward_delay 0`,
      `link set ${port} master ${made}`,
    ],
  },
  {
    name: 'macvlans',
    make: (port, made) => [`link add link ${port} name ${made} type macvlan mode bridge`],
  },
  {
    name: 'bonds',
    make: (port, made) => [
      `link add ${made} type bond mode active-backup miimon 100`,
      `link set ${port} down`,
      `link set ${port} master ${made}`,
    ],
  },
  {
    name: 'VLANs',
    make: (port, made) => [`link add link ${port} name ${made} type vlan id 7`],
    isOfBothEnds: true,
  },
];

const MADE = 'made-';

/** False: this kernel has no such interfaces. */
function canMake({ make }: Kind): boolean {
  const [first] = make('lo', 'made');
  const name = createNamespace('kind');
  try {
    const port = ['link', 'add', 'port', 'type', 'veth', 'peer', 'name', 'peer'];
    execFileSync('ip', ['-n', name, ...port]);
    return spawnSync('ip', ['-n', name, ...first!.replace('link lo', 'link port').split(' ')]).status === 0;
  } finally {
    removeNamespace(name);
  }
}

/** The addresses and the default route of a port move to what is made over it. */
function move(topology: Topology, role: Role, { make }: Kind, port: string, gateway?: string): void {
  const made = `${MADE}${port}`;
  // What is below a macvlan would answer for its addresses.
  topology.exec(role, ['sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1']);
  const ip = (words: string) => topology.exec(role, ['ip', ...words.split(' ')]);
  const [{ addr_info }] = JSON.parse(ip(`-j -4 address show dev ${port}`)) as [
    { addr_info: { local: string; prefixlen: number }[] },
  ];
  ip(`address flush dev ${port}`);
  for (const words of make(port, made)) ip(words);
  for (const { local, prefixlen } of addr_info) ip(`address add ${local}/${prefixlen} dev ${made}`);
  for (const name of [port, made]) ip(`link set ${name} up`);
  if (gateway !== undefined) ip(`route add default via ${gateway}`);
}

for (const kind of KINDS)
  test(`on ${kind.name} a session is hot at tc, and all is forwarded`, async (t) => {
    if (!canMake(kind)) return t.skip(`this kernel has no ${kind.name}`);
    const rig = await start(t, {
      io: { wan: `${MADE}wan0`, lan: `${MADE}lan0` },
      beforeProxy: (topology) => {
        move(topology, 'lb', kind, 'wan0');
        move(topology, 'lb', kind, 'lan0');
        if (!kind.isOfBothEnds) return;
        move(topology, 'client', kind, 'eth0', LB_WAN_IPS[4]);
        move(topology, 'rs', kind, 'eth0', LB_LAN_IPS[4]);
      },
    });
    assert.equal((await fastPathOf(rig)).kind, 'tc');
    await assertServes(rig, true);
  });

test('a sidecar has it at both of its interfaces, and where lo takes no such packets all goes by the datapath', async (t) => {
  const rig = await start(t, { kind: 'sidecar', realServers: [{ ip: '127.0.0.1', port: 7000 }] });
  assert.equal((await fastPathOf(rig)).kind, 'tc');
  await assertServes(rig, false);
});

test('with one arm it is tc', async (t) => {
  const rig = await start(t, { kind: 'one-arm' });
  assert.equal((await fastPathOf(rig)).kind, 'tc');
  await assertServes(rig, true);
});
