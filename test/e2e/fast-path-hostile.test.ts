// Hot sessions beside frames that are broken in every way, from both sides, by somebody who knows the ends of
// another hot session.
import assert from 'node:assert/strict';
import { VPORT } from '../../src/lab/topology.ts';
import { hex, pattern } from '../packets/bytes.ts';
import { balanced } from './books.ts';
import { lostInSending, macOf } from './flooding.ts';
import { type Rig, startPython, until } from './harness.ts';
import { hostileError, hostileFrame, randomFrom, type Target } from './hostile-frames.ts';
import {
  assertRightClients,
  Client,
  fastCount,
  hotCount,
  overAll,
  passed,
  sessionOf,
  startHot,
} from './hot.ts';

const PORTS = 20;

/** Of each side, so often. */
const FRAMES = 1_000;
const ROUNDS = 2;

/** Names its sender, as payloads of clients do (programs/payload.py), so that the real server checks it. */
function naming(ip: string, port: number): Uint8Array {
  const bytes = Buffer.from(pattern(100));
  bytes.write('uOA1', 0, 'latin1');
  bytes.set(addressIn16(ip), 8);
  bytes.writeUInt16BE(port, 24);
  return bytes;
}

function addressIn16(ip: string): Uint8Array {
  const bytes = Buffer.alloc(16);
  if (ip.includes(':')) {
    const [head, tail] = ip.split('::').map((part) => part.split(':').filter(Boolean)) as [
      string[],
      string[],
    ];
    const groups = [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
    for (const [at, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * at);
    return bytes;
  }
  bytes.writeUInt16BE(0xffff, 10);
  bytes.set(ip.split('.').map(Number), 12);
  return bytes;
}

async function sendFrames(rig: Rig, role: 'client' | 'rs', frames: readonly Uint8Array[]): Promise<void> {
  const program = startPython(rig.topology, role, 'frames.py', 'eth0');
  for (const frame of frames) program.child.stdin!.write(`${hex(frame)}\n`);
  const { sent, refused } = await program.end();
  assert.equal(Number(sent) + Number(refused), frames.length);
}

overAll(
  'broken frames of hot sessions from both sides: nobody crashes, and other hot sessions lose nothing',
  async (t, kind, pair) => {
    const { rig, servers } = await startHot(t, kind, { pair, clients: 2 });
    const seed = Number(process.env.UOA_TEST_SEED ?? Math.floor(Math.random() * 1e9));
    t.diagnostic(`UOA_TEST_SEED=${seed}`);
    const random = randomFrom(seed);
    const load = rig.startSteadyClients({
      addresses: [rig.clientIps[1]!],
      portsPerAddress: PORTS,
      rate: 400,
    });
    await until('all are hot', async () => (await hotCount(rig)) === PORTS);
    const victim = await Client.start(rig);
    await until('its session is hot', async () => {
      await victim.exchange(10);
      return (await hotCount(rig)) === PORTS + 1;
    });
    const { lip, lport, rs } = await sessionOf(rig, victim);
    const fromClient: Target = {
      fields: {
        src: victim.ip,
        sport: victim.port,
        dst: rig.vip,
        dport: VPORT,
        payload: naming(victim.ip, victim.port),
      },
      mac: macOf(rig.topology, 'lb', rig.topology.wan),
    };
    const fromServer: Target = {
      fields: { src: rs, sport: VPORT, dst: lip, dport: lport, payload: pattern(100) },
      mac: macOf(rig.topology, 'lb', rig.topology.lan),
    };
    const some = (of: number, make: typeof hostileFrame, target: Target) =>
      Array.from({ length: of }, () => make(target, random));
    const before = await fastCount(rig);
    for (let round = 0; round < ROUNDS; round++) {
      // What the datapath sees often is its own for a while.
      await until('its session is hot again', async () => {
        await victim.tell({ do: 'send', count: 10, pauseMs: 5 });
        return (await hotCount(rig)) === PORTS + 1;
      });
      // Each side's, and some of the other's, which that side must not send.
      await Promise.all([
        sendFrames(rig, 'client', [
          ...some(FRAMES, hostileFrame, fromClient),
          ...some(FRAMES / 10, hostileFrame, { ...fromServer, mac: fromClient.mac }),
        ]),
        sendFrames(rig, 'rs', [
          ...some(FRAMES, hostileFrame, fromServer),
          ...some(FRAMES / 10, hostileFrame, { ...fromClient, mac: fromServer.mac }),
        ]),
      ]);
    }
    assert.ok((await fastCount(rig)) > before);
    for (const reason of ['ttl', 'bad_length', 'wrong_side'])
      assert.ok((await passed(rig, reason)) > 0, `some were left to the datapath for ${reason}`);
    // Last, because the session believes some.
    await Promise.all([
      sendFrames(rig, 'client', some(FRAMES, hostileError, fromClient)),
      sendFrames(rig, 'rs', some(FRAMES, hostileError, fromServer)),
    ]);
    const { lost, unexpected } = await load.end();
    const byLinks = lostInSending(rig.topology);
    assert.ok(Number(lost) <= byLinks, `${lost} lost, ${byLinks} by links`);
    assert.equal(unexpected, 0);
    await balanced(rig, (books) => books.faults().length === 0);
    assert.equal(await rig.metric('worker_restarts_total'), 0);
    assert.doesNotMatch(rig.proxy.log, /"level":"(error|fatal)"/);
    await assertRightClients(servers);
  },
);
