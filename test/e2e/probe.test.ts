// `ctl probe`: what it says of real servers behind a path that lets IP options through, and behind one that
// drops them, for which nothing else shows but clients that wait.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { ProbeReport } from '../../src/admin/sources.ts';
import { startRealServer } from '../../src/lab/programs.ts';
import { formatEndpoint } from '../../src/wire/address.ts';
import { askSocket } from './admin.ts';
import { IO, type IoUnderTest, type Rig, startPython, startRig } from './harness.ts';
import { PAIRS } from './pairs.ts';

/** Where an answer is to come: until then it does not wait. */
const LONG = '8s';

async function probe(rig: Rig, query = `timeout=${LONG}`, server = rig.realServers[0]): Promise<ProbeReport> {
  const rs = encodeURIComponent(formatEndpoint(server!.ip, server!.port));
  const path = `/services/test/servers/${rs}/probe?${query}`;
  const { status, body } = await askSocket(rig.socketPath, path, 'POST');
  assert.equal(status, 200, body);
  return JSON.parse(body) as ProbeReport;
}

/** The real servers' host lets no packet in that has IP options or a destination options header. */
function dropOptions(rig: Rig): void {
  const hook = 'type filter hook prerouting priority -500;';
  rig.topology.exec(
    'rs',
    ['nft', '-f', '-'],
    `table ip uoa_test { chain c { ${hook} ip hdrlength > 5 drop; }; }
     table ip6 uoa_test { chain c { ${hook} exthdr dst exists drop; }; }`,
  );
}

const results = ({ plain, uoa, verdict }: ProbeReport) => [plain.result, uoa?.result, verdict];

const WAYS: [name: string, io: IoUnderTest][] = [
  [IO.mode === 'pcap' ? 'pcap' : 'ring', { ...IO, workers: 1 }],
  ['two workers and tc', { mode: 'ring', workers: 2, fastPath: 'tc' }],
];
const DIALECTS = [
  ['ipo', PAIRS[4]],
  ['unified', PAIRS[4]],
  ['elb', PAIRS[6]],
] as const;

for (const [way, io] of WAYS)
  for (const [dialect, pair] of DIALECTS)
    test(`${way}, ${dialect} over IPv${pair.server}: it tells a path that drops options from one that does not`, async (t) => {
      const rig = await startRig(t, { pair, servers: 1, clients: 1, uoa: { dialect }, io });
      const [server] = await rig.startServers();
      const open = await probe(rig);
      assert.deepEqual(results(open), ['answered', 'answered', 'ok'], JSON.stringify(open));
      assert.equal(open.uoa!.isAcked, false);
      assert.equal(open.plain.bytes, open.payloadBytes);
      dropOptions(rig);
      const dropping = await probe(rig, 'timeout=6s');
      assert.deepEqual(results(dropping), ['answered', 'silent', 'uoa_dropped'], JSON.stringify(dropping));
      assert.match(dropping.text, /a path that drops packets with (IP|destination) options/);
      // The guard let none of the answers through, so nobody was told that a port is closed.
      const ended = await server!.end();
      assert.deepEqual(
        Object.keys(ended).filter((key) => /refused|unreachable/i.test(key)),
        [],
      );
      // What it learned of is the LIP itself.
      const clients = ended.clients as Record<string, string>;
      assert.deepEqual(Object.keys(clients), Object.values(clients));
      assert.ok(Number(ended.uoas) >= 1);
      assert.equal(await rig.metric('sessions_created_total'), 0);
    });

test('a real server that acknowledges is told from one that does not, in IPv6 too', async (t) => {
  const rig = await startRig(t, { pair: PAIRS[6], servers: 1, clients: 1, uoa: { dialect: 'elb' } });
  const [server] = rig.realServers;
  const program = startRealServer(rig.topology, server!);
  const [ready] = (await once(createInterface({ input: program.stdout! }), 'line')) as [string];
  assert.match(ready, /"ready"/);
  const report = await probe(rig);
  assert.deepEqual(results(report), ['answered', 'answered', 'ok']);
  assert.equal(report.uoa!.isAcked, true);
  const dropped = await rig.metric('drops_total', { reason: 'no_session' });
  assert.ok(dropped >= 3, `${dropped} answers came to no session`);
});

test('opp without a module is refused, and nothing at all where nobody listens', async (t) => {
  const rig = await startRig(t, { servers: 2, clients: 1, uoa: { dialect: 'opp' } });
  const nobody = await probe(rig);
  assert.deepEqual([nobody.plain.icmp, nobody.verdict], ['port unreachable', 'refused']);
  await rig.startServers();
  const report = await probe(rig);
  assert.deepEqual(results(report), ['answered', 'refused', 'uoa_refused']);
  assert.equal(report.uoa!.icmp, 'protocol unreachable');
});

test('without UOA it says whether it is answered; it asks as the health check by UDP does', async (t) => {
  const health = { type: 'udp', port: 7000, send: 'hello', interval: '1h', timeout: '60s' };
  const rig = await startRig(t, { servers: 1, clients: 1, uoa: { dialect: 'none' }, service: { health } });
  const [server] = rig.realServers;
  const python = startPython(rig.topology, 'rs', 'server.py', { ip: server!.ip, port: 7000 });
  await python.ready;
  const asked = await probe(rig);
  assert.deepEqual([asked.to, asked.payloadBytes, asked.uoa], [`${server!.ip}:7000`, 5, null]);
  assert.deepEqual([asked.plain.bytes, asked.verdict], [5, 'ok']);
  assert.equal((await probe(rig, `send=hex:00ff&timeout=${LONG}`)).plain.bytes, 2);
});

test('a program that reads PROXY protocol gets a header of it, as from a health check', async (t) => {
  const rig = await startRig(t, { servers: 1, clients: 1, uoa: { dialect: 'proxy-v2' } });
  await rig.startServers();
  const { uoa, plain, payloadBytes, verdict } = await probe(rig);
  assert.deepEqual([uoa, plain.bytes, verdict], [null, payloadBytes + 16, 'ok']);
});

test('in a sidecar it asks over the loopback interface', async (t) => {
  const rig = await startRig(t, {
    kind: 'sidecar',
    clients: 1,
    realServers: [{ ip: '127.0.0.1', port: 6000 }],
    uoa: { dialect: 'ipo' },
  });
  await rig.startServers();
  assert.deepEqual(results(await probe(rig)), ['answered', 'answered', 'ok']);
  dropOptions(rig);
  assert.deepEqual(results(await probe(rig, 'timeout=6s')), ['answered', 'silent', 'uoa_dropped']);
});

test('nobody may ask for one over TCP without a token', async (t) => {
  const rig = await startRig(t, { servers: 1, clients: 1 });
  const [server] = rig.realServers;
  const url = `http://127.0.0.1:9464/services/test/servers/${server!.ip}:${server!.port}/probe`;
  const asked = rig.topology.exec('lb', [
    'python3',
    '-c',
    `import urllib.request as r, urllib.error as e
try: r.urlopen(r.Request("${url}", method="POST"))
except e.HTTPError as error: print(error.code)`,
  ]);
  assert.equal(asked.trim(), '403');
});
