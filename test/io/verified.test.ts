// Ring I/O and checksums that the kernel verified before it handed a packet over: on a veth with GRO it does.
import assert from 'node:assert/strict';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertPass, RING, report, startWalk, VIP } from '../steer/relay.ts';
import { sh } from './namespaces.ts';

const OFFLOADS = fileURLToPath(new URL('../fast/offloads.py', import.meta.url));

test('a checksum that the kernel verified is said to be right, and one that is not finished is not', async (t) => {
  const { client, lb, relay, endpoint } = await startWalk(t, RING);
  const change = (ns: string, options: object) =>
    sh(`ip netns exec ${ns} python3 ${OFFLOADS} '${JSON.stringify(options)}'`);
  await assertPass(endpoint, VIP, [64, 1200]);
  assert.equal((await report(relay)).verified, 0, 'its sender leaves them unfinished');
  change(lb, { device: 'wan0', gro: 1 });
  await assertPass(endpoint, VIP, [64, 1200]);
  assert.equal((await report(relay)).verified, 0, 'with GRO, too');
  change(client, { device: 'c0', tx: 0 });
  await assertPass(endpoint, VIP, [64, 1200]);
  assert.equal((await report(relay)).verified, 2);
  await relay.stop();
});
