// The receiver with servers as there are many: in C, Go and Node.js, of Debian, bound and connected in
// several ways. None of them was written for it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Answer, listenTo, type Rig } from './harness.ts';
import { PAIRS, type Pair } from './pairs.ts';
import {
  assertAcknowledged,
  assertSeen,
  assertWell,
  type ReceiverRig,
  startReceiverRig,
} from './receiver-rig.ts';

const PROGRAMS = fileURLToPath(new URL('./programs/', import.meta.url));
const PORTS = 40;
const load = (pair: Pair) => ({ portsPerAddress: PORTS, count: 2000, sizes: [64, 1200, pair.full, 10] });

function compile(receiving: ReceiverRig): string {
  const program = join(receiving.rig.topology.scratch, 'plain_server');
  execFileSync('gcc', [
    '-Wall',
    '-Wextra',
    '-Werror',
    '-O1',
    '-o',
    program,
    join(PROGRAMS, 'plain_server.c'),
  ]);
  return program;
}

/** Runs a server under load, which sees all its clients. Returns what it said. */
async function serve(
  receiving: ReceiverRig,
  pair: Pair,
  argv: readonly string[],
  name: string,
): Promise<{ server: Answer; clients: Answer }> {
  const program = listenTo(receiving.spawn(argv), name);
  await program.ready;
  const clients = await receiving.rig.clients(load(pair));
  assertWell(clients);
  const server = await program.end();
  assertSeen(server, clients);
  await assertAcknowledged(receiving.rig, clients.clients);
  return { server, clients };
}

const endsOf = ({ realServers: [rs] }: Rig): string[] => [rs!.ip, String(rs!.port)];

for (const pair of [PAIRS[4], PAIRS[6]])
  for (const mode of ['recvfrom', 'mmsg', 'connected', 'option'])
    test(`${pair.name}: a C program sees its clients by ${mode}`, async (t) => {
      const receiving = await startReceiverRig(t, { pair, uoa: { dialect: pair.dialect } });
      const argv = [compile(receiving), mode, ...endsOf(receiving.rig)];
      const { server, clients } = await serve(receiving, pair, argv, mode);
      if (mode === 'option') assert.equal(server.asked, clients.named);
      if (mode === 'connected') assert.equal(server.sockets, 1 + 5 * PORTS);
    });

test('a server by dgram of Node.js sees its clients', async (t) => {
  const receiving = await startReceiverRig(t);
  const { realServers } = receiving.rig;
  const argv = [process.execPath, join(PROGRAMS, 'plain_server.mjs'), JSON.stringify(realServers[0])];
  await serve(receiving, PAIRS[4], argv, 'node');
});

test('a server in Go sees its clients', async (t) => {
  const receiving = await startReceiverRig(t);
  const program = join(receiving.rig.topology.scratch, 'go_server');
  execFileSync('go', ['build', '-o', program, join(PROGRAMS, 'plain_server.go')], {
    env: { ...process.env, GO111MODULE: 'off', GOFLAGS: '', GOCACHE: receiving.rig.topology.scratch },
  });
  await serve(receiving, PAIRS[4], [program, ...endsOf(receiving.rig)], 'go');
});

const BOUND: readonly [name: string, pair: Pair, options: object][] = [
  ['of both families, by IPv4', PAIRS[4], { isDual: true }],
  ['of both families that is bound to any address, by IPv4', PAIRS[4], { isDual: true, ip: '::' }],
  ['of both families that is bound to any address, by IPv6', PAIRS[6], { isDual: true, ip: '::' }],
  ['of IPv4 that is bound to any address', PAIRS[4], { ip: '0.0.0.0' }],
  ['of IPv6 that is bound to any address', PAIRS[6], { ip: '::' }],
];

for (const [name, pair, options] of BOUND)
  test(`a socket ${name}, on a host with several, sees its clients and answers from the right one`, async (t) => {
    // The real server is not the address that the host would choose.
    const second = pair.server === 4 ? '10.2.0.12' : 'fd00:2::12';
    const realServers = [{ ip: second, port: 6000 }];
    const receiving = await startReceiverRig(t, {
      pair,
      servers: 2,
      realServers,
      uoa: { dialect: pair.dialect },
    });
    const server = await receiving.startServer(options);
    const clients = await receiving.rig.clients(load(pair));
    assertWell(clients);
    assertSeen(await server.end(), clients);
    await assertAcknowledged(receiving.rig, clients.clients);
  });

for (const pair of [PAIRS.nat64, PAIRS.nat46])
  test(`${pair.name}: clients of another family than the LIP are seen as LIPs, answered, and told by the option`, async (t) => {
    const receiving = await startReceiverRig(t, { pair, uoa: { dialect: pair.dialect } });
    const { rig } = receiving;
    const program = listenTo(receiving.spawn([compile(receiving), 'option', ...endsOf(rig)]), 'option');
    await program.ready;
    const clients = await rig.clients(load(pair));
    assertWell(clients);
    const server = await program.end();
    assert.deepEqual([server.attributed, server.wrong, server.asked], [0, clients.named, clients.named]);
    await assertAcknowledged(rig, clients.clients);
  });
