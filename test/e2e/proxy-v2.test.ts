// Dialect proxy-v2 end to end: a server that reads headers strictly, over every pair of families with what
// clients may send, and name servers of Debian that know nothing of this project.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LB_LAN_IPS, type Topology, VPORT } from '../../src/lab/topology.ts';
import { formatEndpoint } from '../../src/wire/address.ts';
import { askSocket } from './admin.ts';
import { IO, type Rig, type RigOptions, startPython, startRig, until } from './harness.ts';
import { type Listed, listedIn } from './listed.ts';
import { ALL_PAIRS, PAIRS, type Pair } from './pairs.ts';

const PORT = 5300;
const SIZE = { 4: 28, 6: 52 };

/** A rig with the strict server on each real server's address. */
async function start(t: TestContext, pair: Pair, uoa: RigOptions['uoa'] = {}, options: RigOptions = {}) {
  const rig = await startRig(t, { pair, servers: 1, uoa: { dialect: 'proxy-v2', ...uoa }, ...options });
  const server = startPython(rig.topology, 'rs', 'proxied.py', rig.realServers[0]);
  await server.ready;
  return { rig, server };
}

const IP_LEN = { 4: 20, 6: 40 };

/** The payload that fills the MTU of 1,500, with its header towards the real servers. */
const fullOf = ({ client, server }: Pair) =>
  1500 - Math.max(IP_LEN[server] + SIZE[client], IP_LEN[client]) - 8;

for (const pair of ALL_PAIRS) {
  test(`${pair.name}: every datagram names its client and the VIP, of any size, and comes back as it was`, async (t) => {
    const { rig, server } = await start(t, pair);
    const sizes = [64, 0, 1, 7, 512, 1200, fullOf(pair)];
    const clients = await rig.clients({ portsPerAddress: 20, count: 140, sizes });
    const said = await server.end();
    assert.deepEqual([clients.missing, clients.altered, clients.unexpected], [0, 0, 0]);
    const { headed, plain, faults, wrong, empty, virtuals } = said;
    assert.deepEqual({ plain, faults, wrong }, { plain: 0, faults: 0, wrong: 0 });
    assert.equal(headed, clients.sent);
    assert.ok((empty as number) > 0);
    assert.deepEqual(virtuals, [formatEndpoint(rig.vip, VPORT)]);
    assert.equal((said.clients as string[]).length, 60);
    assert.equal(await rig.metric('uoa_sent_total', { carriage: 'header' }), clients.sent);
    assert.equal(await rig.metric('uoa_sent_total'), clients.sent);
    assert.equal(await rig.metric('drops_total'), 0);
  });

  test(`${pair.name}: fragments, merged datagrams and those without checksum bring one header each`, async (t) => {
    const { rig, server } = await start(t, pair);
    const cuts = [
      { fragment: 600, size: 1400 },
      { fragment: 1280, size: 4000 },
      { fragment: 1400, size: 20_000 },
    ];
    const pieces = await rig.probe('fragments', { cuts, orders: ['in order', 'reversed'] });
    assert.ok(
      (pieces.results as string[]).every((result) => result.endsWith(': same')),
      String(pieces.results),
    );
    let datagrams = 6;
    if (IO.mode !== 'pcap') {
      const merged = await rig.probe('segment', { size: 1200, segments: 12 });
      assert.deepEqual(merged.replies, Array(12).fill(1200));
      datagrams += 12;
    }
    if (pair.client === 4) {
      const plain = await rig.probe('exchange', { sizes: [64, 0, 700], noChecksum: true });
      assert.deepEqual(plain.results, ['same', 'same', 'same']);
      datagrams += 3;
    }
    const { headed, plain, faults, wrong } = await server.end();
    assert.deepEqual({ headed, plain, faults, wrong }, { headed: datagrams, plain: 0, faults: 0, wrong: 0 });
  });

  test(`${pair.name}: a client learns what its datagrams may have beside the header`, async (t) => {
    const { rig, server } = await start(t, pair);
    const told = await rig.probe('pmtu', { size: fullOf(pair) + 1 });
    // The sockets' MTU: of the client's own packets.
    const own = fullOf(pair) + 8 + IP_LEN[pair.client];
    assert.equal(told.mtu, own, JSON.stringify(told));
    await server.end();
  });
}

