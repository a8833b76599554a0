import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SessionTuple } from '../../src/session/find-session.ts';
import type { SessionFilter } from '../../src/session/snapshot.ts';
import { SESSION, startSample } from './sample.ts';

const tupleOf = (lip: string, rs: string): SessionTuple => ({ lip, lport: 1031, rs, rsPort: 6000 });

describe('/sessions', () => {
  const accepted: [search: string, query: SessionFilter][] = [
    ['', { offset: 0, limit: 100 }],
    ['?offset=200&limit=1000', { offset: 200, limit: 1000 }],
    ['?client=10.1.0.2', { client: '10.1.0.2', offset: 0, limit: 100 }],
    ['?client=10.1.0.2:5000', { client: '10.1.0.2', clientPort: 5000, offset: 0, limit: 100 }],
    ['?client=2001:db8::1', { client: '2001:db8::1', offset: 0, limit: 100 }],
    ['?client=[2001:db8::1]:53', { client: '2001:db8::1', clientPort: 53, offset: 0, limit: 100 }],
    ['?client=2001:DB8:0::0001', { client: '2001:db8::1', offset: 0, limit: 100 }],
    ['?client=[2001:0db8::0:1]:53', { client: '2001:db8::1', clientPort: 53, offset: 0, limit: 100 }],
    ['?client=::ffff:10.1.0.2', { client: '10.1.0.2', offset: 0, limit: 100 }],
    ['?rs=[FD00:2::011]:6000', { rs: 'fd00:2::11', rsPort: 6000, offset: 0, limit: 100 }],
    ['?rs=64:ff9b::10.2.0.11', { rs: '64:ff9b::a02:b', offset: 0, limit: 100 }],
    [
      '?rs=10.2.0.11:6000&state=normal',
      { rs: '10.2.0.11', rsPort: 6000, state: 'normal', offset: 0, limit: 100 },
    ],
    ['?lip=10.2.0.200', { lip: '10.2.0.200', offset: 0, limit: 100 }],
    [
      '?lip=10.2.0.200:1031&rs=10.2.0.11',
      { lip: '10.2.0.200', lport: 1031, rs: '10.2.0.11', offset: 0, limit: 100 },
    ],
    ['?lip=[FD00:2::0200]:1031', { lip: 'fd00:2::200', lport: 1031, offset: 0, limit: 100 }],
    ['?service=game&state=oneway', { service: 'game', state: 'oneway', offset: 0, limit: 100 }],
    ['?service=10.1.0.100%3A6001', { service: '10.1.0.100:6001', offset: 0, limit: 100 }],
  ];
  for (const [search, query] of accepted) {
    it(`${search === '' ? 'without filter' : search} asks for what it says`, async (t) => {
      const admin = await startSample(t);
      const { status, json } = await admin.get(`/sessions${search}`);
      assert.equal(status, 200);
      assert.deepEqual(admin.asked, [query]);
      assert.deepEqual(json, {
        total: 1,
        offset: query.offset,
        limit: query.limit,
        sessions: [{ client: '10.1.0.2:5000' }],
      });
    });
  }

  const refused: [search: string, error: RegExp][] = [
    ['?limit=0', /limit "0": expected an integer 1\.\.1000/],
    ['?limit=1001', /limit "1001": expected an integer 1\.\.1000/],
    ['?limit=1e2', /expected an integer 1\.\.1000/],
    ['?offset=-1', /offset "-1": expected an integer 0\.\.999999999/],
    ['?offset=', /offset "": expected an integer/],
    ['?client=game.example', /client "game\.example": expected an address, or address:port/],
    ['?client=10.1.0.2:65536', /expected an address, or address:port/],
    ['?client=10.1.0.300:1', /expected an address, or address:port/],
    ['?client=fe80::1%25eth0', /client "fe80::1%eth0": expected an address/],
    ['?client=[2001:db8::1]', /expected an address, or address:port/],
    ['?client=[2001:db8::1]:65536', /expected an address, or address:port/],
    ['?client=[2001:db8:::1]:53', /expected an address, or address:port/],
    ['?lip=lb1', /lip "lb1": expected an address, or address:port/],
    ['?rs=10.2.0.11:', /rs "10\.2\.0\.11:": expected an address/],
    ['?service=gone', /no service is called "gone": there are game, 10\.1\.0\.100:6001/],
    ['?state=closed', /state "closed": expected oneway or normal/],
    [
      '?cilent=10.1.0.2',
      /unknown parameter "cilent": expected client, rs, lip, service, state, offset, limit/,
    ],
    ['?limit=1&limit=2', /limit stands more than once/],
  ];
  for (const [search, error] of refused) {
    it(`${search} is refused with 400 and a reason`, async (t) => {
      const admin = await startSample(t);
      const { status, json } = await admin.get(`/sessions${search}`);
      assert.equal(status, 400);
      assert.match(String(json.error), error);
      assert.deepEqual(admin.asked, []);
    });
  }
});

