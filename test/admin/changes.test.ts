import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AdminOptions } from '../../src/admin/server.ts';
import { OperationError } from '../../src/admin/sources.ts';
import { askRaw, type Sent, startSample } from './sample.ts';

const OTHER = encodeURIComponent('10.1.0.100:6001');
const SIX = encodeURIComponent('[fd00:2::12]:6000');
const JSON_TYPE = { 'content-type': 'application/json' };
const weight = (value: unknown): Sent => ({
  headers: JSON_TYPE,
  body: JSON.stringify({ weight: value }),
});

describe('changes over HTTP', () => {
  const taken: [path: string, init: Sent, done: string][] = [
    ['/reload', {}, 'reload'],
    ['/drain', {}, 'drain as before'],
    ['/drain/cancel', {}, 'cancel drain'],
    ['/drain?timeout=90s', {}, 'drain 90000'],
    ['/drain?timeout=0s', {}, 'drain 0'],
    ['/services/game/servers/10.2.0.11:6000/drain', {}, 'drain game 10.2.0.11:6000'],
    ['/services/game/servers/10.2.0.11:6000/drain', { headers: JSON_TYPE }, 'drain game 10.2.0.11:6000'],
    ['/services/game/servers/10.2.0.9:6000/enable', {}, 'enable game 10.2.0.9:6000'],
    ['/services/game/servers/10.2.0.11:6000/announce', {}, 'announce game 10.2.0.11:6000'],
    [`/services/${OTHER}/servers/10.2.0.12%3A6000/drain`, {}, 'drain 10.1.0.100:6001 10.2.0.12:6000'],
    [`/services/${OTHER}/servers/${SIX}/drain`, {}, 'drain 10.1.0.100:6001 [fd00:2::12]:6000'],
    [
      `/services/${OTHER}/servers/${encodeURIComponent('[FD00:2:0::012]:6000')}/enable`,
      {},
      'enable 10.1.0.100:6001 [fd00:2::12]:6000',
    ],
    ['/fast-path/off', {}, 'fast path off all'],
    ['/fast-path/on', {}, 'fast path on all'],
    ['/services/game/fast-path/off', {}, 'fast path off game'],
    [`/services/${OTHER}/fast-path/on`, {}, 'fast path on 10.1.0.100:6001'],
    ['/services/game/servers/10.2.0.11:6000/probe', {}, 'probe game 10.2.0.11:6000 as ever as ever'],
    [
      '/services/game/servers/10.2.0.11:6000/probe?send=hex:00ff&timeout=5s',
      {},
      'probe game 10.2.0.11:6000 00ff 5000',
    ],
    ['/services/game/servers/10.2.0.11:6000/weight', weight(50), 'weight game 10.2.0.11:6000 50'],
    ['/services/game/servers/10.2.0.11:6000/weight', weight(0), 'weight game 10.2.0.11:6000 0'],
  ];
  for (const [path, init, done] of taken) {
    it(`POST ${path} ${init.body ?? ''} does it once`, async (t) => {
      const admin = await startSample(t);
      const { status, json } = await admin.post(path, init);
      assert.equal(status, 200, JSON.stringify(json));
      assert.deepEqual(admin.done, [done]);
    });
  }

  it('answers a change of a real server with how it is then', async (t) => {
    const admin = await startSample(t);
    const drained = await admin.post('/services/game/servers/10.2.0.11:6000/drain');
    const { service, server } = drained.json as { service: string; server: Record<string, unknown> };
    assert.equal(service, 'game');
    assert.deepEqual(
      [server.ip, server.port, server.state, server.reason, server.weight, server.effectiveWeight],
      ['10.2.0.11', 6000, 'drained', 'drained by an operator', 100, 0],
    );
    assert.equal((await admin.post('/services/game/servers/10.2.0.11:6000/enable')).status, 200);
    const weighted = await admin.post('/services/game/servers/10.2.0.11:6000/weight', weight(7));
    assert.equal((weighted.json.server as Record<string, unknown>).effectiveWeight, 7);
  });

  it('answers a switch of the fast path with how it is then', async (t) => {
    const admin = await startSample(t);
    const { json } = await admin.post('/services/game/fast-path/off');
    assert.deepEqual(json, {
      kind: 'off',
      wanted: 'off',
      why: 'io.fastPath is off',
      interfaces: [],
      switchedOff: { all: false, services: ['game'] },
      sessions: 0,
      forwarded: { inbound: 0, outbound: 0 },
      passed: {},
    });
  });

  it('answers a switch of the fast path of no service with those that there are', async (t) => {
    const admin = await startSample(t);
    const { status, json } = await admin.post('/services/gama/fast-path/off');
    assert.equal(status, 404);
    assert.match(String(json.error), /gama.*game/);
    assert.deepEqual(admin.done, []);
  });

  it('answers a drain with the time that is left, and its end with whether there was one', async (t) => {
    const admin = await startSample(t);
    const answered = async (path: string) => (await admin.post(path)).json;
    assert.deepEqual(await answered('/drain?timeout=90s'), { draining: true, timeoutMs: 90_000 });
    assert.deepEqual(await answered('/drain'), { draining: true, timeoutMs: 12_345 });
    assert.deepEqual(await answered('/drain/cancel'), { draining: false, wasDraining: true });
  });

  it('answers a change that comes when the proxy ends with 409', async (t) => {
    const admin = await startSample(t);
    admin.sources.operations.cancelDrain = () => {
      throw new OperationError(409, 'the proxy is ending');
    };
    assert.deepEqual(await admin.post('/drain/cancel'), {
      status: 409,
      json: { error: 'the proxy is ending' },
    });
  });

  it('answers a reload with what changed', async (t) => {
    assert.deepEqual(await (await startSample(t)).post('/reload'), {
      status: 200,
      json: { ok: true, lines: ['service game: real server 10.2.0.13:6000 added'] },
    });
  });

  it('answers a reload that failed with 422 and every problem', async (t) => {
    const admin = await startSample(t);
    const lines = ['services[0].vport (line 3): expected integer 1..65535', 'no such file'];
    admin.sources.operations.reload = async () => ({ ok: false, lines });
    assert.deepEqual(await admin.post('/reload'), {
      status: 422,
      json: { error: 'the config was not taken, nothing changed', ok: false, lines },
    });
  });

  const refused: [path: string, init: Sent, status: number, error: RegExp][] = [
    ['/drain?timeout=90', {}, 400, /timeout "90": expected duration 0s\.\.24h \(with unit/],
    ['/drain?timeout=1s&timeout=2s', {}, 400, /timeout \["1s","2s"\]: expected duration/],
    ['/drain?now=1', {}, 400, /unknown parameter "now": expected timeout/],
    [
      '/services/gmae/servers/10.2.0.11:6000/drain',
      {},
      404,
      /no service is called "gmae": there are game, 10\.1\.0\.100:6001/,
    ],
    [
      '/services/game/servers/10.2.0.12:6000/drain',
      {},
      404,
      /no real server of game is called "10\.2\.0\.12:6000": there are 10\.2\.0\.11:6000, 10\.2\.0\.9:6000/,
    ],
    ['/services/game/servers/10.2.0.11/drain', {}, 404, /no real server of game is called "10\.2\.0\.11"/],
    ['/services/game/servers/10.2.0.9:6000/weight', weight(5), 409, /a fallback has no weight/],
    [
      '/services/game/servers/10.2.0.11:6000/weight',
      {},
      400,
      /weight is missing: expected \{"weight": integer 0\.\.65535\}/,
    ],
    ['/services/game/servers/10.2.0.11:6000/weight', weight(65_536), 400, /weight 65536: expected/],
    ['/services/game/servers/10.2.0.11:6000/weight', weight('5'), 400, /weight "5": expected/],
    [
      '/services/game/servers/10.2.0.11:6000/weight',
      { headers: JSON_TYPE, body: '{"weight":' },
      400,
      /the body is not JSON/,
    ],
    [
      '/services/game/servers/10.2.0.11:6000/weight',
      { headers: { 'content-type': 'text/plain' }, body: '5' },
      415,
      /./,
    ],
    [
      '/services/game/servers/10.2.0.11:6000/weight',
      { headers: JSON_TYPE, body: `{"weight": 5, "comment": "${'x'.repeat(2000)}"}` },
      413,
      /./,
    ],
    ['/services/game/servers/10.2.0.12:6000/probe', {}, 404, /no real server of game is called/],
    [
      '/services/game/servers/10.2.0.11:6000/probe?timeout=9s',
      {},
      400,
      /timeout "9s": expected duration 10ms/,
    ],
    [
      '/services/game/servers/10.2.0.11:6000/probe?send=',
      {},
      400,
      /send "": expected text, or hex:.* at least one/,
    ],
    [
      '/services/game/servers/10.2.0.11:6000/probe?send=hex:0',
      {},
      400,
      /send "hex:0": expected text, or hex:/,
    ],
    [
      '/services/game/servers/10.2.0.11:6000/probe?lip=1',
      {},
      400,
      /unknown parameter "lip": expected send, timeout/,
    ],
    ['/services/game/servers/10.2.0.11:6000/remove', {}, 404, /not found: there are GET/],
    [`/services/${'x'.repeat(301)}/servers/10.2.0.11:6000/drain`, {}, 414, /./],
    ['/services/%zz/servers/10.2.0.11:6000/drain', {}, 400, /./],
  ];
  for (const [path, init, status, error] of refused) {
    it(`POST ${path.slice(0, 70)} ${String(init.body ?? '').slice(0, 40)} is refused with ${status}`, async (t) => {
      const admin = await startSample(t);
      const answer = await admin.post(path, init);
      assert.equal(answer.status, status, JSON.stringify(answer.json));
      assert.match(String(answer.json.error), error);
      assert.deepEqual(admin.done, []);
    });
  }
});

describe('who may change something', () => {
  const PATH = '/services/game/servers/10.2.0.11:6000/drain';
  const token = { current: 'secret' };
  const rows: [
    name: string,
    options: Partial<AdminOptions>,
    headers: Record<string, string>,
    status: number,
    error?: RegExp,
  ][] = [
    ['nobody may over TCP without a token', {}, {}, 403, /by the admin socket, .* admin\.tokenFile/],
    ['nor by a header', {}, { 'x-uoa-proxy': '1' }, 403, /by the admin socket/],
    ['nor as JSON', {}, JSON_TYPE, 403, /by the admin socket/],
    ['nor where it listens for others', { host: '0.0.0.0' }, {}, 403, /by the admin socket/],
    ['who has the token may', { token }, { authorization: 'Bearer secret' }, 200],
    [
      'who has it may from afar',
      { host: '0.0.0.0', token },
      { authorization: 'bearer secret', host: 'proxy.example' },
      200,
    ],
    ['who has no token may not', { token }, {}, 401, /a token is needed/],
    ['who has another token may not', { token }, { authorization: 'Bearer secreT' }, 401, /not the one/],
    ['who has an empty token may not', { token }, { authorization: 'Bearer ' }, 401, /./],
    ['who names another scheme may not', { token }, { authorization: 'Basic c2VjcmV0' }, 401, /./],
  ];
  for (const [name, options, headers, status, error = /./] of rows) {
    it(name, async (t) => {
      const admin = await startSample(t, {}, options);
      const answer = await askRaw({ url: admin.url(PATH) }, 'POST', { headers });
      assert.equal(answer.status, status, answer.body);
      assert.equal(admin.done.length, status === 200 ? 1 : 0);
      if (status !== 200) assert.match(JSON.parse(answer.body).error, error);
      assert.equal(
        answer.headers['www-authenticate'],
        status === 401 ? 'Bearer realm="uoa-proxy"' : undefined,
      );
    });
  }

  it('by the admin socket a token is not asked for', async (t) => {
    const admin = await startSample(t, {}, { token });
    assert.equal((await admin.post(PATH)).status, 200);
  });

  it('a preflight of a browser gets no permission', async (t) => {
    const admin = await startSample(t);
    const response = await fetch(admin.url('/reload'), {
      method: 'OPTIONS',
      headers: { origin: 'http://evil.example', 'access-control-request-headers': 'authorization' },
    });
    assert.equal(response.status, 405);
    const granted = [...response.headers.keys()].filter((name) => name.startsWith('access-control'));
    assert.deepEqual(granted, []);
  });

  it('with a token everything but /healthz and /readyz is closed without it', async (t) => {
    const admin = await startSample(t, {}, { token });
    const open = ['/healthz', '/readyz'];
    for (const path of [...open, '/metrics', '/services', '/sessions', '/stats', '/nowhere']) {
      assert.equal((await admin.get(path)).status, open.includes(path) ? 200 : 401, path);
    }
    const headers = { authorization: 'Bearer secret' };
    assert.equal((await fetch(admin.url('/metrics'), { headers })).status, 200);
  });
});

describe('by which name the server may be asked', () => {
  const PATHS = ['/metrics', '/sessions', '/services', '/stats', '/healthz', '/readyz', '/nowhere'];
  const rows: [host: string, options: Partial<AdminOptions>, isAllowed: boolean][] = [
    ['127.0.0.1:9464', {}, true],
    ['10.42.0.17:9464', {}, true],
    ['[fd00::1]:9464', {}, true],
    ['localhost', {}, true],
    ['LocalHost:80', {}, true],
    ['', {}, true],
    ['evil.example:9464', {}, false],
    ['127.0.0.1.evil.example', {}, false],
    ['127.0.0.1@evil.example', {}, false],
    ['localhost.evil.example', {}, false],
    ['127.1', {}, false],
    ['proxy.example:9464', { hosts: ['Proxy.example'] }, true],
    ['other.example:9464', { hosts: ['proxy.example'] }, false],
  ];
  for (const [host, options, isAllowed] of rows) {
    it(`${host || 'none'} ${isAllowed ? 'may' : 'may not'}`, async (t) => {
      const admin = await startSample(t, {}, options);
      for (const path of PATHS) {
        const { status, body } = await askRaw({ url: admin.url(path) }, 'GET', { headers: { host } });
        assert.equal(status, isAllowed ? (path === '/nowhere' ? 404 : 200) : 403, `${path}: ${body}`);
        if (!isAllowed) assert.match(body, /a name of admin\.hosts is expected/);
      }
    });
  }

  it('any, with the token, and by the admin socket', async (t) => {
    const admin = await startSample(t, {}, { token: { current: 'secret' } });
    const headers = { host: 'evil.example' };
    const withToken = { ...headers, authorization: 'Bearer secret' };
    assert.equal((await askRaw({ url: admin.url('/services') }, 'GET', { headers: withToken })).status, 200);
    assert.equal((await askRaw({ url: admin.url('/readyz') }, 'GET', { headers })).status, 403);
    const local = { url: admin.url('/services'), socketPath: admin.socket };
    assert.equal((await askRaw(local, 'GET', { headers })).status, 200);
  });
});
