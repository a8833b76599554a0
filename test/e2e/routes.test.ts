// The host's routes decide: how large answers to each client may be, and which real servers there are. One
// that cannot be reached takes nothing else along.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIPS, VIPS } from '../../src/lab/topology.ts';
import { forgePathMtu } from '../route/forged-mtu.ts';
import { IO, type Rig, startPython, startRig, until } from './harness.ts';
import { PAIRS } from './pairs.ts';

const IOS = [{ mode: 'ring', workers: 2 }, { mode: 'pcap' }] as const;
const ETHERNET = 14;

const ip = (rig: Rig, command: string) => rig.topology.exec('lb', ['ip', ...command.split(' ')]);
const told = (rig: Rig) => rig.metric('icmp_sent_total');

/**
 * Exchanges until the proxy has told somebody about a packet that is too big: a change of routes took effect.
 */
async function untilTold(rig: Rig, size: number): Promise<void> {
  const before = await told(rig);
  await until('somebody is told', async () => {
    await rig.probe('exchange', { sizes: [size] });
    return (await told(rig)) > before;
  });
}

interface Log {
  level: string;
  msg: string;
  changes?: string[];
}
const logOf = (log: string): Log[] =>
  log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Log);
const messages = (rig: Rig) => logOf(rig.proxy.log).map(({ msg }) => msg);
const changes = (rig: Rig) => logOf(rig.proxy.log).flatMap((line) => line.changes ?? []);

