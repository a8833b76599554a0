// VIPs and LIPs on Linux bridges while br_netfilter is loaded, which Docker and Kubernetes do: then frames
// meet the host's netfilter inside a bridge, before whoever captures on the bridge sees them, and not again
// behind it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { createNamespace, inNamespace, removeNamespace, run } from '../../src/lab/namespace.ts';
import { LB_LAN_IPS, LB_WAN_IPS, type Topology } from '../../src/lab/topology.ts';
import { type IoUnderTest, type Rig, startRig } from './harness.ts';
import { ICMP_ERRORS, PAIRS } from './pairs.ts';

const SYSCTL = '/proc/sys/net/bridge/bridge-nf-call-iptables';
const CONTAINER = { 4: '10.9.0.2', 6: 'fd00:9::2' } as const;
const DOCKER0 = { 4: '10.9.0.1', 6: 'fd00:9::1' } as const;
const OTHER_PORT = 6999;

function loadBridgeNetfilter(t: TestContext): void {
  if (existsSync(SYSCTL)) return;
  const loaded = spawnSync('modprobe', ['br_netfilter'], { encoding: 'utf8' });
  assert.ok(existsSync(SYSCTL), `this test needs the kernel module br_netfilter: ${loaded.stderr}`);
  t.after(() => {
    spawnSync('modprobe', ['-r', 'br_netfilter']);
  });
}

/** Puts a bridge that has the name and the addresses of `device` above it. */
function bridgeAbove(topology: Topology, device: string, addresses: readonly string[]): void {
  const port = `${device}p`;
  const links = [
    `link set ${device} down`,
    `address flush dev ${device}`,
    `link set ${device} name ${port}`,
    `link add ${device} type bridge stp_state 0 forward_delay 0`,
    `link set ${port} master ${device}`,
    `link set ${port} up`,
    `link set ${device} up`,
    ...addresses.map((one) => `address add ${one} dev ${device}${one.includes(':') ? ' nodad' : ''}`),
  ];
  for (const line of links) topology.exec('lb', ['ip', ...line.split(' ')]);
}

function asUnderDocker(topology: Topology): void {
  const { 4: wan4, 6: wan6 } = LB_WAN_IPS;
  const { 4: lan4, 6: lan6 } = LB_LAN_IPS;
  bridgeAbove(topology, 'wan0', [`${wan4}/24`, `${wan6}/64`]);
  bridgeAbove(topology, 'lan0', [`${lan4}/24`, `${lan6}/64`]);
  const sysctls = {
    'net.bridge.bridge-nf-call-iptables': 1,
    'net.bridge.bridge-nf-call-ip6tables': 1,
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
  };
  for (const [key, value] of Object.entries(sysctls))
    topology.exec('lb', ['sysctl', '-qw', `${key}=${value}`]);
  // As for a container with a published port and for those that go out.
  const nat = (ip: string, to: string) =>
    `table ${ip} nat { chain pre { type nat hook prerouting priority dstnat; udp dport 6000 dnat to ${to}; }; ` +
    'chain post { type nat hook postrouting priority srcnat; masquerade; }; }';
  topology.exec('lb', ['nft', '-f', '-'], `${nat('ip', CONTAINER[4])}\n${nat('ip6', `[${CONTAINER[6]}]`)}\n`);
}

