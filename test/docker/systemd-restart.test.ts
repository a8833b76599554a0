// The systemd units over restarts, crashes and upgrades under load: what the unit's user may pin below
// /sys/fs/bpf outlives the process, and sessions in the fast path lose nothing.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTopology, LIPS, type Topology, VIPS, VPORT } from '../../src/lab/topology.ts';
import { startPython } from '../e2e/harness.ts';
import { listedIn, mappingsOf } from '../e2e/listed.ts';
import { Booted } from './booted.ts';

const CLIENTS = 5;
const PORTS = 4;
const ALL = CLIENTS * PORTS;
const PINNED = '/sys/fs/bpf/uoa-proxy';

const configOf = (topology: Topology): string =>
  JSON.stringify({
    io: { wan: topology.wan, lan: topology.lan, assignAddresses: true, workers: 2, fastPath: 'tc' },
    log: { format: 'json' },
    sessions: { stateFile: '/var/lib/uoa-proxy/sessions' },
    services: [
      {
        name: 'game',
        vip: VIPS[4],
        vport: VPORT,
        lips: LIPS[4],
        realServers: topology.serverIps[4].map((ip) => ({ ip, port: VPORT })),
      },
    ],
  });

/** A unit at work, with clients whose sessions are all hot. */
async function startUnderLoad(t: TestContext, unit?: string) {
  const topology = buildTopology({ kind: 'two-arm', clients: CLIENTS, servers: 2 });
  let booted: Booted | undefined;
  t.after(async () => {
    await booted?.end();
    topology.remove();
  });
  booted = await Booted.start({
    config: configOf(topology),
    network: topology.namespaces.lb,
    ...(unit && { unit }),
  });
  const servers = topology.serverIps[4].map((ip) =>
    startPython(topology, 'rs', 'server.py', { ip, port: VPORT }),
  );
  await Promise.all(servers.map((server) => server.ready));
  const clients = startPython(topology, 'client', 'clients.py', {
    addresses: topology.clientIps[4],
    portsPerAddress: PORTS,
    vip: VIPS[4],
    vport: VPORT,
    window: 64,
    sizes: [64],
    untilClosed: true,
  });
  await untilHot(booted);
  return { booted, clients };
}

const sessionsOf = (booted: Booted): string[] =>
  mappingsOf(listedIn(booted.get('/sessions?limit=1000').body));

const untilHot = (booted: Booted) =>
  booted.until('hot', () =>
    new RegExp(`^uoa_proxy_fast_path_sessions(\\{.*\\})? ${ALL}$`, 'm').test(booted.get('/metrics').body),
  );

const timesGoneOn = (booted: Booted): number =>
  booted.log().split(`"msg":"fast path: ${ALL} sessions go on"`).length - 1;

const pinned = (booted: Booted): string =>
  booted.inside('sh', '-c', 'cd "$1" 2>/dev/null && find . -mindepth 1', 'sh', PINNED);

test('uoa-proxy.service: a restart and a crash under load lose no datagram of a hot session, also where the user becomes another one', async (t) => {
  const { booted, clients } = await startUnderLoad(t);
  const before = sessionsOf(booted);

  booted.inside('systemctl', 'restart', 'uoa-proxy.service');
  await booted.untilReady();
  assert.equal(timesGoneOn(booted), 1, booted.log());
  assert.deepEqual(sessionsOf(booted), before);
  await untilHot(booted);
  assert.equal(booted.property('NRestarts'), '0', 'it was no crash');

  // The state folder has another owner before systemd chooses a user: it takes that one.
  const uid = () => booted.inside('stat', '-c', '%u', `/proc/${booted.property('MainPID')}`);
  const [uidBefore, other] = [uid(), '62123'];
  booted.inside(
    'sh',
    '-c',
    'systemctl kill --signal=KILL uoa-proxy.service; chown -R "$1:$1" /var/lib/private/uoa-proxy',
    'sh',
    other,
  );
  await booted.until('restarted', () => booted.property('NRestarts') === '1');
  await booted.untilReady();
  t.diagnostic(`user ${uidBefore}, then ${uid()}`);
  assert.equal(timesGoneOn(booted), 2, booted.log());
  assert.deepEqual(sessionsOf(booted), before);
  await untilHot(booted);
  assert.equal(booted.inside('stat', '-c', '%u %a', PINNED), `${uid()} 700`);

  const counted = await clients.end();
  t.diagnostic(`${counted.sent} datagrams, ${counted.missing} lost`);
  assert.equal(counted.missing, 0);
  assert.notEqual(pinned(booted), '');
  booted.inside('systemctl', 'stop', 'uoa-proxy.service');
  assert.equal(booted.property('Result'), 'success');
  // Addresses that it had added before the crash are not its own any more.
  assert.equal(pinned(booted), '');
});

test('uoa-proxy@.service: a takeover by another instance and its restart under load lose no datagram of a hot session, and a stop leaves nothing', async (t) => {
  const [old, next] = ['uoa-proxy@0.1.0.service', 'uoa-proxy@0.2.0.service'];
  const { booted, clients } = await startUnderLoad(t, old);
  const before = sessionsOf(booted);
  booted.inside('systemctl', 'start', next);
  await booted.until('over', () => booted.property('ActiveState', old) === 'inactive');
  await booted.untilReady();
  assert.deepEqual(
    [booted.property('Result', old), booted.property('ExecMainStatus', old)],
    ['success', '11'],
  );
  assert.deepEqual(sessionsOf(booted), before);
  await untilHot(booted);
  booted.inside('systemctl', 'restart', next);
  await booted.untilReady();
  assert.deepEqual(sessionsOf(booted), before);
  await sleep(500);
  const counted = await clients.end();
  t.diagnostic(`${counted.sent} datagrams, ${counted.missing} lost`);
  assert.equal(counted.missing, 0);
  booted.inside('systemctl', 'stop', next);
  assert.equal(pinned(booted), '');
  const addresses = booted.inNetwork('ip', '-brief', 'address');
  for (const ip of [VIPS[4], ...LIPS[4]]) assert.ok(!addresses.includes(`${ip}/`), `${ip} is gone`);
});
