// "Who is behind this LIP:lport?", asked of a running proxy as a real server asks it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SessionSnapshot } from '../../src/session/snapshot.ts';
import { formatEndpoint } from '../../src/wire/address.ts';
import { type Rig, startRig, until } from './harness.ts';
import { Client, overAll, startHot } from './hot.ts';
import { PAIRS } from './pairs.ts';

const listed = async (rig: Rig): Promise<SessionSnapshot[]> =>
  (JSON.parse((await rig.get('/sessions?limit=1000')).body) as { sessions: SessionSnapshot[] }).sessions;

async function lookUp(
  rig: Rig,
  { lip, lport, rs, rsPort }: SessionSnapshot,
): Promise<{ status: number; json: Partial<SessionSnapshot> & { error?: string } }> {
  const { status, body } = await rig.get(
    `/session?lip=${formatEndpoint(lip, lport)}&rs=${formatEndpoint(rs, rsPort)}`,
  );
  return { status, json: JSON.parse(body) as object };
}

const nameOf = ({ client, clientPort, service, vip }: Partial<SessionSnapshot>): unknown[] => [
  client,
  clientPort,
  service,
  vip,
];

/** Each session is found by what its real server sees, and is the one that is listed. */
async function assertFound(rig: Rig, sessions: readonly SessionSnapshot[]): Promise<void> {
  for (const session of sessions) {
    const { status, json } = await lookUp(rig, session);
    assert.equal(status, 200, JSON.stringify(json));
    assert.deepEqual(nameOf(json), nameOf(session));
  }
}

for (const pair of [PAIRS[4], PAIRS.nat64, PAIRS[6]]) {
  test(`${pair.name}: every session of two workers is found, also after both workers ended`, async (t) => {
    const rig = await startRig(t, {
      pair,
      clients: 3,
      servers: 2,
      uoa: { dialect: 'none' },
      io: { mode: 'ring', workers: 2 },
    });
    await rig.startServers();
    await rig.clients({ portsPerAddress: 20, count: 120, sizes: [64] });
    const sessions = await listed(rig);
    assert.equal(sessions.length, 60);
    assert.equal(new Set(sessions.map(({ lport }) => lport % 2)).size, 2);
    await assertFound(rig, sessions);
    const [known] = sessions as [SessionSnapshot];
    const { status, json } = await lookUp(rig, { ...known, lport: 1 });
    assert.deepEqual([status, json.error?.replace(/of .*/, '')], [404, 'no session ']);
    const other = await lookUp(rig, { ...known, rsPort: 7000 });
    assert.equal(other.status, 404);
    assert.match(other.json.error!, /^no real server is called .*7000": there are /);

    const { workers } = JSON.parse((await rig.get('/stats')).body) as { workers: { pid: number }[] };
    for (const { pid } of workers) process.kill(pid, 'SIGKILL');
    // Until they know, nobody is told that there is no such session.
    await until('the workers are back', async () => {
      const answers = await Promise.all(sessions.map((session) => lookUp(rig, session)));
      assert.deepEqual(
        answers.filter(({ status }) => status === 404),
        [],
      );
      return answers.every(({ status }) => status === 200) && (await rig.get('/readyz')).status === 200;
    });
    await assertFound(rig, sessions);
  });
}

overAll('a session that the kernel forwards is found', async (t, kind, pair) => {
  const { rig } = await startHot(t, kind, { pair });
  const client = await Client.start(rig);
  await client.heat(rig);
  const [session] = (await listed(rig)) as [SessionSnapshot];
  const { status, json } = await lookUp(rig, session);
  assert.deepEqual([status, json.client, json.clientPort], [200, client.ip, client.port]);
  assert.equal(json.fastPath, 'hot');
});
