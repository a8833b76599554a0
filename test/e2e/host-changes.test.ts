// The host changes under the running proxy: Ethernet addresses, MTUs, addresses that go with an interface. It
// goes on by itself, with the config at work, and says what changed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS, VIPS } from '../../src/lab/topology.ts';
import { IO, type Rig, startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;

interface LogLine {
  level: string;
  msg: string;
  changes?: string[];
}
const logOf = (rig: Rig): LogLine[] =>
  rig.proxy.log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine);

const changesOf = (rig: Rig): string[] =>
  logOf(rig)
    .filter(({ msg }) => msg === 'the host changed: planned anew for it')
    .flatMap(({ changes }) => changes ?? []);

const ethernetOf = (rig: Rig, device: string): string =>
  rig.topology.exec('lb', ['cat', `/sys/class/net/${device}/address`]).trim();

const hasAddress = (rig: Rig, ip: string): boolean =>
  rig.topology.exec('lb', ['ip', '-o', 'address', 'show']).includes(` ${ip}/`);

for (const io of [{ mode: 'ring', workers: 2 }, { mode: 'pcap' }] as const) {
  test(`${io.mode}: interfaces that get other Ethernet addresses under load are heard again, and sessions stay`, async (t) => {
    const rig = await startRig(t, { io, clients: CLIENTS });
    const servers = await rig.startServers();
    const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64], timeoutMs: 3000 });
    await until(
      'every client has a session',
      async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
    );
    // What is at work is what counts, and not what the file says meanwhile.
    rig.rewriteConfig(({ services: [one] }) => {
      one.vport = 70_000;
    });
    const expected: string[] = [];
    for (const [device, other, neighbor] of [
      ['wan0', '02:00:00:00:01:01', 'client'],
      ['lan0', '02:00:00:00:02:02', 'rs'],
    ] as const) {
      expected.push(`${device}: Ethernet address ${ethernetOf(rig, device)} -> ${other}`);
      rig.topology.exec('lb', ['ip', 'link', 'set', device, 'address', other]);
      rig.topology.exec(neighbor, ['ip', 'neighbor', 'flush', 'dev', 'eth0']);
      await until(`it says so of ${device}`, () => changesOf(rig).includes(expected.at(-1)!));
      const before = await rig.metric('forwarded_packets_total', { direction: 'outbound' });
      await until('datagrams flow', async () => {
        return (await rig.metric('forwarded_packets_total', { direction: 'outbound' })) > before + 10 * ALL;
      });
    }
    const counted = await clients.end();
    t.diagnostic(`${counted.missing} of ${counted.sent} lost`);
    assert.deepEqual([counted.altered, counted.unexpected, counted.refused], [0, 0, 0]);
    assert.equal(await rig.metric('sessions_created_total'), ALL, 'no session was opened anew');
    const others = await rig.clients({ portsPerAddress: PORTS, count: 200, sizes: [64] });
    assert.deepEqual([others.answered, others.missing], [200, 0]);
    assert.deepEqual(changesOf(rig), expected, 'each is said once');
    assert.equal(await rig.metric('host_changes_total', { result: 'ok' }), 2);
    assert.equal(await rig.metric('config_reloads_total', { result: 'ok' }), 0);
    await Promise.all(servers.map((server) => server.end()));
  });
}

test('addresses that are planned for anew cost no datagram', async (t) => {
  const rig = await startRig(t, { clients: CLIENTS });
  const servers = await rig.startServers();
  const clients = rig.startClients({ portsPerAddress: PORTS, sizes: [64] });
  await until(
    'every client has a session',
    async () => (await rig.metric('sessions', { state: 'normal' })) === ALL,
  );
  for (let n = 1; n <= 3; n++) {
    rig.topology.exec('lb', ['ip', 'address', 'add', `10.9.0.${n}/24`, 'dev', 'lan0']);
    await until('it says so', () => changesOf(rig).includes(`address 10.9.0.${n} added`));
  }
  const counted = await clients.end();
  assert.deepEqual([counted.missing, counted.altered, counted.unexpected], [0, 0, 0]);
  assert.equal(await rig.metric('sessions_created_total'), ALL);
  await Promise.all(servers.map((server) => server.end()));
});

