import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AdminListenError, startAdmin } from '../../src/admin/server.ts';
import { COUNTER, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { DROP } from '../../src/datapath/verdict.ts';
import { startSample } from './sample.ts';

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
    admin.sources.refusals.set([7, 8, 9]);
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
        uoa: { maxTrials: 3, unifiedType: 31, onUnsupported: 'plain' },
        realServers: [{ ip: '10.2.0.11', port: 6000, weight: 100, dialect: 'ipo', refusals: 7 }],
        sessions: { oneway: 2, normal: 3 },
        counters: undefined,
        drops: undefined,
      },
    );
    assert.equal(game?.counters?.uoaAcked, 4);
    assert.equal(other?.drops?.no_real_server, 5);
    assert.equal(other?.name, '10.1.0.100:6001');
    assert.deepEqual(other?.uoa, { maxTrials: 3, unifiedType: 30, onUnsupported: 'unified' });
    assert.deepEqual(other?.realServers, [
      { ip: '10.2.0.12', port: 6000, weight: 100, dialect: 'opp', refusals: 8 },
      { ip: 'fd00:2::12', port: 6000, weight: 100, dialect: 'elb', refusals: 9 },
    ]);
  });

  it('answers an unknown path with 404 and the paths there are', async (t) => {
    const { status, json } = await (await startSample(t)).get('/metric');
    assert.equal(status, 404);
    assert.match(String(json.error), /\/metrics/);
  });

  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD']) {
    it(`refuses ${method} with 405`, async (t) => {
      const admin = await startSample(t);
      for (const path of ['/metrics', '/sessions', '/nowhere']) {
        const body = method === 'POST' ? { body: 'x'.repeat(100_000) } : {};
        const response = await fetch(admin.url(path), { method, ...body });
        assert.equal(response.status, 405);
        assert.equal(response.headers.get('allow'), 'GET');
      }
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