/** Another namespace behind a bridge of the lb that nothing is captured on. */
function startContainer(t: TestContext, topology: Topology): (argv: readonly string[]) => string {
  const container = createNamespace('container');
  t.after(() => removeNamespace(container));
  const peer = ['peer', 'name', 'eth0', 'netns', container];
  const lines = [
    ['link', 'add', 'docker0', 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0'],
    ['link', 'add', 'vethc', 'master', 'docker0', 'type', 'veth', ...peer],
    ['link', 'set', 'vethc', 'up'],
    ['link', 'set', 'docker0', 'up'],
    ['address', 'add', `${DOCKER0[4]}/24`, 'dev', 'docker0'],
    ['address', 'add', `${DOCKER0[6]}/64`, 'dev', 'docker0', 'nodad'],
  ];
  for (const line of lines) topology.exec('lb', ['ip', ...line]);
  run(['ip', '-n', container, 'link', 'set', 'eth0', 'up']);
  run(['ip', '-n', container, 'address', 'add', `${CONTAINER[4]}/24`, 'dev', 'eth0']);
  run(['ip', '-n', container, 'address', 'add', `${CONTAINER[6]}/64`, 'dev', 'eth0', 'nodad']);
  run(['ip', '-n', container, 'route', 'add', 'default', 'via', DOCKER0[4]]);
  run(['ip', '-n', container, '-6', 'route', 'add', 'default', 'via', DOCKER0[6]]);
  return (argv) => run(inNamespace(container, argv));
}

/** What becomes of a datagram: "silence" within two seconds, or the error that the sender is told. */
const ASK = `
import errno, socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.settimeout(2)
sock.send(b"x" * int(sys.argv[3]))
try:
    print(sock.recv(100))
except socket.timeout:
    print("silence")
except OSError as error:
    print(errno.errorcode[error.errno])
`;

async function assertServes(rig: Rig, full: number): Promise<void> {
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', ICMP_ERRORS, 'in');
  const lan = await rig.watch('rs', 'eth0', ICMP_ERRORS, 'in');
  const { answered, altered } = await rig.clients({
    portsPerAddress: 20,
    count: 500,
    sizes: [26, 512, full, 4000],
  });
  assert.deepEqual({ answered, altered }, { answered: 500, altered: 0 });
  await wan.none('frame', 'the clients get no ICMP error');
  await lan.none('frame', 'the real servers get no ICMP error');
  await Promise.all(servers.map((server) => server.end()));
  assert.equal((await rig.proxy.get('/readyz')).status, 200);
}

const IOS: (IoUnderTest & { mode: 'ring' | 'pcap' })[] = [{ mode: 'ring', workers: 1 }, { mode: 'pcap' }];
for (const io of IOS) {
  for (const { name, dialect, full, ...pair } of [PAIRS[4], PAIRS[6]]) {
    test(`${io.mode}, ${name}: VIP and LIP on bridges of a Docker host lose nothing`, async (t) => {
      loadBridgeNetfilter(t);
      const rig = await startRig(t, { io, pair, uoa: { dialect }, beforeProxy: asUnderDocker });
      await assertServes(rig, full);
    });
  }

  test(`${io.mode}: captured on the ports of bridges, VIP and LIP lose nothing`, async (t) => {
    loadBridgeNetfilter(t);
    const rig = await startRig(t, {
      io: { ...io, wan: 'wan0p', lan: 'lan0p' },
      pair: PAIRS[4],
      beforeProxy: asUnderDocker,
    });
    await assertServes(rig, PAIRS[4].full);
  });
}

for (const { name, dialect, ...pair } of [PAIRS[4], PAIRS[6]]) {
  test(`${name}: what other interfaces bring for a VIP is met with silence, on a bridge too`, async (t) => {
    loadBridgeNetfilter(t);
    const rig = await startRig(t, {
      io: { mode: 'ring', workers: 1 },
      pair,
      uoa: { dialect },
      beforeProxy: asUnderDocker,
    });
    const inContainer = startContainer(t, rig.topology);
    // What fits into one packet, and fragments.
    const askFor = (port: number, size: number) =>
      inContainer(['python3', '-c', ASK, rig.vip, String(port), String(size)]).trim();
    assert.deepEqual([askFor(6000, 64), askFor(6000, 4000)], ['silence', 'silence']);
    assert.equal(askFor(OTHER_PORT, 64), 'ECONNREFUSED', 'another port is the host’s, which says so');
  });
}
