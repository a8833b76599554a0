// The network changes under hot sessions: a neighbor has another Ethernet address, with and without a word of
// it, a route leads by another gateway or link, a router's MTU is smaller than the link's. And the other
// topologies.
import assert from 'node:assert/strict';
import { VPORT } from '../../src/lab/topology.ts';
import { icmp4 } from '../packets/builder.ts';
import { icmp6 } from '../packets/builder6.ts';
import { udp } from '../packets/uoa-builder.ts';
import { type Rig, until } from './harness.ts';
import {
  assertAllRight,
  assertRightClients,
  Client,
  goingFast,
  hotCount,
  overAll,
  overBoth,
  sendRaw,
  sessionOf,
  startHot,
} from './hot.ts';

const ETHERNET = 14;
const COUNT = 30;
/** Of packets of both directions; the others confirm neighbors. */
const MOST = 48;
const OTHER_MAC = '02:00:00:00:77:01';

const run = (rig: Rig, role: 'client' | 'lb' | 'rs', command: string) =>
  rig.topology.exec(role, command.split(' '));

/** Asks until it is answered; returns how many datagrams were lost until then. */
async function untilAnswered(client: Client): Promise<number> {
  let lost = 0;
  await until('it is answered', async () => {
    const { same = 0, missing = 0, ...late } = await client.tell({ do: 'exchange', count: 1, waitMs: 500 });
    const { other = 0, unasked = 0, ...errors } = late;
    assert.deepEqual(errors, {});
    lost += missing - other - unasked;
    client.answered += same + other + unasked;
    return same === 1;
  });
  return lost;
}

overAll("a real server's Ethernet address changes, and it says so", async (t, kind, pair) => {
  const { rig, servers } = await startHot(t, kind, { pair });
  const client = await Client.start(rig);
  await client.heat(rig);
  const lb = pair.server === 4 ? '10.2.0.1' : 'fd00:2::1';
  run(rig, 'rs', `ip link set eth0 address ${OTHER_MAC}`);
  // Which makes it ask who that is, and say by that who it is itself.
  run(rig, 'rs', 'ip neigh flush dev eth0');
  run(rig, 'rs', `ping -c 1 -w 20 ${lb}`);
  await until('the kernel knows', () => run(rig, 'lb', 'ip neigh show dev lan0').includes(OTHER_MAC));
  const lost = await untilAnswered(client);
  await goingFast(rig, MOST, () => client.exchange(COUNT));
  await assertAllRight(rig, servers, client, client.answered + lost, client.answered);
  assert.equal(await rig.metric('sessions_created_total'), 1);
});

overBoth(
  "a real server's Ethernet address changes without a word: the kernel finds out, which hot sessions have look",
  async (t, kind) => {
    const { rig, servers } = await startHot(t, kind);
    // Of the order of a minute otherwise.
    for (const [name, value] of [
      ['base_reachable_time_ms', 1000],
      ['delay_first_probe_time', 1],
      ['retrans_time_ms', 300],
    ])
      run(rig, 'lb', `sysctl -qw net.ipv4.neigh.lan0.${name}=${value}`);
    const client = await Client.start(rig);
    await client.heat(rig);
    run(rig, 'rs', 'sysctl -qw net.ipv4.conf.eth0.arp_notify=0');
    run(rig, 'rs', `ip link set eth0 address ${OTHER_MAC}`);
    const lost = await untilAnswered(client);
    assert.ok(lost > 0, 'nobody had said it');
    await client.heat(rig);
    await goingFast(rig, MOST, () => client.exchange(COUNT));
    await client.assertQuiet();
    assert.equal(await rig.metric('sessions_created_total'), 1);
    await assertRightClients(servers);
  },
);

const FAR = { 4: '10.9.0.5', 6: 'fd00:9::5' };
const GATEWAYS = { 4: ['10.2.0.11', '10.2.0.50'], 6: ['fd00:2::11', 'fd00:2::50'] };

