// A path that drops packets with IP options, as some networks do, and one that does not: uoa.carriage auto
// finds out which it is, loses no client's datagram meanwhile, and tells of the former.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Rig, startRig, until } from './harness.ts';
import { sumOf } from './tally.ts';

const AUTO = { servers: 1, uoa: { carriage: 'auto' as const } };
const SESSIONS = 24;

/** Sessions of sockets of their own, one after another, each of some datagrams; all are answered. */
async function converse(rig: Rig): Promise<void> {
  const count = 4 * SESSIONS;
  const portsPerAddress = SESSIONS / rig.clientIps.length;
  const clients = await rig.clients({ portsPerAddress, count, sizes: [64], window: 1, timeoutMs: 5_000 });
  const { answered, altered, missing, unexpected, refused } = clients;
  assert.deepEqual(
    { answered, altered, missing, unexpected, refused },
    { answered: count, altered: 0, missing: 0, unexpected: 0, refused: 0 },
  );
}

test('auto, on a path that drops packets with IP options: no datagram is lost, and counter and log tell', async (t) => {
  const rig = await startRig(t, AUTO);
  const servers = await rig.startServers();
  const nft = (command: string) => rig.topology.exec('rs', ['nft', command]);
  nft('add table inet path; add chain inet path in { type filter hook prerouting priority raw; }');
  nft('add rule inet path in ip hdrlength > 5 drop');
  const onlyPlain = () => rig.metric('uoa_first_answers_total', { to: 'plain' });
  await until('three sessions are answered only without UOA', async () => {
    await converse(rig);
    return (await onlyPlain()) >= 3;
  });
  assert.equal(await rig.metric('uoa_first_answers_total', { to: 'uoa' }), 0);
  assert.ok((await rig.metric('uoa_repeated_total')) >= 3);
  await until('the log says so', () =>
    /"what":"uoa_unanswered".*answers only packets without UOA/.test(rig.proxy.log),
  );
  const ended = await Promise.all(servers.map((server) => server.end()));
  assert.deepEqual([sumOf(ended, 'uoas'), sumOf(ended, 'wrong')], [0, 0]);
});

test('auto, on a path that lets them through: the UOA is inserted soon, though nobody acknowledges', async (t) => {
  const rig = await startRig(t, AUTO);
  const servers = await rig.startServers();
  const inserted = () => rig.metric('uoa_sent_total', { carriage: 'inserted' });
  await until('as many are inserted as sessions have', async () => {
    const before = await inserted();
    await converse(rig);
    return (await inserted()) - before === 3 * SESSIONS;
  });
  assert.ok((await rig.metric('uoa_first_answers_total', { to: 'uoa' })) > 0);
  const ended = await Promise.all(servers.map((server) => server.end()));
  assert.deepEqual([sumOf(ended, 'unattributed'), sumOf(ended, 'wrong')], [0, 0]);
});
