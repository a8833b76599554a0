// What an operator asks of the records: which match, and that a million of them keep nobody else waiting.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inSlices } from '../../src/control/slices.ts';
import {
  CLIENT,
  CPORT_SERVICE,
  FLAG_NORMAL,
  FLAG_USED,
  LEG_MTU,
  LPORT_FLAGS,
  SESSION_WORDS,
} from '../../src/session/session.ts';
import {
  listSessions,
  type RecordedSessions,
  type SessionFilter,
  type SessionNames,
} from '../../src/session/snapshot.ts';
import { parseAddressInto } from '../../src/wire/address.ts';

const SERVICES = [
  { name: 'game', vips: ['10.1.0.100', 'fd00:1::100'], vport: 6000, maxTrials: 3 },
  { name: 'voice', vips: ['10.1.0.100'], vport: 6001, maxTrials: 3 },
];
const LEGS = [
  { lip: '10.2.0.200', rip: '10.2.0.11', rport: 6000, dialect: 'ipo' },
  { lip: 'fd00:2::200', rip: 'fd00:2::11', rport: 6000, dialect: 'elb' },
];
const NAMES: SessionNames = { services: SERVICES, legs: LEGS };

type Row = [client: string, cport: number, service: number, leg: number, flags: number];

function tableOf(...rows: Row[]): RecordedSessions {
  const records = new Int32Array(rows.length * SESSION_WORDS);
  for (const [slot, [client, cport, service, leg, flags]] of rows.entries()) {
    const base = slot * SESSION_WORDS;
    parseAddressInto(records, base + CLIENT, client);
    records[base + CPORT_SERVICE] = (cport << 16) | service;
    records[base + LPORT_FLAGS] = ((1024 + slot) << 16) | flags;
    records[base + LEG_MTU] = leg;
  }
  return { records, slots: rows.length };
}

const NORMAL = FLAG_USED | FLAG_NORMAL;
const TABLES = [
  tableOf(
    ['192.0.2.7', 5000, 0, 0, NORMAL],
    ['192.0.2.7', 5001, 0, 1, FLAG_USED],
    ['2001:db8::7', 5000, 0, 1, NORMAL],
    ['192.0.2.8', 5000, 0, 0, 0], // free
  ),
  tableOf(
    ['192.0.2.7', 5000, 1, 0, FLAG_USED],
    ['192.0.2.9', 5000, 2, 0, NORMAL],
    ['192.0.2.9', 5000, 0, 2, NORMAL],
  ),
];

async function listed(filter: Partial<SessionFilter>) {
  const { total, sessions } = await inSlices(
    listSessions(TABLES, () => NAMES, { offset: 0, limit: 100, ...filter }, 0),
  );
  return {
    total,
    sessions: sessions.map(({ service, client, clientPort }) => `${service} ${client} ${clientPort}`),
  };
}

describe('the list of sessions', () => {
  const rows: [filter: Partial<SessionFilter>, sessions: string[]][] = [
    [{}, ['game 192.0.2.7 5000', 'game 192.0.2.7 5001', 'game 2001:db8::7 5000', 'voice 192.0.2.7 5000']],
    [{ client: '192.0.2.7' }, ['game 192.0.2.7 5000', 'game 192.0.2.7 5001', 'voice 192.0.2.7 5000']],
    [{ client: '2001:db8::7' }, ['game 2001:db8::7 5000']],
    [{ client: '192.0.2.70' }, []],
    [{ client: '192.0.2.7', clientPort: 5001 }, ['game 192.0.2.7 5001']],
    [{ clientPort: 5000 }, ['game 192.0.2.7 5000', 'game 2001:db8::7 5000', 'voice 192.0.2.7 5000']],
    [{ service: 'voice' }, ['voice 192.0.2.7 5000']],
    [{ service: 'nobody' }, []],
    [{ rs: 'fd00:2::11' }, ['game 192.0.2.7 5001', 'game 2001:db8::7 5000']],
    [{ rs: '10.2.0.11', rsPort: 6001 }, []],
    [{ lip: 'fd00:2::200' }, ['game 192.0.2.7 5001', 'game 2001:db8::7 5000']],
    [{ lip: '10.2.0.200', lport: 1024 }, ['game 192.0.2.7 5000', 'voice 192.0.2.7 5000']],
    [{ lip: 'fd00:2::200', lport: 1026, rs: 'fd00:2::11', rsPort: 6000 }, ['game 2001:db8::7 5000']],
    [{ lip: '10.2.0.201' }, []],
    [{ state: 'oneway' }, ['game 192.0.2.7 5001', 'voice 192.0.2.7 5000']],
    [{ state: 'normal' }, ['game 192.0.2.7 5000', 'game 2001:db8::7 5000']],
  ];
  for (const [filter, sessions] of rows) {
    it(`has those that match ${JSON.stringify(filter)}`, async () => {
      assert.deepEqual(await listed(filter), { total: sessions.length, sessions });
    });
  }

  it('has a part of them where that is asked for', async () => {
    const sessions = ['game 192.0.2.7 5001', 'game 2001:db8::7 5000'];
    assert.deepEqual(await listed({ offset: 1, limit: 2 }), { total: 4, sessions });
  });

  it('serves others while it looks at a million, and goes by what the config says then', async () => {
    const slots = 1_000_000;
    const records = new Int32Array(slots * SESSION_WORDS);
    for (let slot = 0; slot < slots; slot++) {
      const base = slot * SESSION_WORDS;
      records[base + CLIENT] = 0x20010db8;
      records[base + CLIENT + 3] = slot;
      records[base + LPORT_FLAGS] = NORMAL;
      records[base + LEG_MTU] = 1;
    }
    let turns = 0;
    let isOver = false;
    const turn = () => {
      turns++;
      if (!isOver) setImmediate(turn);
    };
    setImmediate(turn);
    // The service is renamed while the list is made.
    const renamed = { ...NAMES, services: [{ ...SERVICES[0], name: 'renamed' }] };
    const names = () => (turns < 5 ? NAMES : renamed);
    const client = '2001:db8::f:423f'; // the last one
    const { total, sessions } = await inSlices(
      listSessions([{ records, slots }], names, { client, offset: 0, limit: 10 }, 0),
    ).finally(() => {
      isOver = true;
    });
    assert.deepEqual([total, sessions[0]?.client, sessions[0]?.service], [1, client, 'renamed']);
    assert.ok(turns >= 10, `${turns} turns`);
  });
});
