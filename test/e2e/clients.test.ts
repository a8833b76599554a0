// Who may be a client, where servers answer everything: forged datagrams that would keep two of them busy for
// ever, a real server that calls its own service, and what a client learns of the real servers' side.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS, VIPS, VPORT } from '../../src/lab/topology.ts';
import { startPython, startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';

const IOS = [{ mode: 'ring', workers: 2 }, { mode: 'pcap' }] as const;
const SERVERS = { 4: ['10.2.0.11', '10.2.0.12', '10.2.0.13'], 6: ['fd00:2::11', 'fd00:2::12', 'fd00:2::13'] };
const PLAIN = { dialect: 'none', maxTrials: 0 } as const;

for (const io of IOS) {
  for (const pair of [PAIRS[4], PAIRS[6]]) {
    test(`${io.mode}, ${pair.name}: a forged datagram keeps no two servers busy`, async (t) => {
      const [own, another, neighbor] = SERVERS[pair.server] as [string, string, string];
      const [lip, otherLip] = LIPS[pair.server] as [string, string];
      const vip = VIPS[pair.client];
      const other = { name: 'other', vip, vport: VPORT + 1, lips: [otherLip], uoa: PLAIN };
      const rig = await startRig(t, {
        io,
        pair,
        clients: 1,
        servers: 3,
        realServers: [{ ip: own, port: VPORT }],
        lips: [lip],
        uoa: PLAIN,
        others: [{ ...other, realServers: [{ ip: another, port: VPORT }] }],
      });
      const programs = [own, another, neighbor].map((ip) =>
        startPython(rig.topology, 'rs', 'server.py', { ip, port: VPORT }),
      );
      await Promise.all(programs.map(({ ready }) => ready));
      const sources: [string, number][] = [
        [own, VPORT],
        [own, 53],
        [another, VPORT],
        [another, 53],
        [neighbor, VPORT], // nobody that the proxy knows, but the route leads there
        [vip, VPORT + 1],
        [otherLip, 2000],
      ];
      await rig.probe('from_others', { sources });
      await until('all are judged', async () => {
        const refused = await rig.metric('drops_total', { service: 'test', reason: 'bad_source' });
        return refused + (await rig.metric('sessions_created_total')) === sources.length;
      });
      assert.equal(await rig.metric('sessions_created_total'), 0, 'none is served');
      const { results } = await rig.probe('exchange', { sizes: [64, 64] });
      assert.deepEqual(results, ['same', 'same'], 'a client is');
      const received = await Promise.all(programs.map(async (program) => (await program.end()).received));
      assert.deepEqual(received, [2, 0, 0]);
    });

    test(`${io.mode}, ${pair.name}: a real server that calls its service by the port that it serves gets another one`, async (t) => {
      const rig = await startRig(t, { io, pair, clients: 1, servers: 2, uoa: PLAIN });
      const [caller, callee] = rig.realServers as [
        { ip: string; port: number },
        { ip: string; port: number },
      ];
      const server = startPython(rig.topology, 'rs', 'server.py', callee);
      await server.ready;
      const call = { bind: caller.ip, port: caller.port, to: [rig.vip, VPORT], sizes: [64, 1000, 64] };
      const { results, client } = await startPython(rig.topology, 'rs', 'probe.py', 'exchange', call).result;
      assert.deepEqual(results, ['same', 'same', 'same']);
      assert.match(String(client), new RegExp(`${caller.port}$`));
      assert.equal((await server.end()).received, 3);
      assert.equal(await rig.metric('drops_total', { reason: 'bad_source' }), 0);
    });
  }

  test(`${io.mode}: a client does not learn a real server's address by record route`, async (t) => {
    const rig = await startRig(t, { io, clients: 1, servers: 1 });
    const servers = await rig.startServers();
    const witness = await rig.watch('client', 'eth0', 'icmp', 'in');
    // Room for two addresses, and a timestamp whose pointer is wrong, which the real server's kernel says.
    const options = '070b04000000000000000001440c03010000000000000000';
    await rig.probe('from_others', { sources: [[rig.clientIps[0], 5000]], options });
    await until('the error is passed on', async () => (await rig.metric('icmp_translated_total')) === 1);
    const problem = 'icmp.type == 12 and icmp.checksum.status == 1';
    assert.equal((await witness.matching(problem)).count, 1, 'the client is told');
    const address = rig.realServers[0].ip
      .split('.')
      .map((byte) => Number(byte).toString(16).padStart(2, '0'));
    await witness.none(`frame contains ${address.join(':')}`, "the real server's address");
    await Promise.all(servers.map((server) => server.end()));
  });
}

test('where the default route leads to the real servers, clients behind it are not served, and the log says so', async (t) => {
  const rig = await startRig(t, {
    clients: 1,
    servers: 1,
    uoa: PLAIN,
    beforeProxy: (topology) => {
      topology.exec('lb', ['ip', 'route', 'add', 'default', 'via', SERVERS[4][0]]);
    },
  });
  const servers = await rig.startServers();
  assert.match(rig.proxy.log, /the default route from the VIP .* leads out of lan0, .* \(bad_source\)/);
  await rig.probe('from_others', { sources: [['198.18.0.1', 5000]] });
  await until('it is refused', async () => (await rig.metric('drops_total', { reason: 'bad_source' })) === 1);
  assert.deepEqual((await rig.probe('exchange', { sizes: [64] })).results, ['same'], 'others are served');
  await Promise.all(servers.map((server) => server.end()));
});