describe('/session', () => {
  const rows: [search: string, tuple: SessionTuple][] = [
    ['?lip=10.2.0.200:1031&rs=10.2.0.11:6000', tupleOf('10.2.0.200', '10.2.0.11')],
    ['?rs=[::ffff:10.2.0.11]:6000&lip=[::ffff:10.2.0.200]:1031', tupleOf('10.2.0.200', '10.2.0.11')],
    ['?lip=[fd00:2:0::200]:1031&rs=%5BFD00:2::011%5D:6000', tupleOf('fd00:2::200', 'fd00:2::11')],
  ];
  for (const [search, tuple] of rows) {
    it(`${search} is answered with the session`, async (t) => {
      const admin = await startSample(t);
      assert.deepEqual(await admin.get(`/session${search}`), { status: 200, json: { ...SESSION } });
      assert.deepEqual(admin.found, [tuple]);
    });
  }

  it('answers with 404 and a reason where there is none', async (t) => {
    const admin = await startSample(t);
    assert.deepEqual(await admin.get('/session?lip=10.2.0.200:1032&rs=10.2.0.11:6000'), {
      status: 404,
      json: { error: 'no session of 10.2.0.200:1032 with 10.2.0.11:6000' },
    });
  });

  it('adds up no counters for its answer', async (t) => {
    let sums = 0;
    const admin = await startSample(t, { refresh: () => sums++ });
    await admin.get('/session?lip=10.2.0.200:1031&rs=10.2.0.11:6000');
    assert.equal(sums, 0);
    await admin.get('/stats');
    assert.equal(sums, 1);
  });

  const refused: [search: string, error: RegExp][] = [
    ['', /no lip: expected IP:PORT or \[IP\]:PORT/],
    ['?lip=10.2.0.200:1031', /no rs: expected IP:PORT or \[IP\]:PORT/],
    ['?lip=10.2.0.200&rs=10.2.0.11:6000', /lip "10\.2\.0\.200": expected IP:PORT/],
    ['?lip=fd00:2::200&rs=10.2.0.11:6000', /lip "fd00:2::200": expected IP:PORT or \[IP\]:PORT/],
    ['?lip=10.2.0.200:1031&rs=game', /rs "game": expected IP:PORT/],
    ['?lip=10.2.0.200:1031&rs=10.2.0.11:65536', /rs "10\.2\.0\.11:65536": expected IP:PORT/],
    ['?lip=10.2.0.200:1031&rs=10.2.0.11:1&rs=10.2.0.11:2', /rs stands more than once/],
    ['?client=10.1.0.2:5000', /unknown parameter "client": expected lip, rs/],
  ];
  for (const [search, error] of refused) {
    it(`${search === '' ? 'without parameters' : search} is refused with 400 and a reason`, async (t) => {
      const admin = await startSample(t);
      const { status, json } = await admin.get(`/session${search}`);
      assert.equal(status, 400);
      assert.match(String(json.error), error);
      assert.deepEqual(admin.found, []);
    });
  }

  it('wants the token that /stats wants, and changes nothing', async (t) => {
    const admin = await startSample(t, {}, { token: { current: 'secret' } });
    const path = '/session?lip=10.2.0.200:1031&rs=10.2.0.11:6000';
    assert.equal((await admin.get(path)).status, 401);
    const headers = { authorization: 'Bearer secret' };
    assert.equal((await fetch(admin.url(path), { headers })).status, 200);
    assert.equal((await fetch(admin.url(path), { headers, method: 'POST' })).status, 405);
  });
});