test('with mode first the first datagrams of a session bring the header, and none is in the fast path', async (t) => {
  const pair = PAIRS[4];
  const io = { mode: 'ring', workers: 1, fastPath: 'tc' } as const;
  const { rig, server } = await start(t, pair, { proxyV2: 'first', maxTrials: 2 }, { io });
  const clients = await rig.clients({ portsPerAddress: 1, count: 300, sizes: [64] });
  assert.deepEqual([clients.missing, clients.altered], [0, 0]);
  const { body } = await rig.get('/sessions');
  const sessions = listedIn<Listed & { uoa: { state: string; sent: number }; fastPath: string }>(body);
  assert.deepEqual(
    sessions.map(({ uoa, fastPath }) => [uoa.state, uoa.sent, fastPath]),
    Array(3).fill(['exhausted', 2, 'proxy_v2']),
  );
  const { headed, plain, wrong } = await server.end();
  assert.deepEqual([headed, wrong], [6, 0]);
  assert.equal(plain, (clients.sent as number) - 6);
});

/** A name server of Debian: what runs it in the namespace of the real servers. */
interface NameServer {
  name: string;
  program: string;
  argv(topology: Topology, ips: readonly string[]): string[];
}

/** Whose questions are answered; 10.1.0.4 is not. */
const ALLOWED = ['10.1.0.2', '10.1.0.3', 'fd00:1::2', 'fd00:1::3'];
/** Who may send headers: the LIPs, and the proxy's host for its checks, whose questions are answered too. */
const TRUSTED = ['10.2.0.0/24', 'fd00:2::/64'];
const CHECKING = [LB_LAN_IPS[4], LB_LAN_IPS[6]];
const NAME = 'who.example';

