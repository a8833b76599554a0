// A client that says it is another one: whatever it puts into its packets in the way of a UOA does not reach
// the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, startRig } from './harness.ts';
import { PAIRS, type Pair } from './pairs.ts';

/** UOA of client 192.0.2.99:9999, 8 bytes; of 2001:db8::c000:263, 20 bytes. */
const FORGED = '1f08270fc0000263';
const FORGED_6 = '1f14270f20010db80000000000000000c0000263';
const FORGED_IP = 'c0000263';
/** The same in destination options headers: dialect elb, and unified with a VIP. */
const ELB = '00021f12270f20010db80000000000000000c00002630100';
const UNIFIED = '00041f24270f177020010db80000000000000000c0000263fd000001000000000000000000000100';
const PLAIN_FIRST = 4;
const COUNT = 8;

const [v4, v6, nat64, nat46] = [PAIRS[4], PAIRS[6], PAIRS.nat64, PAIRS.nat46];
const forms: { pair: Pair; name: string; command: string; options: string; foreign?: string }[] = [
  { pair: v4, name: 'IP option 31', command: 'forge', options: FORGED },
  { pair: v4, name: 'IP option 30', command: 'forge', options: FORGED.replace(/^1f/, '1e') },
  // A router alert (148) of another's making is kept.
  {
    pair: v4,
    name: 'IP option 31 behind a foreign option',
    command: 'forge',
    options: `94040000${FORGED}`,
    foreign: '94040000',
  },
  { pair: v4, name: 'protocol 248', command: 'forge_opp', options: FORGED },
  { pair: nat46, name: 'IP option 31', command: 'forge', options: FORGED },
  { pair: v6, name: 'destination option 31 of 18 bytes', command: 'forge', options: ELB },
  {
    pair: v6,
    name: 'destination option 30 of 36 bytes',
    command: 'forge',
    options: UNIFIED.replace('1f', '1e'),
  },
  { pair: v6, name: 'protocol 248', command: 'forge_opp', options: FORGED_6 },
  { pair: nat64, name: 'destination option 31 of 18 bytes', command: 'forge', options: ELB },
];

for (const { pair, name, command, options, foreign } of forms) {
  test(`${pair.name}: a UOA forged as ${name} reaches no server, neither at first nor after the last trial`, async (t) => {
    const rig = await startRig(t, { pair, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const lan = await rig.watch('rs', 'eth0', 'ip proto 248 or ip6[6] = 248', 'in');
    const trueClients: unknown[] = [];
    for (const plainFirst of [0, PLAIN_FIRST]) {
      const port = 40_000 + plainFirst; // not the same by chance
      const { results, client } = await rig.probe(command, { options, count: COUNT, plainFirst, port });
      assert.deepEqual(results, Array(COUNT).fill('same'), 'the datagrams themselves pass');
      trueClients.push(client);
    }
    const ended: Answer[] = await Promise.all(servers.map((server) => server.end()));
    // One table per server: the two sessions may have the same LIP:lport on different servers.
    const learned = ended.flatMap((server) => Object.values(server.clients as object));
    assert.deepEqual(learned.sort(), trueClients.sort(), 'the servers know the true clients only');
    const seen = ended.flatMap((server) => Object.keys(server.options as object));
    const naming = seen.filter((bytes) => bytes.includes(FORGED_IP));
    assert.deepEqual(naming, [], 'no option that they saw names the forged client');
    if (foreign !== undefined) assert.ok(seen.includes(foreign), 'foreign options are kept');
    await lan.none('frame', 'no protocol 248 reaches the server');
    assert.equal(await rig.metric('uoa_forged_removed_total'), 2 * COUNT - PLAIN_FIRST);
  });
}

test('protocol 248 from a client that has no session is a datagram like any other', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const { results } = await rig.probe('forge_opp', { options: FORGED, count: 1 });
  assert.deepEqual(results, ['same']);
  await Promise.all(servers.map((server) => server.end()));
});
