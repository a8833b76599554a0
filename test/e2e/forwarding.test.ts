// The main job on real packets: every datagram arrives unchanged in both directions, every server knows every client,
// and tcpdump and tshark as outside witnesses see nothing that may not be there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRig } from './harness.ts';
import { assertAllRight, endAll } from './tally.ts';

/** Payload lengths that name their sender; 1,472 bytes fill the MTU. */
const NAMED_SIZES = [26, 64, 200, 512, 1200, 1472];
const ANY_SIZES = [0, 1, 7, ...NAMED_SIZES];

/** Any IP option is one too many: these clients send none. */
const UOA_OR_OPP = 'ip.hdr_len > 20 or ip.proto == 248';
/** tshark has no name for option 31: the two bytes behind Ethernet and the fixed IP header. */
const UOA = 'ip.hdr_len == 28 and frame[34:2] == 1f:08';
const UNREACHABLE = 'icmp.type == 3';
const BAD_CHECKSUM = 'ip.checksum.status == 0 or udp.checksum.status == 0';

test('100,000 datagrams of 1,000 clients arrive unchanged both ways and each client address is right', async (t) => {
  const rig = await startRig(t, { clients: 50, servers: 2 });
  const servers = await rig.startServers();
  const interesting = 'ip[0] & 0x0f > 5 or ip proto 248 or icmp';
  const wan = await rig.watch('client', 'eth0', interesting);
  const lanErrors = await rig.watch('rs', 'eth0', 'icmp');
  const sent = await rig.watch('rs', 'eth0', 'udp and udp[4:2] < 600', 'in');

  const clients = await rig.clients({ portsPerAddress: 20, count: 100_000, sizes: NAMED_SIZES });
  const results = await endAll(servers);
  t.diagnostic(`${clients.sent} datagrams in ${clients.seconds} s`);

  assertAllRight(clients, results, 100_000);
  assert.equal(clients.clients, 1000);
  await wan.none(UOA_OR_OPP, 'no UOA and no protocol 248 reaches the clients');
  await wan.none(UNREACHABLE, 'no ICMP unreachable reaches the clients');
  await lanErrors.none(UNREACHABLE, 'no ICMP unreachable reaches the real servers');
  await sent.none(BAD_CHECKSUM, 'all checksums that reach the real servers verify');
  const good = await sent.matching('udp.checksum.status == 1');
  assert.ok(good.count > 50_000, `tshark verified ${good.count} checksums`);
  const carried = await sent.matching(UOA);
  assert.ok(carried.count >= 1000, `the witness can see UOAs: ${carried.count}`);
  assert.equal(await rig.metric('drops_total'), 0);
  assert.equal(await rig.metric('io_lost_total'), 0);
});

test('checksums that reach the clients verify', async (t) => {
  const rig = await startRig(t);
  const servers = await rig.startServers();
  const back = await rig.watch('client', 'eth0', 'udp', 'in');
  const clients = await rig.clients({ portsPerAddress: 5, count: 900, sizes: ANY_SIZES });
  await endAll(servers);
  await back.none(BAD_CHECKSUM, 'all checksums verify');
  assert.equal((await back.matching('udp.checksum.status == 1')).count, clients.sent);
});

test('one-arm: clients and real servers on one interface', async (t) => {
  const rig = await startRig(t, { kind: 'one-arm', clients: 10 });
  const servers = await rig.startServers();
  const wan = await rig.watch('client', 'eth0', 'ip proto 248 or icmp or (ip[0] & 0x0f > 5)');
  const clients = await rig.clients({ portsPerAddress: 10, count: 10_000, sizes: NAMED_SIZES });
  assertAllRight(clients, await endAll(servers), 10_000);
  // On a bridge a client's host may see what is not for it until the bridge has learned the ports.
  await wan.none(
    `ip.dst == 10.1.0.0/24 and (${UOA_OR_OPP} or ${UNREACHABLE})`,
    'nothing strange reaches the clients',
  );
});

for (const ip of ['127.0.0.1', '10.1.0.1']) {
  const place = ip === '127.0.0.1' ? '127.0.0.1' : "the pod's address";
  test(`sidecar: the server shares the proxy's namespace and listens on ${place}`, async (t) => {
    const rig = await startRig(t, { kind: 'sidecar', clients: 10, realServers: [{ ip, port: 7000 }] });
    const servers = await rig.startServers();
    const wan = await rig.watch('client', 'eth0', 'ip proto 248 or icmp or (ip[0] & 0x0f > 5)');
    const clients = await rig.clients({ portsPerAddress: 10, count: 10_000, sizes: NAMED_SIZES });
    assertAllRight(clients, await endAll(servers), 10_000);
    await wan.none(`${UOA_OR_OPP} or ${UNREACHABLE}`, 'nothing strange reaches the clients');
  });
}

test('every size passes, from empty to the full MTU', async (t) => {
  const rig = await startRig(t, { clients: 5 });
  const servers = await rig.startServers();
  const clients = await rig.clients({ portsPerAddress: 9, count: 4500, sizes: ANY_SIZES });
  const { answered, altered, missing, unexpected } = clients;
  assert.deepEqual(
    { answered, altered, missing, unexpected },
    { answered: 4500, altered: 0, missing: 0, unexpected: 0 },
  );
  await endAll(servers);
});