function save(topology: Topology, name: string, lines: readonly string[]): string {
  const dir = join(topology.scratch, 'dns');
  mkdirSync(dir, { recursive: true });
  const path = join(dir, name);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

const quoted = (list: readonly string[]) => list.map((one) => `"${one}"`).join(', ');

const NAME_SERVERS: readonly NameServer[] = [
  {
    name: 'Unbound',
    program: 'unbound',
    argv(topology, ips) {
      const record = (ip: string) => `${NAME}. IN ${ip.includes(':') ? 'AAAA' : 'A'} ${ip}`;
      const config = save(topology, 'unbound.conf', [
        'server:',
        ...['chroot: ""', 'username: ""', 'pidfile: ""', 'use-syslog: no', 'do-daemonize: no'],
        ...['num-threads: 1', 'module-config: "iterator"', 'log-queries: yes'],
        `directory: "${topology.scratch}/dns"`,
        ...ips.map((ip) => `interface: ${ip}@${PORT}`),
        `proxy-protocol-port: ${PORT}`,
        ...['access-control: 0.0.0.0/0 refuse', 'access-control: ::/0 refuse'],
        // It asks for both: who sends headers, and whom they name.
        ...[...ALLOWED, ...TRUSTED].map((ip) => `access-control: ${ip} allow`),
        // For its checks, which no view is for.
        ...[`local-zone: "${NAME}." static`, `local-data: "${record('192.0.2.53')}"`],
        ...ALLOWED.map((ip) => `access-control-view: ${ip} "of ${ip}"`),
        'remote-control:\n  control-enable: no',
        ...ALLOWED.flatMap((ip) => [
          'view:',
          `name: "of ${ip}"`,
          `local-zone: "${NAME}." static`,
          `local-data: "${record(ip)}"`,
        ]),
      ]);
      return ['unbound', '-d', '-p', '-c', config];
    },
  },
  {
    name: 'dnsdist',
    program: 'dnsdist',
    argv(topology, ips) {
      const config = save(topology, 'dnsdist.conf', [
        ...ips.map((ip) => `addLocal("${formatEndpoint(ip, PORT)}")`),
        `setACL({${quoted([...ALLOWED, ...CHECKING])}})`,
        `setProxyProtocolACL({${quoted(TRUSTED)}})`,
        'setProxyProtocolApplyACLToProxiedClients(true)',
        'setSecurityPollSuffix("")',
        'addAction(AllRule(), LuaAction(function(dq)',
        '  return DNSAction.Spoof, dq.remoteaddr:toString()',
        'end))',
      ]);
      return ['dnsdist', '--supervised', '--disable-syslog', '-C', config];
    },
  },
  {
    name: 'PowerDNS Recursor',
    program: 'pdns_recursor',
    argv(topology, ips) {
      const script = save(topology, 'recursor.lua', [
        'function preresolve(dq)',
        '  local address = dq.remoteaddr:toString()',
        '  dq:addAnswer(dq.remoteaddr:isIPv6() and pdns.AAAA or pdns.A, address)',
        '  return true',
        'end',
      ]);
      const dir = join(topology.scratch, 'dns');
      return [
        'pdns_recursor',
        ...[`--config-dir=${dir}`, `--socket-dir=${dir}`, '--daemon=no', '--write-pid=no'],
        ...['--disable-syslog', '--security-poll-suffix=', '--hint-file=no', '--dnssec=off', '--threads=1'],
        // Or a client would get the answer to another one's question.
        '--disable-packetcache',
        ...[`--local-address=${ips.join()}`, `--local-port=${PORT}`, `--lua-dns-script=${script}`],
        `--allow-from=${[...ALLOWED, ...CHECKING].join()}`,
        `--proxy-protocol-from=${TRUSTED.join()}`,
      ];
    },
  },
];

/** A check that asks as clients do, and takes whatever comes back for its question. */
const CHECK = {
  type: 'udp',
  interval: '500ms',
  timeout: '5s',
  send: 'hex:1234010000010000000000000377686f076578616d706c650000010001',
  expect: '/^\\x12\\x34/',
};

async function ask(
  rig: Rig,
  addresses: readonly string[],
  { ports = 4, questions = 5, timeoutMs = 20_000 } = {},
) {
  const options = { ports, questions, timeoutMs, to: [rig.vip, VPORT], name: NAME };
  const answer = await startPython(rig.topology, 'client', 'dns.py', { ...options, addresses }).result;
  return { own: answer.own, refused: answer.refused, missing: answer.missing, others: answer.others };
}

for (const { name, program, argv } of NAME_SERVERS) {
  for (const pair of ALL_PAIRS) {
    test(`${name} sees the clients, and answers its checks: ${pair.name}`, async (t) => {
      assert.equal(spawnSync(program, ['--help']).error, undefined, `this test needs the program ${program}`);
      const ip = pair.server === 4 ? '10.2.0.11' : 'fd00:2::11';
      let log = '';
      const rig = await startRig(t, {
        pair,
        clients: 3,
        servers: 1,
        uoa: { dialect: 'proxy-v2' },
        realServers: [{ ip, port: PORT }],
        service: { health: CHECK },
        beforeProxy(topology) {
          const server = topology.spawn('rs', argv(topology, [ip]), { stdio: ['ignore', 'pipe', 'pipe'] });
          for (const stream of [server.stdout, server.stderr])
            stream?.on('data', (chunk: Buffer) => {
              log += chunk;
            });
        },
      });
      const said = () => log.slice(-2000);
      const once = { ports: 1, questions: 1, timeoutMs: 1000 };
      await until(
        `${name} answers`,
        async () => (await ask(rig, rig.clientIps.slice(0, 1), once)).own === 1,
      ).catch((error: unknown) => assert.fail(`${error}: ${said()}`));
      const known = rig.clientIps.slice(0, 2);
      const answered = await ask(rig, known);
      assert.deepEqual(answered, { own: 40, refused: 0, missing: 0, others: [] }, said());
      const { own, refused, missing } = await ask(rig, rig.clientIps.slice(2), once);
      assert.deepEqual(
        [own, (refused as number) + (missing as number)],
        [0, 1],
        'its address is not allowed',
      );
      if (name === 'Unbound')
        assert.ok(
          known.every((client) => log.includes(`${client} ${NAME}.`)),
          said(),
        );
      assert.equal(await rig.metric('server_up'), 1, said());
      assert.equal(await rig.metric('uoa_sent_total', { carriage: 'header' }), await inbound(rig));
    });
  }
}

const inbound = (rig: Rig) => rig.metric('forwarded_packets_total', { direction: 'inbound' });

for (const [proxyV2, status] of [
  ['every', 409],
  ['first', 200],
] as const)
  test(`with mode ${proxyV2} an announcement is answered with ${status}`, async (t) => {
    const { rig, server } = await start(t, PAIRS[4], { proxyV2 });
    const { ip, port } = rig.realServers[0]!;
    const answer = await askSocket(rig.socketPath, `/services/test/servers/${ip}:${port}/announce`, 'POST');
    assert.equal(answer.status, status, answer.body);
    if (status === 409) assert.match(answer.body, /brings its client already: uoa.proxyV2 is every/);
    await server.end();
  });
