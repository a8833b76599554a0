// The main job on real packets: every datagram arrives unchanged in both directions, every server knows every
// client, and tcpdump and tshark as outside witnesses see nothing that may not be there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LB_WAN_IPS } from '../../src/lab/topology.ts';
import { rightChecksums, startRig } from './harness.ts';
import { ALL_PAIRS, ICMP_ERRORS, PAIRS, STRANGE_TO_CLIENTS } from './pairs.ts';
import { assertAllRight, endAll } from './tally.ts';

/** Payload lengths that name their sender; 1,472 bytes fill the MTU. */
const NAMED_SIZES = [26, 64, 200, 512, 1200, 1472];

/** tshark has no name for option 31: the two bytes behind Ethernet and the fixed IP header. */
const UOA = 'ip.hdr_len == 28 and frame[34:2] == 1f:08';

test('100,000 datagrams of 1,000 clients arrive unchanged both ways and each client address is right', async (t) => {
  const rig = await startRig(t, { clients: 50, servers: 2 });
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
  const lanErrors = await rig.watch('rs', 'eth0', ICMP_ERRORS);
  const sent = await rig.watch('rs', 'eth0', 'udp and udp[4:2] < 600', 'in');

  const clients = await rig.clients({ portsPerAddress: 20, count: 100_000, sizes: NAMED_SIZES });
  const results = await endAll(servers);
  t.diagnostic(`${clients.sent} datagrams in ${clients.seconds} s`);

  assertAllRight(clients, results, 100_000);
  assert.equal(clients.clients, 1000);
  await wan.none('frame', 'no UOA and no ICMP error reaches the clients');
  await lanErrors.none('frame', 'no ICMP error reaches the real servers');
  const checksums = await sent.checksums();
  assert.equal(checksums.bad, 0, 'all checksums that reach the real servers verify');
  const right = rightChecksums(checksums);
  assert.ok(right > 50_000, `tshark verified ${right} checksums`);
  const carried = await sent.matching(UOA);
  assert.ok(carried.count >= 1000, `the witness can see UOAs: ${carried.count}`);
  assert.equal(await rig.metric('drops_total'), 0);
  assert.equal(await rig.metric('io_lost_total'), 0);
});

for (const pair of ALL_PAIRS) {
  test(`${pair.name}, one-arm: clients and real servers on one interface`, async (t) => {
    const rig = await startRig(t, { kind: 'one-arm', pair, clients: 10, uoa: { dialect: pair.dialect } });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
    const sizes = [26, 64, 200, 512, 1200, pair.full];
    const clients = await rig.clients({ portsPerAddress: 10, count: 5000, sizes });
    assertAllRight(clients, await endAll(servers), 5000);
    // On a bridge a client's host may see what is not for it until the bridge has learned the ports.
    await wan.none('ip.dst == 10.1.0.0/24 or ipv6.dst == fd00:1::/64', 'nothing strange reaches the clients');
  });
}

const SIDECAR_LIP_6 = 'fd00:3::2';
const sidecars = [
  { pair: PAIRS[4], ip: '127.0.0.1', lip: '127.0.0.2' },
  { pair: PAIRS[4], ip: LB_WAN_IPS[4], lip: '127.0.0.2' },
  { pair: PAIRS[6], ip: '::1', lip: SIDECAR_LIP_6 },
  { pair: PAIRS[6], ip: LB_WAN_IPS[6], lip: SIDECAR_LIP_6 },
];
for (const { pair, ip, lip } of sidecars) {
  test(`${pair.name}, sidecar: the server shares the proxy's namespace and listens on ${ip}`, async (t) => {
    const rig = await startRig(t, {
      kind: 'sidecar',
      pair,
      clients: 10,
      realServers: [{ ip, port: 7000 }],
      lips: [lip],
      uoa: { dialect: pair.dialect },
      // Of IPv6 only ::1 is local by itself.
      beforeProxy: (topology) => {
        if (pair.server === 6)
          topology.exec('lb', ['ip', 'address', 'add', `${lip}/128`, 'dev', 'lo', 'nodad']);
      },
    });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', STRANGE_TO_CLIENTS);
    const sizes = [26, 64, 200, 512, 1200, pair.full];
    const clients = await rig.clients({ portsPerAddress: 10, count: 6000, sizes });
    assertAllRight(clients, await endAll(servers), 6000);
    await wan.none('frame', 'nothing strange reaches the clients');
  });
}