for (const io of IOS) {
  for (const pair of [PAIRS[4], PAIRS[6]]) {
    test(`${io.mode}, ${pair.name}: answers are no larger than the MTU of the route to their client, from when it has one`, async (t) => {
      const rig = await startRig(t, {
        io,
        pair,
        clients: 2,
        servers: 1,
        lips: [LIPS[pair.server][0]],
        uoa: { dialect: pair.dialect },
      });
      const servers = await rig.startServers();
      const [client, other] = rig.clientIps as [string, string];
      const sizes = [pair.full, pair.full, pair.full];
      const same = ['same', 'same', 'same'];
      assert.deepEqual((await rig.probe('exchange', { sizes })).results, same);
      assert.equal(await told(rig), 0);
      ip(rig, `route add ${client} dev wan0 mtu 1400`);
      await untilTold(rig, pair.full);
      const witness = await rig.watch(
        'client',
        'eth0',
        `greater ${ETHERNET + 1401} and dst host ${client}`,
        'in',
      );
      assert.deepEqual(
        (await rig.probe('exchange', { sizes })).results,
        same,
        'the real server knows it now',
      );
      assert.equal((await witness.matching('udp or ip or ipv6')).count, 0, 'none is larger than 1,400');
      const before = await told(rig);
      // The server's kernel was told about the LIP, which clients share: what it sends to the other one is
      // cut as well.
      assert.deepEqual((await rig.probe('exchange', { sizes, bind: other })).results, same);
      assert.equal(await told(rig), before);
      const server = rig.realServers[0];
      ip(rig, `route add ${server.ip} dev lan0 mtu 1350`);
      await until('the route to the real server is planned for', () =>
        changes(rig).includes(`MTU towards ${server.ip}: 1500 -> 1350`),
      );
      const { second, mtu } = await rig.probe('pmtu', { size: pair.full, bind: other });
      assert.deepEqual([second, mtu], ['EMSGSIZE', 1350]);
      assert.equal(await rig.metric('io_send_errors_total'), 0);
      await Promise.all(servers.map((server) => server.end()));
    });
  }

  test(`${io.mode}: of two uplinks the answer leaves by that which a rule says for the VIP`, async (t) => {
    const rig = await startRig(t, { io, servers: 1, lips: [LIPS[4][0]] });
    const servers = await rig.startServers();
    const inClient = (command: string) => rig.topology.exec('client', command.split(' '));
    ip(rig, `link add wan1 type veth peer name eth1 netns ${rig.topology.namespaces.client}`);
    ip(rig, 'address add 10.3.0.1/24 dev wan1');
    ip(rig, 'link set wan1 up');
    inClient('sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0');
    inClient('ip address add 10.3.0.2/24 dev eth1');
    inClient('ip link set eth1 up');
    const sizes = [64, 64, 64];
    const same = ['same', 'same', 'same'];
    const answersBy = async (link: string) => {
      const witness = await rig.watch('client', link, `udp and src host ${VIPS[4]}`, 'in');
      assert.deepEqual((await rig.probe('exchange', { sizes })).results, same);
      return (await witness.matching('udp')).count;
    };
    assert.equal(await answersBy('eth0'), 3);
    ip(rig, 'route add default via 10.3.0.2 table 100');
    ip(rig, `rule add from ${VIPS[4]} lookup 100`);
    await until('the rule is followed', async () => (await answersBy('eth1')) === 3);
    assert.equal(await answersBy('eth0'), 0);
    ip(rig, `rule delete from ${VIPS[4]} lookup 100`);
    await until('it is gone', async () => (await answersBy('eth0')) === 3);
    assert.equal(await rig.metric('io_send_errors_total'), 0);
    await Promise.all(servers.map((server) => server.end()));
  });

  test(`${io.mode}: where the route to a client leads over another link, that one's MTU counts, smaller or larger`, async (t) => {
    const rig = await startRig(t, { io, clients: 2, servers: 1, lips: [LIPS[4][0]] });
    const servers = await rig.startServers();
    const [client] = rig.clientIps as [string];
    const { namespaces } = rig.topology;
    ip(rig, `link add wan1 mtu 1300 type veth peer name eth1 mtu 1500 netns ${namespaces.client}`);
    ip(rig, 'address add 10.3.0.1/24 dev wan1');
    ip(rig, 'link set wan1 up');
    rig.topology.exec('client', [
      'sysctl',
      '-qw',
      'net.ipv4.conf.all.rp_filter=0',
      'net.ipv4.conf.eth1.rp_filter=0',
    ]);
    for (const command of ['address add 10.3.0.2/24 dev eth1', 'link set eth1 up'])
      rig.topology.exec('client', ['ip', ...command.split(' ')]);
    ip(rig, `route add ${client} via 10.3.0.2`);
    await untilTold(rig, 1472);
    const sizes = [1472, 1472, 1472];
    const same = ['same', 'same', 'same'];
    const narrow = await rig.watch('client', 'eth1', `greater ${ETHERNET + 1301} and udp`, 'in');
    assert.deepEqual((await rig.probe('exchange', { sizes })).results, same);
    assert.equal((await narrow.matching('udp')).count, 0);
    // The other way round: the clients' packets come by a link of 1,400, in pieces, and the answers leave
    // whole by one of 1,500.
    ip(rig, 'link set wan1 mtu 1500');
    ip(rig, 'link set wan0 mtu 1400');
    rig.topology.exec('client', ['ip', 'link', 'set', 'eth0', 'mtu', '1400']);
    // What the first part taught the real server's kernel.
    rig.topology.exec('rs', ['ip', 'route', 'flush', 'cache']);
    await until('the interface is planned for', () => changes(rig).includes('wan0: MTU 1500 -> 1400'));
    const before = await told(rig);
    const whole = await rig.watch('client', 'eth1', `greater ${ETHERNET + 1500} and udp`, 'in');
    assert.deepEqual((await rig.probe('exchange', { sizes, noDf: true })).results, same);
    assert.equal((await whole.matching('udp')).count, 3, 'whole');
    assert.equal(await told(rig), before, 'nobody is told for nothing');
    assert.equal(await rig.metric('io_send_errors_total'), 0);
    await Promise.all(servers.map((server) => server.end()));
  });
}

