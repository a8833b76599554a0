// The receiver while it is operated: upgraded and killed under load, taken off, and what does not concern it.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startPython, until } from './harness.ts';
import { makeCgroup, removeCgroup, startReceiverRig } from './receiver-rig.ts';

const LOAD = { portsPerAddress: 20, sizes: [64] };

const lossOf = ({ missing, altered, unexpected, refused }: Record<string, unknown>) => ({
  missing,
  altered,
  unexpected,
  refused,
});
const NO_LOSS = { missing: 0, altered: 0, unexpected: 0, refused: 0 };

test('it is upgraded, killed, started again and detached under load, and nobody loses a datagram', async (t) => {
  const receiving = await startReceiverRig(t);
  const { rig } = receiving;
  const server = await receiving.startServer();
  const load = rig.startClients(LOAD);
  await load.ready;
  const learned = () => until('clients are learned', () => statusOf(receiving).clients === 100);
  await learned();

  assert.equal(await receiving.receiver.end(), 0);
  assert.deepEqual([statusOf(receiving).pid, statusOf(receiving).hooks.length], [undefined, 10]);
  const second = receiving.startReceiver();
  await second.ready();
  assert.match(second.log, /"how":"taken over"/);
  assert.equal(statusOf(receiving).pid, second.child.pid);

  assert.equal(await second.end('SIGKILL'), 'SIGKILL');
  // Another size: what is known is copied.
  const third = receiving.startReceiver([...receiving.options, '--max-clients', '1000']);
  await third.ready();
  assert.equal(statusOf(receiving).clients, 100);
  assert.throws(() => receiving.ask('detach'), /process \d+ serves .*: stop it first/);
  assert.equal(await third.end(), 0);

  const { received } = statusOf(receiving).counters;
  await until('they go on', () => statusOf(receiving).counters.received > received + 1000);
  assert.match(receiving.ask('detach', '--cgroup', receiving.cgroup), /^detached: .* \(10 hooks\)\n$/);
  assert.equal(receiving.ask('status'), 'no receiver has anything at work here\n');
  const clients = await load.end();
  assert.deepEqual(lossOf(clients), NO_LOSS, JSON.stringify(clients).slice(0, 1000));
  const seen = await server.end();
  assert.ok(Number(seen.attributed) > 0);
  assert.ok(Number(seen.wrong) > 0, 'after that the server saw LIPs');
});

interface Status {
  pid?: number;
  hooks: string[];
  clients: number;
  counters: Record<string, number>;
  ignored: { ip: string; count: number }[];
  from: string[];
}

const statusOf = ({ ask }: { ask: (...args: string[]) => string }): Status =>
  JSON.parse(ask('status', '--json', '--limit', '5')).receivers[0];

test('a second receiver for the cgroup is refused while the first one lives', async (t) => {
  const receiving = await startReceiverRig(t);
  assert.throws(() => receiving.ask(...receiving.options), /another receiver serves .*\nHint: stop it first/);
});

test('a forged UOA from outside of `from`, and programs of other cgroups, are left as they are', async (t) => {
  const receiving = await startReceiverRig(t, { servers: 2 });
  const { rig } = receiving;
  await receiving.receiver.end();
  const lips = ['--from', '10.2.0.200', '--from', '10.2.0.201'];
  const receiver = receiving.startReceiver([...lips, ...receiving.options.slice(3)]);
  await receiver.ready();
  const server = await receiving.startServer();
  const other = await receiving.startPython('plain_server.py', rig.realServers[1]!, makeCgroup(t));
  const client = rig.clientIps[0]!.split('.').map(Number);
  const forged = Buffer.from([31, 8, 0x27, 0x10, ...client]).toString('hex');
  for (const payload of ['', '0102']) {
    const to = [rig.realServers[0]!.ip, rig.realServers[0]!.port];
    const asked = { from: '10.2.0.1', to, options: forged, payload };
    const { answer } = await startPython(rig.topology, 'lb', 'forge_uoa.py', asked).result;
    assert.equal(answer, payload);
  }
  const clients = await rig.clients({ ...LOAD, count: 1000 });
  assert.deepEqual(lossOf(clients), NO_LOSS);
  const [inside, outside] = [await server.end(), await other.end()];
  assert.equal(Number(inside.received) + Number(outside.received), 1002 + Number(outside.empty));
  assert.deepEqual([inside.attributed, inside.wrong, inside.empty], [Number(inside.received) - 2, 0, 1]);
  assert.deepEqual([outside.attributed, outside.wrong], [0, outside.received]);
  const status = statusOf(receiving);
  assert.deepEqual(status.ignored, [{ ip: '10.2.0.1', count: 2 }]);
  assert.equal(status.counters.learned, 50);
});

test('a cgroup that is made again, as for a service that is started again, has its programs and clients', async (t) => {
  const receiving = await startReceiverRig(t);
  const { rig, cgroup, receiver } = receiving;
  const load = { ...LOAD, firstPort: 20_000, count: 1000 };
  for (const round of ['first', 'second']) {
    const server = await receiving.startServer();
    const clients = await rig.clients(load);
    assert.deepEqual(lossOf(clients), NO_LOSS);
    const { attributed, wrong } = await server.end();
    assert.deepEqual({ round, attributed, wrong }, { round, attributed: 1000, wrong: 0 });
    assert.equal(await rig.metric('uoa_sent_total'), 100, 'nobody was told again');
    if (round === 'second') return;
    await removeCgroup(cgroup);
    await receiver.says(/there is no such cgroup/);
    mkdirSync(cgroup);
    await receiver.says(/(attached.*){2}/s);
  }
});

test('a config file is read again on SIGHUP and when it changes, and a wrong one leaves all as it was', async (t) => {
  const receiving = await startReceiverRig(t);
  await receiving.receiver.end();
  const path = join(receiving.rig.topology.scratch, 'receiver.yaml');
  const other = makeCgroup(t);
  const write = (config: object) => writeFileSync(path, JSON.stringify(config));
  const common = { admin: { listen: '127.0.0.1:0' }, log: { format: 'json' } };
  write({ from: ['10.2.0.0/24'], cgroups: [receiving.cgroup], ...common });
  const receiver = receiving.startReceiver(['--config', path]);
  await receiver.ready();
  write({ from: ['10.2.0.200'], cgroups: [other], ...common });
  receiver.child.kill('SIGHUP');
  await receiver.says(/the config was reloaded/);
  assert.match(receiver.log, new RegExp(`"cgroup":"${receiving.cgroup}","msg":"the programs were detached"`));
  const all = JSON.parse(receiving.ask('status', '--json')).receivers;
  assert.deepEqual(
    all.map(({ cgroup, from }: { cgroup: string; from: string[] }) => [cgroup, from]),
    [[other, ['10.2.0.200/32']]],
  );
  for (const [wrong, said] of [
    [{ from: ['10.2.0.200/24'] }, /not reloaded.*it has bits behind its length/s],
    [
      { from: ['10.2.0.1'], cgroups: [other], ...common, maxClients: 5 },
      /not reloaded: maxClients: needs a restart/,
    ],
  ] as const) {
    write(wrong);
    await receiver.says(said);
  }
  assert.deepEqual(statusOf(receiving).from, ['10.2.0.200/32']);
  assert.equal(await receiver.end(), 0);
});
