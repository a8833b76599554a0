import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { SessionFilter } from '../../src/session/snapshot.ts';
import { startSample } from './sample.ts';

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
    ['?rs=10.2.0.11:', /rs "10\.2\.0\.11:": expected an address/],
    ['?service=gone', /no service is called "gone": there are game, 10\.1\.0\.100:6001/],
    ['?state=closed', /state "closed": expected oneway or normal/],
    ['?cilent=10.1.0.2', /unknown parameter "cilent": expected client, rs, service, state, offset, limit/],
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