overAll('the route to a real server leads by another gateway', async (t, kind, pair) => {
  const far = FAR[pair.server];
  const [before, after] = GATEWAYS[pair.server] as [string, string];
  const v6 = pair.server === 6;
  const { rig, servers } = await startHot(t, kind, {
    pair,
    realServers: [{ ip: far, port: VPORT }],
    beforeProxy: (topology) => {
      const inRs = (command: string) => topology.exec('rs', command.split(' '));
      inRs('sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2');
      inRs('ip link add gw2 link eth0 type macvlan mode bridge');
      inRs('ip link set gw2 up');
      inRs(`ip address add ${after}/${v6 ? '64 dev gw2 nodad' : '24 dev gw2'}`);
      inRs(`ip address add ${far}/${v6 ? '128 dev lo nodad' : '32 dev lo'}`);
      topology.exec('lb', ['ip', 'route', 'add', far, 'via', before]);
    },
  });
  const client = await Client.start(rig);
  await client.heat(rig);
  const filter = `udp and dst host ${far}`;
  const first = await rig.watch('rs', 'gw2', filter, 'in');
  await goingFast(rig, MOST, () => client.exchange(COUNT));
  assert.equal((await first.matching('udp')).count, 0);
  const second = await rig.watch('rs', 'gw2', filter, 'in');
  run(rig, 'lb', `ip route replace ${far} via ${after}`);
  // It takes the worker a moment to see that; nothing is lost in it.
  await until('packets go there', async () => {
    await client.exchange(10);
    const seen = run(rig, 'rs', 'cat /sys/class/net/gw2/statistics/rx_packets');
    return Number(seen) > COUNT;
  });
  await client.heat(rig);
  const before2 = client.answered;
  await goingFast(rig, MOST, () => client.exchange(COUNT));
  assert.ok((await second.matching('udp')).count >= client.answered - before2);
  await assertAllRight(rig, servers, client);
  assert.equal(await rig.metric('sessions_created_total'), 1);
});

overBoth(
  'answers leave by another uplink when a rule says so, and come back when it is gone',
  async (t, kind) => {
    const { rig, servers } = await startHot(t, kind);
    run(rig, 'lb', `ip link add wan1 type veth peer name eth1 netns ${rig.topology.namespaces.client}`);
    run(rig, 'lb', 'ip address add 10.3.0.1/24 dev wan1');
    run(rig, 'lb', 'ip link set wan1 up');
    run(rig, 'client', 'ip address add 10.3.0.2/24 dev eth1');
    run(rig, 'client', 'ip link set eth1 up');
    const client = await Client.start(rig);
    await client.heat(rig);
    const answersBy = async (link: string) => {
      const witness = await rig.watch('client', link, `udp and src host ${rig.vip}`, 'in');
      await client.exchange(COUNT);
      return (await witness.matching('udp')).count;
    };
    assert.equal(await answersBy('eth0'), COUNT);
    run(rig, 'lb', 'ip route add default via 10.3.0.2 table 100');
    run(rig, 'lb', `ip rule add from ${rig.vip} lookup 100`);
    await until('the rule is followed', async () => (await answersBy('eth1')) === COUNT);
    assert.equal(await answersBy('eth0'), 0);
    run(rig, 'lb', `ip rule delete from ${rig.vip} lookup 100`);
    await until('it is gone', async () => (await answersBy('eth0')) === COUNT);
    await client.heat(rig);
    await assertAllRight(rig, servers, client);
  },
);

overAll(
  'a router says that its MTU is smaller: the client is told, and nothing longer leaves any more',
  async (t, kind, pair) => {
    const { rig, servers } = await startHot(t, kind, { pair });
    const client = await Client.start(rig);
    await client.heat(rig);
    await goingFast(rig, MOST, () => client.exchange(COUNT, { size: pair.full }));
    const { lip, lport, rs } = await sessionOf(rig, client);
    const sent = udp({ src: lip, sport: lport, dst: rs, dport: VPORT, payload: new Uint8Array(pair.full) });
    const about = { src: rs, dst: lip, rest: 1300 };
    const tooBig =
      pair.server === 4
        ? icmp4({ ...about, type: 3, code: 4, body: sent.subarray(0, 200) })
        : icmp6({ ...about, type: 2, code: 0, body: sent.subarray(0, 200) });
    await sendRaw(rig, 'rs', lip, [tooBig]);
    await until('it is hot no more', async () => (await hotCount(rig)) === 0);
    assert.equal(await rig.metric('icmp_translated_total'), 1);
    const longer = await rig.watch(
      'rs',
      'eth0',
      `greater ${ETHERNET + 1301} and udp and src host ${lip}`,
      'in',
    );
    assert.deepEqual(await client.tell({ do: 'exchange', count: 1, size: pair.full }), { EMSGSIZE: 1 });
    // In fragments from now on.
    await client.exchange(COUNT, { size: pair.full });
    await client.exchange(COUNT, { size: 1000 });
    await longer.none('frame', 'nothing is longer than the router takes');
    assert.equal(await hotCount(rig), 0, 'the path has an MTU that the program does not know');
    await assertAllRight(rig, servers, client, client.answered, client.answered + 1);
  },
);

overAll('one-arm: clients and real servers on one interface', async (t, kind, pair) => {
  const { rig, servers } = await startHot(t, kind, { pair, kind: 'one-arm' });
  const client = await Client.start(rig);
  await client.heat(rig);
  await goingFast(rig, MOST, () => client.exchange(COUNT, { size: pair.full }));
  await assertAllRight(rig, servers, client);
});