test('IPv6 addresses that it added come back when their interface was down, or somebody deleted them', async (t) => {
  const { dialect, ...pair } = PAIRS[6];
  const rig = await startRig(t, { clients: CLIENTS, pair, uoa: { dialect } });
  const servers = await rig.startServers();
  const load = { portsPerAddress: PORTS, count: 300, sizes: [64] };
  assert.equal((await rig.clients(load)).answered, 300);
  for (const [device, own, lost] of [
    ['wan0', 'fd00:1::1', rig.vip],
    ['lan0', 'fd00:2::1', 'fd00:2::200'],
  ] as const) {
    rig.topology.exec('lb', ['ip', 'link', 'set', device, 'down']);
    await until('it says so', () =>
      logOf(rig).some(({ msg }) => msg.includes(`the interface ${device} is down (bring it up:`)),
    );
    assert.equal(hasAddress(rig, lost), false, 'the kernel takes them');
    rig.topology.exec('lb', ['ip', 'link', 'set', device, 'up']);
    // As whoever configures the host's interfaces does.
    rig.topology.exec('lb', ['ip', 'address', 'add', `${own}/64`, 'dev', device, 'nodad']);
    await until(`${lost} is back`, () => hasAddress(rig, lost));
    await until('it says so', () => changesOf(rig).includes(`address ${lost} of ${device} was gone`));
    const again = await rig.clients(load);
    assert.deepEqual([again.answered, again.altered], [300, 0]);
  }
  rig.topology.exec('lb', ['ip', 'address', 'delete', `${rig.vip}/128`, 'dev', 'wan0']);
  await until('the VIP is back', () => hasAddress(rig, rig.vip));
  await Promise.all(servers.map((server) => server.end()));
  assert.equal(await rig.proxy.stop('SIGTERM'), 0);
  assert.equal(hasAddress(rig, rig.vip), false, 'what it added once more it takes away, too');
});

test('a VIP that the proxy did not add is missed, once, and not added; what else changed takes effect', async (t) => {
  const rig = await startRig(t, {
    clients: CLIENTS,
    config: { io: { wan: 'wan0', lan: 'lan0', assignAddresses: true, ...IO } },
    beforeProxy: (topology) =>
      void topology.exec('lb', ['ip', 'address', 'add', `${VIPS[4]}/32`, 'dev', 'wan0']),
  });
  assert.ok(
    LIPS[4].every((lip) => hasAddress(rig, lip)),
    'the others it added',
  );
  const isMissed = ({ msg }: LogLine) => msg.startsWith(`not on this host: ${rig.vip} (ip address add`);
  rig.topology.exec('lb', ['ip', 'address', 'delete', `${rig.vip}/32`, 'dev', 'wan0']);
  await until('it says so', () => logOf(rig).some(isMissed));
  rig.topology.exec('lb', ['ip', 'link', 'set', 'wan0', 'address', '02:00:00:00:01:01']);
  await until('the Ethernet address takes effect', () => changesOf(rig).length > 0);
  assert.equal(logOf(rig).filter(isMissed).length, 1);
  assert.equal(hasAddress(rig, rig.vip), false);
  rig.topology.exec('lb', ['ip', 'address', 'add', `${rig.vip}/32`, 'dev', 'wan0']);
  await until('it says that it is back', () =>
    logOf(rig).some(({ msg }) => msg === 'the host is as planned for again'),
  );
  const servers = await rig.startServers();
  assert.equal((await rig.clients({ portsPerAddress: PORTS, count: 100, sizes: [64] })).answered, 100);
  await Promise.all(servers.map((server) => server.end()));
});

test('an MTU that becomes smaller is told to clients, and UOAs go ahead where there is no room any more', async (t) => {
  const { dialect } = PAIRS[4];
  const rig = await startRig(t, { clients: 2, servers: 1, uoa: { dialect } });
  const servers = await rig.startServers();
  const carried = async () => ({
    inserted: await rig.metric('uoa_sent_total', { carriage: 'inserted' }),
    carrier: await rig.metric('uoa_sent_total', { carriage: 'carrier' }),
  });
  const size = 1372; // 1,400 bytes with its headers
  assert.deepEqual((await rig.probe('exchange', { sizes: [size] })).results, ['same']);
  assert.deepEqual(await carried(), { inserted: 1, carrier: 0 });
  rig.topology.exec('lb', ['ip', 'link', 'set', 'lan0', 'mtu', '1400']);
  await until('it says so', () => changesOf(rig).length > 0);
  assert.deepEqual(changesOf(rig), ['lan0: MTU 1500 -> 1400', 'MTU towards 10.2.0.11: 1500 -> 1400']);
  assert.deepEqual((await rig.probe('exchange', { sizes: [size] })).results, ['same']);
  assert.deepEqual(await carried(), { inserted: 1, carrier: 1 });
  const { second, mtu } = await rig.probe('pmtu', { size: 1472 });
  assert.deepEqual([second, mtu], ['EMSGSIZE', 1400]);
  assert.equal(await rig.metric('io_send_errors_total'), 0, 'none is tried that would not fit');
  await Promise.all(servers.map((server) => server.end()));
});
