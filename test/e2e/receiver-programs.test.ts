// The receiver with programs of Debian, which write down whom they saw.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { startPython, until } from './harness.ts';
import { startReceiverRig } from './receiver-rig.ts';

const PORT = 5201;

test('dnsmasq logs the clients that asked it', async (t) => {
  const receiving = await startReceiverRig(t);
  const { rig } = receiving;
  const [{ ip, port } = { ip: '', port: 0 }] = rig.realServers;
  const child = receiving.spawn([
    ...['sh', '-c', 'exec "$@" 2>&1', 'sh', 'dnsmasq'],
    ...[
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--user=root',
      '--pid-file=',
    ],
    ...[`--port=${port}`, `--listen-address=${ip}`, '--address=/game.test/192.0.2.7'],
    ...['--log-facility=-', '--log-queries=extra'],
  ]);
  let log = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  await until('dnsmasq runs', () => /started/.test(log));
  const asking = { from: rig.clientIps[0], to: [rig.vip, 6000], name: 'game.test', count: 20 };
  const { asked } = await startPython(rig.topology, 'client', 'ask_dns.py', asking).result;
  const clients = Object.keys(asked as object);
  assert.deepEqual(Object.values(asked as object), Array(20).fill('192.0.2.7'));
  await until('it wrote all down', () => (log.match(/query\[A\]/g) ?? []).length >= 20);
  const seen = [...log.matchAll(/ ([\d.]+)\/(\d+) query\[A\] game\.test from ([\d.]+)/g)];
  assert.deepEqual(
    seen.map(([, from, cport, named]) => [`${from}:${cport}`, named]),
    clients.map((client) => [client, rig.clientIps[0]]),
  );
});

test('iperf3 names the client of a UDP stream, and loses nothing', async (t) => {
  const receiving = await startReceiverRig(t, {
    service: { vport: PORT },
    realServers: [{ ip: '10.2.0.11', port: PORT }],
  });
  const { rig } = receiving;
  // Its TCP connection does not go by the proxy.
  const nft = [
    'table ip control {',
    `chain before { type nat hook prerouting priority dstnat; tcp dport ${PORT} dnat to 10.2.0.11; }`,
    'chain after { type nat hook postrouting priority srcnat; ip protocol tcp masquerade; }',
    '}',
  ].join('\n');
  rig.topology.exec('lb', ['nft', '-f', '-'], nft);
  rig.topology.exec('lb', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1']);
  const server = receiving.spawn(['iperf3', '--server', '--one-off', '--json', '--port', String(PORT)]);
  let said = '';
  server.stdout!.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(server, 'exit');
  const isListening = () => rig.topology.exec('rs', ['ss', '-Hltn', `sport = :${PORT}`]).trim() !== '';
  await until('iperf3 listens', isListening);
  const [from = ''] = rig.clientIps;
  const argv = ['iperf3', '--client', rig.vip, '--port', String(PORT), '--udp', '--bind', from];
  rig.topology.exec('client', [...argv, '--bitrate', '5M', '--length', '1000', '--time', '2']);
  await ended;
  const report = JSON.parse(said);
  const [{ remote_host: host, remote_port: port }] = report.start.connected;
  assert.equal(host, from);
  assert.equal(report.end.sum.lost_packets, 0);
  assert.ok(report.end.sum.packets > 1000, said);
  const status = JSON.parse(receiving.ask('status', '--json')).receivers[0];
  assert.ok(status.table.some(({ client }: { client: string }) => client === `${from}:${port}`));
  assert.ok(status.counters.connected > 0);
});
