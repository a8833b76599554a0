import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StatsReport } from '../../src/admin/report.ts';
import { AdminListenError, startAdmin } from '../../src/admin/server.ts';
import { COUNTER, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { SERVER_COUNTER, SERVER_COUNTERS, serverRow } from '../../src/datapath/server-cells.ts';
import { DROP } from '../../src/datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS } from '../../src/io/packet-io.ts';
import { startSample } from './sample.ts';

const NO_LIMITS = {
  sessions: 0,
  sessionsPerClient: 0,
  newSessions: 0,
  newSessionsPerClient: 0,
  prefixV4: 32,
  prefixV6: 64,
};
const NOTHING = Object.fromEntries(
  SERVER_COUNTERS.filter((name) => !/^sessions(Oneway|Normal)$/.test(name)).map((name) => [name, 0]),
);

describe('the admin server', () => {
  it('answers /healthz while the process lives, ready or not', async (t) => {
    const admin = await startSample(t, { readiness: () => ({ ready: false, reason: 'stopping' }) });
    const { status, json } = await admin.get('/healthz');
    assert.equal(status, 200);
    assert.equal(json.status, 'ok');
    assert.equal(json.version, '1.2.3');
    assert.ok(Number(json.uptimeSeconds) > 0);
  });

  it('answers /readyz with 200 and the reason when ready', async (t) => {
    const admin = await startSample(t);
    assert.deepEqual(await admin.get('/readyz'), {
      status: 200,
      json: { ready: true, reason: 'serving 2 services' },
    });
  });

  it('answers /readyz with 503 and the reason when not ready', async (t) => {
    const admin = await startSample(t, {
      readiness: () => ({ ready: false, reason: 'the datapath is gone' }),
    });
    assert.deepEqual(await admin.get('/readyz'), {
      status: 503,
      json: { ready: false, reason: 'the datapath is gone' },
    });
  });

  it('describes each service at /services', async (t) => {
    const admin = await startSample(t);
    const { counters } = admin.sources;
    counters[counterRow(0) + COUNTER.sessionsOneway] = 2;
    counters[counterRow(0) + COUNTER.sessionsNormal] = 3;
    counters[counterRow(0) + COUNTER.uoaAcked] = 4;
    counters[counterRow(1) + dropColumn(DROP.no_real_server)] = 5;
    const { servers } = admin.sources;
    servers[serverRow(0) + SERVER_COUNTER.refusals] = 7;
    servers[serverRow(0) + SERVER_COUNTER.sessionsNormal] = 8;
    admin.states[2] = {
      state: 'down',
      isDown: true,
      isDrained: false,
      isRemoved: false,
      reason: 'no reply within 1s',
      since: new Date(1_700_000_000_000),
      weightSetTo: 50,
    };
    const { status, json } = await admin.get('/services');
    assert.equal(status, 200);
    const [game, other] = json.services as Record<string, Record<string, unknown>>[];
    assert.deepEqual(
      { ...game, counters: undefined, drops: undefined },
      {
        name: 'game',
        vips: ['fd00:1::100', '10.1.0.100'],
        vport: 6000,
        scheduler: 'rr',
        uoa: { maxTrials: 3, unifiedType: 31, onUnsupported: 'plain', proxyV2: 'every', carriage: 'auto' },
        persistenceMs: 0,
        onDown: 'keep',
        limits: NO_LIMITS,
        fastPath: { sessions: 0, forwarded: { inbound: 0, outbound: 0 }, isOff: false },
        realServers: [
          {
            ip: '10.2.0.11',
            port: 6000,
            weight: 100,
            effectiveWeight: 100,
            isFallback: false,
            state: 'up',
            isDrained: false,
            isRemoved: false,
            reason: 'not checked',
            since: '2023-11-14T22:13:20.000Z',
            dialect: 'ipo',
            sessions: { oneway: 0, normal: 8 },
            counters: { ...NOTHING, refusals: 7 },
          },
          {
            ip: '10.2.0.9',
            port: 6000,
            weight: 1,
            effectiveWeight: 0,
            isFallback: true,
            state: 'up',
            isDrained: false,
            isRemoved: false,
            reason: 'not checked',
            since: '2023-11-14T22:13:20.000Z',
            dialect: 'ipo',
            sessions: { oneway: 0, normal: 0 },
            counters: NOTHING,
          },
        ],
        sessions: { oneway: 2, normal: 3 },
        counters: undefined,
        drops: undefined,
      },
    );
    assert.equal(game?.counters?.uoaAcked, 4);
    assert.equal(other?.drops?.no_real_server, 5);
    assert.equal(other?.name, '10.1.0.100:6001');
    assert.deepEqual(other?.uoa, {
      maxTrials: 3,
      unifiedType: 30,
      onUnsupported: 'unified',
      proxyV2: 'every',
      carriage: 'auto',
    });
    assert.deepEqual(other?.limits, { ...NO_LIMITS, sessions: 4000 });
    const [first, second] = other.realServers as unknown as Record<string, unknown>[];
    assert.deepEqual(
      [first?.dialect, first?.state, first?.reason, first?.weight, first?.effectiveWeight],
      ['opp', 'down', 'no reply within 1s', 100, 0],
    );
    assert.deepEqual([second?.ip, second?.dialect, second?.effectiveWeight], ['fd00:2::12', 'elb', 100]);
  });

  it('adds up all services, past ones and none, at /stats', async (t) => {
    const admin = await startSample(t);
    const { counters, io } = admin.sources;
    for (const row of [-1, 0, 1]) {
      counters[counterRow(row) + COUNTER.inboundPackets] = 5;
      counters[counterRow(row) + COUNTER.sessionsNormal] = 2;
      counters[counterRow(row) + dropColumn(DROP.denied)] = 1;
    }
    io[IO_COLUMN.received] = 6;
    io[IO_COUNTERS.length + IO_COLUMN.received] = 7;
    const { status, json } = await admin.get('/stats');
    assert.equal(status, 200);
    const stats = json as unknown as StatsReport;
    assert.equal(stats.counters.inboundPackets, 15);
    assert.deepEqual(stats.sessions, { oneway: 0, normal: 6, max: 5000 });
    assert.equal(stats.drops.denied, 3);
    assert.equal(stats.io.received, 13);
    assert.deepEqual(stats.lports, { inUse: 12, capacity: 157 });
    assert.deepEqual(stats.workers, [
      { pid: process.pid, restarts: 0 },
      { pid: process.ppid, restarts: 2 },
    ]);
    assert.deepEqual(stats.reloads, { succeeded: 0, failed: 0, last: null });
    assert.deepEqual(
      [stats.version, stats.ready, stats.draining, stats.ioMode, stats.services],
      ['1.2.3', true, false, 'pcap', 2],
    );
  });

  it('answers an unknown path with 404 and the paths there are', async (t) => {
    const { status, json } = await (await startSample(t)).get('/metric');
    assert.equal(status, 404);
    assert.match(String(json.error), /\/metrics/);
  });

  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
    it(`refuses ${method} with 405 where there is something to read`, async (t) => {
      const admin = await startSample(t);
      for (const path of ['/metrics', '/sessions', '/stats']) {
        const body = method === 'POST' ? { body: 'x'.repeat(100_000) } : {};
        const response = await fetch(admin.url(path), { method, ...body });
        assert.equal(response.status, 405);
        assert.equal(response.headers.get('allow'), 'GET');
      }
    });
  }

  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
    it(`refuses ${method} with 405 where there is something to change`, async (t) => {
      const admin = await startSample(t);
      for (const path of [
        '/reload',
        '/drain',
        '/drain/cancel',
        '/services/game/servers/10.2.0.11:6000/enable',
        '/services/game/servers/10.2.0.11:6000/announce',
      ]) {
        const response = await fetch(admin.url(path), { method });
        assert.equal(response.status, 405);
        assert.equal(response.headers.get('allow'), 'POST');
      }
      assert.deepEqual(admin.done, []);
    });
  }

  it('tells caches and browsers to leave its answers alone', async (t) => {
    const { headers } = await fetch((await startSample(t)).url('/sessions'));
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
  });

  it('cannot start twice on one port, and says so', async (t) => {
    const admin = await startSample(t);
    const port = Number(new URL(admin.url('/')).port);
    await assert.rejects(startAdmin(admin.sources, { host: '127.0.0.1', port }), (error) => {
      assert.ok(error instanceof AdminListenError);
      assert.equal(error.message, `admin server cannot listen on 127.0.0.1:${port}: the port is in use`);
      assert.match(error.hint, /admin\.listen/);
      return true;
    });
  });

  it('cannot start on an address that the host lacks, and says so', async (t) => {
    const { sources } = await startSample(t);
    await assert.rejects(startAdmin(sources, { host: '192.0.2.1', port: 0 }), {
      name: 'AdminListenError',
      message: /192\.0\.2\.1:0: this host has no such address/,
    });
  });

  it('closes while a client keeps its connection open', async (t) => {
    const { sources } = await startSample(t);
    const admin = await startAdmin(sources, { host: '127.0.0.1', port: 0 });
    await (await fetch(`http://127.0.0.1:${admin.address.port}/healthz`)).text();
    await admin.close();
    await assert.rejects(fetch(`http://127.0.0.1:${admin.address.port}/healthz`));
  });
});