for (const pair of [PAIRS[4], PAIRS[6]]) {
  test(`${pair.name}: a path MTU that an attacker made the kernel believe changes nothing, also after a reload`, async (t) => {
    const rig = await startRig(t, { pair, clients: 2, servers: 1, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const { client, lb } = rig.topology.namespaces;
    const isV6 = pair.server === 6;
    await forgePathMtu(t, {
      ns: client,
      device: 'eth0',
      host: lb,
      hostDevice: 'wan0',
      attacker: isV6 ? 'fd00:1::77' : '10.1.0.77',
      own: isV6 ? 'fd00:2::200' : '10.2.0.200',
      towards: rig.realServers[0].ip,
      mtu: isV6 ? 1280 : 600,
    });
    const sizes = [pair.full, pair.full, pair.full];
    const same = ['same', 'same', 'same'];
    assert.deepEqual((await rig.probe('exchange', { sizes })).results, same);
    const outcome = await reloaded(rig, (config) => {
      config.services[0].scheduler = 'wrr';
    });
    assert.equal(outcome, 'reloaded');
    assert.match(ip(rig, `route get ${rig.realServers[0].ip}`), /expires/, 'the kernel still believes it');
    assert.deepEqual((await rig.probe('exchange', { sizes })).results, same);
    assert.equal(await told(rig), 0);
    assert.equal(await rig.metric('io_send_errors_total'), 0);
    await Promise.all(servers.map((server) => server.end()));
  });
}

const GONE = '10.9.0.11';
const SERVER = '10.2.0.11';

test('a real server and a fallback without a route are down, and everything else goes on; they come up with a route', async (t) => {
  const rig = await startRig(t, {
    clients: 2,
    realServers: [SERVER, GONE].map((address) => ({ ip: address, port: 6000 })),
    service: { fallback: '10.9.0.12:6000', lips: [...LIPS[4], 'fd00:2::200'] },
    config: { io: { wan: 'wan0', lan: 'lan0', assignAddresses: true, ...IO } },
    beforeProxy: (topology) => {
      topology.exec('rs', ['ip', 'address', 'add', `${GONE}/32`, 'dev', 'lo']);
    },
  });
  const up = (address: string) => rig.metric('server_up', { rs: `${address}:6000` });
  assert.deepEqual([await up(SERVER), await up(GONE), await up('10.9.0.12')], [1, 0, 0]);
  const services = JSON.parse((await rig.proxy.get('/services')).body) as {
    services: { realServers: { ip: string; state: string; reason: string }[] }[];
  };
  const state = services.services[0].realServers.find((one) => one.ip === GONE)!;
  assert.deepEqual([state.state, state.reason], ['down', 'no route to it']);
  assert.ok(messages(rig).includes(`real server ${GONE}:6000 of test is down: no route to it`));
  assert.equal(
    ip(rig, '-6 address show dev lan0').includes('fd00:2::200'),
    false,
    'a LIP that no real server is sent to from is not needed',
  );
  const servers = await rig.startServers();
  const load = { portsPerAddress: 4, count: 100, sizes: [64] };
  const first = await rig.clients(load);
  assert.deepEqual([first.answered, first.missing], [100, 0]);

  ip(rig, 'link set wan0 address 02:00:00:00:01:01');
  await until('the Ethernet address takes effect', () =>
    changes(rig).some((line) => line.includes('-> 02:00:00:00:01:01')),
  );
  rig.topology.exec('client', ['ip', 'neighbor', 'flush', 'dev', 'eth0']);
  assert.equal((await rig.clients(load)).missing, 0);

  const wrr = await reloaded(rig, (config) => {
    config.services[0].scheduler = 'wrr';
  });
  assert.equal(wrr, 'reloaded');
  assert.equal((await rig.clients(load)).missing, 0);

  ip(rig, `route add ${GONE} via ${SERVER}`);
  await until('it comes up', async () => (await up(GONE)) === 1);
  assert.ok(messages(rig).includes(`real server ${GONE}:6000 of test is up again`));
  const shared = await rig.clients({ ...load, portsPerAddress: 20 });
  assert.equal(shared.missing, 0);
  assert.ok((await rig.metric('server_sessions_created_total', { rs: `${GONE}:6000` })) > 0);

  ip(rig, `route delete ${GONE}`);
  await until('it goes down', async () => (await up(GONE)) === 0);
  ip(rig, `route add ${GONE} via 10.1.0.2`);
  await until('it says where the route leads', () =>
    changes(rig).includes(`real server ${GONE}: the route to it leads over wan0, not over lan0 (io.lan)`),
  );
  assert.equal(await up(GONE), 0);
  assert.equal((await rig.clients({ ...load, firstPort: 20_000 })).missing, 0);
  assert.equal(await rig.metric('ready'), 1);
  await Promise.all(servers.map((server) => server.end()));
});

test('a real server is up where the rule for the LIP of its own service leads to it, and down from other LIPs', async (t) => {
  const [lip, ruled] = LIPS[4] as [string, string];
  const vip = '10.1.0.110';
  const rig = await startRig(t, {
    clients: 2,
    servers: 1,
    lips: [lip],
    others: [
      { name: 'ruled', vip, vport: 6000, lips: [ruled], realServers: [{ ip: GONE, port: 6000 }] },
      {
        name: 'both',
        vip,
        vport: 6001,
        lips: [lip, ruled],
        lports: '1024-2047',
        realServers: [GONE, SERVER].map((address) => ({ ip: address, port: 6001 })),
      },
    ],
    beforeProxy: (topology) => {
      topology.exec('rs', ['ip', 'address', 'add', `${GONE}/32`, 'dev', 'lo']);
      topology.exec('lb', ['ip', 'rule', 'add', 'from', ruled, 'lookup', '100']);
      topology.exec('lb', ['ip', 'route', 'add', GONE, 'via', SERVER, 'table', '100']);
    },
  });
  const up = (service: string) =>
    rig.metric('server_up', { service, rs: `${GONE}:${service === 'both' ? 6001 : 6000}` });
  await until('it is up', async () => (await up('ruled')) === 1);
  assert.equal(await up('both'), 0);
  assert.match(await reasonOf(rig, 'both'), new RegExp(`^from the LIP ${lip}: no route to it$`));
  const servers = await rig.startServers();
  const server = await startPython(rig.topology, 'rs', 'server.py', { ip: GONE, port: 6000 });
  await server.ready;
  const load = { portsPerAddress: 4, count: 50, sizes: [64] };
  assert.equal((await rig.clients({ ...load, vip })).answered, 50);
  ip(rig, `rule delete from ${ruled} lookup 100`);
  await until('the rule is gone', async () => (await up('ruled')) === 0);
  assert.equal(await reasonOf(rig, 'ruled'), 'no route to it');
  ip(rig, `rule add from ${ruled} lookup 100`);
  await until('it is back', async () => (await up('ruled')) === 1);
  assert.equal((await rig.clients({ ...load, vip })).answered, 50);
  assert.equal((await rig.clients(load)).answered, 50);
  await Promise.all([...servers, server].map((one) => one.end()));
});

async function reasonOf(rig: Rig, service: string): Promise<string> {
  const { services } = JSON.parse((await rig.proxy.get('/services')).body) as {
    services: { name: string; realServers: { reason: string }[] }[];
  };
  return services.find(({ name }) => name === service)!.realServers[0].reason;
}

/** The outcome of the reload that follows a change of the config file, as the log has it. */
async function reloaded(rig: Rig, change: Parameters<Rig['rewriteConfig']>[0]): Promise<string> {
  const outcomes = () => messages(rig).filter((msg) => /^reload(ed|:| failed)/.test(msg));
  const before = outcomes().length;
  rig.rewriteConfig(change);
  await until('it reloads', () => outcomes().length > before);
  return outcomes()[before];
}

test('without a route to any real server it starts, says why it is not ready, and is when there is one', async (t) => {
  const rig = await startRig(t, { clients: 2, servers: 1 });
  assert.equal(await rig.proxy.stop(), 0);
  rig.rewriteConfig((config) => {
    config.services[0].realServers = [{ ip: GONE, port: 6000 }];
  });
  const proxy = rig.startProxy();
  let reason = '';
  await until('it answers', async () => {
    const { status, body } = await proxy.get('/readyz');
    if (status === 503) ({ reason } = JSON.parse(body) as { reason: string });
    return reason !== '' && reason !== 'starting';
  });
  assert.equal(reason, `service test: no real server is up (${GONE}:6000: no route to it)`);
  ip(rig, `route add ${GONE} via ${SERVER}`);
  await until('it is ready', async () => (await proxy.get('/readyz')).status === 200);
  assert.equal(await proxy.stop(), 0);
});

test('an address that went away from the host does not keep a reload from taking effect', async (t) => {
  const rig = await startRig(t, {
    clients: 2,
    servers: 1,
    config: { io: { wan: 'wan0', lan: 'lan0', assignAddresses: false, ...IO } },
    beforeProxy: (topology) => {
      for (const [address, device] of [[VIPS[4], 'wan0'], ...LIPS[4].map((lip) => [lip, 'lan0'])] as [
        string,
        string,
      ][])
        topology.exec('lb', ['ip', 'address', 'add', `${address}/32`, 'dev', device]);
    },
  });
  ip(rig, `address delete ${LIPS[4][1]}/32 dev lan0`);
  const wrr = await reloaded(rig, (config) => {
    config.services[0].scheduler = 'wrr';
  });
  assert.equal(wrr, 'reloaded');
  assert.ok(changes(rig).some((line) => line.includes('rr -> wrr')));
  assert.ok(messages(rig).some((msg) => msg.startsWith(`not on this host: ${LIPS[4][1]} (`)));
  const another = await reloaded(rig, (config) => {
    config.services[0].lips = [...LIPS[4], '10.2.0.250'];
  });
  assert.match(another, /^reload failed/, 'an address that is new must be there');
});

test('a service whose VIP is not on the host keeps no other one from being served, and is served when it is there', async (t) => {
  const late = '10.1.0.110';
  const rig = await startRig(t, { clients: 2, servers: 1 });
  const servers = await rig.startServers();
  assert.equal(await rig.proxy.stop(), 0);
  for (const [address, device] of [[VIPS[4], 'wan0'], ...LIPS[4].map((lip) => [lip, 'lan0'])] as const)
    ip(rig, `address add ${address}/32 dev ${device}`);
  rig.rewriteConfig((config) => {
    (config.io as { assignAddresses: boolean }).assignAddresses = false;
    config.services.push({ ...config.services[0], name: 'late', vip: late });
  });
  const proxy = rig.startProxy();
  await proxy.ready();
  const says = (text: string) => logOf(proxy.log).some(({ msg }) => msg.startsWith(text));
  assert.ok(says(`not on this host: ${late} (ip address add ${late}/32 dev wan0)`));
  const load = { portsPerAddress: 4, count: 50, sizes: [64] };
  assert.equal((await rig.clients(load)).answered, 50);
  ip(rig, `address add ${late}/32 dev wan0`);
  await until('it says so', () => says('the host is as planned for again'));
  assert.equal((await rig.clients({ ...load, vip: late })).answered, 50);
  await Promise.all(servers.map((server) => server.end()));
});

test('an address that cannot be added keeps no other service from being served, and no reload from taking effect', async (t) => {
  const rig = await startRig(t, { clients: 2, servers: 1 });
  const servers = await rig.startServers();
  assert.equal(await rig.proxy.stop(), 0);
  rig.topology.exec('lb', ['sysctl', '-qw', 'net.ipv6.conf.wan0.disable_ipv6=1']);
  rig.rewriteConfig((config) => {
    config.services.push({ ...config.services[0], name: 'six', vip: 'fd00:1::99' });
  });
  const proxy = rig.startProxy();
  await proxy.ready();
  const load = { portsPerAddress: 4, count: 50, sizes: [64] };
  assert.equal((await rig.clients(load)).answered, 50);
  const cannot = () =>
    logOf(proxy.log).filter(({ msg }) => msg.startsWith('cannot add the address fd00:1::99 to wan0')).length;
  assert.equal(cannot(), 1);
  rig.rewriteConfig((config) => {
    config.services[0].scheduler = 'wrr';
  });
  await until('it takes the config', () => logOf(proxy.log).some(({ msg }) => msg.startsWith('reload')));
  assert.ok(logOf(proxy.log).some(({ msg }) => msg === 'reloaded'));
  assert.equal((await rig.clients(load)).answered, 50);
  await Promise.all(servers.map((server) => server.end()));
});
