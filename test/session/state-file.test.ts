// Sessions that are saved by one table and restored into others.
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { crc32 } from 'node:zlib';
import {
  type RestoredSession,
  type RestoredSessions,
  writeRecords,
} from '../../src/session/restored-sessions.ts';
import {
  CPORT_SERVICE,
  HANDSHAKE,
  LAST_SEEN,
  LEG_MTU,
  LPORT_FLAGS,
  SESSION_WORDS,
} from '../../src/session/session.ts';
import {
  loadSessions,
  type StateFile,
  type StateService,
  saveSessions,
} from '../../src/session/state-file.ts';
import { lportsFrom } from '../../src/session/state-notes.ts';
import { baseOf, isInbound } from '../../src/session/tuple-index.ts';
import { WholeFile } from '../../src/sys/whole-file.ts';
import { handshakeState, onEchoAck, onUoaSent } from '../../src/uoa/handshake.ts';
import { makeTable, reply, request } from './sample.ts';

const LPORTS = { first: 5000, last: 5099 };
const KEY = Uint8Array.of(1, 2, 3, 4, 5);
const SAVED_AT = 1_800_000_000_000;
const MINUTE = 60_000;
/** What version 2 wrote of two sessions of the sample table, 3 and 2 seconds old. */
const VERSION_2 =
  'VU9BUwIAAAAEAQAA9Y2fBgEAAAAFAAAAAgAAAJMAAAACAAAAAAAAAAAAAMWFMXpCAQIDBAUAAABnYW1lIDYwMDAgMTAuMi4wLjIwMCAxMC4yLjAuMTAgNjAwMCAxMC4xLjAuMTAwLGZkMDA6MTo6MTAwIDUwMDAtNTA5OSBpcG8KZ2FtZSA2MDAwIGZkMDA6Mjo6MjAwIGZkMDA6Mjo6MTAgNjAwMCAxMC4xLjAuMTAwLGZkMDA6MTo6MTAwIDUwMDAtNTA5OSBvcHAAAQAA/QAAAAAAAAAAAgAAAIgTAQABAAAAuAsAAAAAAAAAAAAA//8AAAICAMCIEwIAAAABANAHAAA=';

/** The service of the sample table, as it is told to save and load. */
function sampleService(overrides: Partial<StateService> = {}): StateService {
  return {
    index: 0,
    name: 'game',
    vips: ['10.1.0.100', 'fd00:1::100'],
    vport: 6000,
    lports: LPORTS,
    onewayMs: 300_000,
    normalMs: 300_000,
    realServers: [
      { ip: '10.2.0.10', port: 6000, dialect: 'ipo', legs: [{ index: 0, lip: '10.2.0.200' }] },
      { ip: 'fd00:2::10', port: 6000, dialect: 'opp', legs: [{ index: 1, lip: 'fd00:2::200' }] },
    ],
    ...overrides,
  };
}

/** A file in memory. */
function fileOf(bytes?: Uint8Array): StateFile & { bytes: Uint8Array | undefined } {
  return {
    path: '/run/sessions',
    bytes,
    read() {
      return this.bytes;
    },
    write(parts) {
      this.bytes = new Uint8Array(Buffer.concat(parts));
    },
  };
}

interface Opened {
  n: number;
  base: number;
  leg: number;
  lport: number;
}

/** A table with sessions of clients 1 to `count`, opened a second after another from `startMs` on. */
function tableOf(count: number, startMs: number, { lports = LPORTS, max = 100 } = {}) {
  const { table, open, has } = makeTable(max, { lports });
  const opened: Opened[] = Array.from({ length: count }, (_, i) => ({
    n: i + 1,
    ...open(i + 1, (startMs + 1000 * i) | 0),
  }));
  return { table, opened, has };
}

const recorded = ({ table }: ReturnType<typeof tableOf>) => ({
  records: table.records,
  slots: table.usedSlots,
});

function save(tables: ReturnType<typeof tableOf>[], nowMs: number, services = [sampleService()]) {
  const file = fileOf();
  const summary = saveSessions(
    file,
    tables.map(recorded),
    services,
    { workers: tables.length, key: KEY, wallMs: SAVED_AT },
    nowMs,
  );
  assert.ok('saved' in summary, JSON.stringify(summary));
  return { file, summary };
}

function load(file: StateFile, nowMs: number, { services = [sampleService()], wallMs = SAVED_AT } = {}) {
  const loaded = loadSessions(file, services, { wallMs }, nowMs);
  assert.ok('sessions' in loaded, JSON.stringify(loaded));
  return loaded;
}

function list(sessions: RestoredSessions): RestoredSession[] {
  const all: RestoredSession[] = [];
  sessions.forEach((session) => void all.push({ ...session }));
  return all;
}

const problemOf = (file: StateFile, { services = [sampleService()], wallMs = SAVED_AT } = {}): string => {
  const loaded = loadSessions(file, services, { wallMs }, 0);
  assert.ok('problem' in loaded, 'there must be a problem');
  return loaded.problem;
};

/** The restored sessions as tables take them over. */
function takeOver(
  restored: ReturnType<typeof load>['sessions'],
  { tables = 1, max = 100, onewayMax = 100, ownerOf = (_: RestoredSession): number => 0, share = false } = {},
) {
  const memories = Array.from({ length: tables }, () => ({
    records: new Int32Array(max * SESSION_WORDS),
    table: new Float64Array(1),
    onewayMax,
  }));
  const outcome = writeRecords(restored, memories, ownerOf);
  const made = memories.map(({ records, table }, worker) => {
    const options = share ? { worker: { worker, workers: tables } } : {};
    const one = makeTable(max, { records, lports: LPORTS, onewayMax, ...options });
    const bases: number[] = [];
    one.table.restore(table[0], { onRestored: (base) => bases.push(base) });
    return { ...one, records, slots: table[0], bases };
  });
  return { made, outcome };
}

describe('sessions that are saved and restored', () => {
  test('are found by both tuples, with their state, lport and time', () => {
    const old = tableOf(5, 1_000);
    old.table.markNormal(old.opened[1].base);
    const { base: done } = old.opened[2];
    onUoaSent(old.table.records, done + HANDSHAKE, 3_000);
    onEchoAck(old.table.records, done + HANDSHAKE);
    onUoaSent(old.table.records, old.opened[3].base + HANDSHAKE, 4_000);
    const { file, summary } = save([old], 10_000);
    assert.deepEqual([summary.saved, summary.gone, summary.bytes], [5, 0, file.bytes!.length]);

    const now = -2_000_000_000;
    const loaded = load(file, now, { wallMs: SAVED_AT + 7_000 });
    assert.deepEqual(loaded.dropped, { gone: 0, expired: 0 });
    assert.deepEqual([loaded.workers, [...loaded.key]], [1, [...KEY]]);
    const { made, outcome } = takeOver(loaded.sessions);
    const { table, records, bases } = made[0];
    assert.deepEqual(outcome, { written: 5, withoutRoom: 0 });
    assert.deepEqual([table.count, bases.length], [5, 5]);
    for (const { n, leg, lport } of old.opened) {
      const entry = table.find(request(n));
      assert.ok(entry >= 0 && isInbound(entry));
      const base = baseOf(entry);
      assert.equal(baseOf(table.find(reply(leg, lport))), base);
      assert.equal(table.isNormal(base), n === 2);
      // Seen at 1,000 n, saved at 10,000, restored 7,000 later.
      assert.equal(records[base + LAST_SEEN], now - 7_000 - (10_000 - 1_000 * n));
      assert.equal(handshakeState(records, base + HANDSHAKE), n === 3 ? 'acked' : 'sending');
    }
  });

  test('leave the other lports to new sessions, and each once', () => {
    const old = tableOf(6, 0);
    const { made } = takeOver(load(save([old], 10_000).file, 10_000).sessions);
    for (const { pool, index } of made[0].legs) {
      const used = old.opened.filter(({ leg }) => leg === index).map(({ lport }) => lport);
      assert.equal(pool.inUse, used.length);
      const fresh = Array.from({ length: pool.capacity - used.length }, () => pool.take());
      assert.equal(pool.take(), -1);
      assert.deepEqual(
        [...fresh, ...used].sort((a, b) => a - b),
        Array.from({ length: 100 }, (_, i) => 5000 + i),
      );
    }
  });

  test('are those of all tables, and of times before and after the clock wrapped', () => {
    const wrap = 2 ** 31 - 2_000;
    const one = tableOf(4, wrap);
    const other = makeTable(10, { lports: LPORTS });
    const last = other.open(60, (wrap + 9_000) | 0);
    const file = fileOf();
    const tables = [recorded(one), { records: other.table.records, slots: other.table.usedSlots }];
    const meta = { workers: 2, key: KEY, wallMs: SAVED_AT };
    saveSessions(file, tables, [sampleService()], meta, (wrap + 10_000) | 0);
    const { sessions } = load(file, 500);
    const seen = list(sessions).map(({ lastSeenMs }) => lastSeenMs);
    assert.deepEqual(seen, [500 - 10_000, 500 - 9_000, 500 - 8_000, 500 - 7_000, 500 - 1_000]);
    assert.ok(last.lport >= 5000);
  });

  test('leave out those that ended', () => {
    const old = tableOf(3, 0);
    old.table.end(old.opened[1].base, 'expired');
    assert.equal(save([old], 3_000).summary.saved, 2);
  });

  test('may be none', () => {
    const { sessions, dropped } = load(save([tableOf(0, 0)], 0).file, 0);
    assert.deepEqual([sessions.count, dropped], [0, { gone: 0, expired: 0 }]);
    assert.equal(takeOver(sessions).made[0].table.count, 0);
  });

  test('end by time, the time without proxy counted, each by the timeout of its state', () => {
    const old = tableOf(3, 0);
    old.table.markNormal(old.opened[0].base);
    const services = [sampleService({ onewayMs: 30_000, normalMs: 62_000 })];
    const { file } = save([old], 2_000, services);
    const after = (ms: number) => load(file, 0, { services, wallMs: SAVED_AT + ms });
    assert.deepEqual(after(28_999).dropped.expired, 0);
    assert.deepEqual(after(29_000).dropped.expired, 1); // the second, a second old
    assert.deepEqual(after(30_000).dropped.expired, 2);
    assert.deepEqual(
      list(after(59_999).sessions).map(({ isNormal }) => isNormal),
      [true],
    );
    assert.deepEqual(after(60_000).dropped.expired, 3);
  });

  test('are the most recently used, when a table cannot hold all of them', () => {
    const old = tableOf(9, 0);
    const { made, outcome } = takeOver(load(save([old], 10_000).file, 0).sessions, { max: 4 });
    assert.deepEqual(outcome, { written: 4, withoutRoom: 5 });
    assert.deepEqual(
      old.opened.filter(({ n }) => made[0].has(n)).map(({ n }) => n),
      [6, 7, 8, 9],
    );
  });

  const few: [what: string, bounds: { max: number; onewayMax: number }, left: number[]][] = [
    ['cannot hold all that have no answer', { max: 100, onewayMax: 2 }, [1, 2, 8, 9]],
    ['may hold none that has no answer, which is one', { max: 100, onewayMax: 0 }, [1, 2, 9]],
    ['can hold neither these nor all of them', { max: 3, onewayMax: 2 }, [2, 8, 9]],
  ];
  for (const [what, bounds, left] of few) {
    test(`are the most recently used of their state, when a table ${what}`, () => {
      const old = tableOf(9, 0);
      for (const { base } of old.opened.slice(0, 2)) old.table.markNormal(base);
      const { made, outcome } = takeOver(load(save([old], 10_000).file, 0).sessions, bounds);
      assert.deepEqual(outcome, { written: left.length, withoutRoom: 9 - left.length });
      assert.deepEqual(
        old.opened.filter(({ n }) => made[0].has(n)).map(({ n }) => n),
        left,
      );
    });
  }

  test('are evicted in the order in which they were used', () => {
    const old = tableOf(4, 0);
    old.table.touch(old.opened[0].base, 50_000);
    const { made } = takeOver(load(save([old], 60_000).file, 0).sessions, { max: 4 });
    const { open, has } = made[0];
    open(50);
    assert.deepEqual(
      [1, 2, 3, 4].map((n) => has(n)),
      [true, false, true, true],
    );
  });

  test('are shared out to another number of workers by their lport', () => {
    const old = tableOf(20, 0);
    const { sessions } = load(save([old], 20_000).file, 0);
    const { made, outcome } = takeOver(sessions, {
      tables: 3,
      share: true,
      ownerOf: ({ lport }) => lport % 3,
    });
    assert.equal(outcome.written, 20);
    for (const { n, lport } of old.opened) {
      assert.deepEqual(
        made.map(({ has }) => has(n)),
        [0, 1, 2].map((worker) => lport % 3 === worker),
      );
    }
  });
});

describe('a config that changed between save and load', () => {
  const [server4, server6] = sampleService().realServers as [
    StateService['realServers'][number],
    StateService['realServers'][number],
  ];
  const rows: [name: string, services: StateService[], gone: number][] = [
    ['drops all sessions of another name', [sampleService({ name: 'play' })], 4],
    ['drops all sessions of another vport', [sampleService({ vport: 6001 })], 4],
    ['drops the sessions of a VIP that is gone', [sampleService({ vips: ['10.1.0.100'] })], 2],
    [
      'drops the sessions of a VIP that is another',
      [sampleService({ vips: ['10.1.0.101', 'fd00:1::100'] })],
      2,
    ],
    [
      'drops the sessions whose lport is none any more',
      [sampleService({ lports: { first: 5001, last: 5098 } })],
      2,
    ],
    ['keeps all sessions with more lports', [sampleService({ lports: { first: 4000, last: 5100 } })], 0],
    ['drops the sessions of a real server that is gone', [sampleService({ realServers: [server6] })], 2],
    [
      'drops the sessions of a real server on another port',
      [sampleService({ realServers: [{ ...server4, port: 6001 }, server6] })],
      2,
    ],
    [
      'drops the sessions of a LIP that is gone',
      [sampleService({ realServers: [server4, { ...server6, legs: [{ index: 1, lip: 'fd00:2::201' }] }] })],
      2,
    ],
    ['drops everything when no service is left', [], 4],
  ];
  for (const [name, services, gone] of rows) {
    test(name, () => {
      const loaded = load(save([tableOf(4, 0)], 4_000).file, 0, { services });
      assert.deepEqual([loaded.dropped, loaded.sessions.count], [{ gone, expired: 0 }, 4 - gone]);
    });
  }

  test('keeps the sessions when only the order of the VIPs is another', () => {
    const services = [sampleService({ vips: ['fd00:1::100', '10.1.0.100'] })];
    const { dropped, sessions } = load(save([tableOf(4, 0)], 4_000).file, 0, { services });
    assert.deepEqual([dropped.gone, sessions.count], [0, 4]);
  });

  test('gives sessions the new indexes of what has another place', () => {
    const other = sampleService({ index: 0, name: 'other', vport: 7000 });
    const moved = sampleService({
      index: 7,
      realServers: [
        { ...server6, legs: [{ index: 40, lip: 'fd00:2::200' }] },
        { ...server4, legs: [{ index: 41, lip: '10.2.0.200' }] },
      ],
    });
    const { sessions } = load(save([tableOf(2, 0)], 4_000).file, 0, { services: [other, moved] });
    assert.deepEqual(
      list(sessions).map(({ service, leg }) => [service, leg]),
      [
        [7, 41],
        [7, 40],
      ],
    );
  });

  test('begins the handshake anew where a real server has another dialect', () => {
    const old = tableOf(2, 0);
    for (const { base } of old.opened) onEchoAck(old.table.records, base + HANDSHAKE);
    const services = [sampleService({ realServers: [{ ...server4, dialect: 'opp' }, server6] })];
    const { sessions } = load(save([old], 4_000).file, 0, { services });
    assert.deepEqual(
      list(sessions).map(({ isAcked }) => isAcked),
      [false, true],
    );
  });

  test('saves no session whose record names what there is not', () => {
    const old = tableOf(3, 0);
    const at = (i: number, word: number) => old.opened[i].base + word;
    old.table.records[at(0, LEG_MTU)] = 9;
    old.table.records[at(1, CPORT_SERVICE)] |= 3;
    const { summary } = save([old], 4_000);
    assert.deepEqual([summary.saved, summary.gone], [1, 2]);
  });
});

describe('what goes with the sessions', () => {
  const SERVERS = [
    { service: 'game', rs: '10.2.0.10:6000', isDrained: true, configured: 100, weight: null },
    { service: 'game', rs: '[fd00:2::10]:6000', isDrained: false, configured: 100, weight: 0 },
  ];
  const ADDED = [
    { ip: '10.1.0.100', device: 'wan0', command: 'ip address add 10.1.0.100/32 dev wan0' },
    { ip: 'fd00:1::100', device: 'lan0', command: 'ip address add fd00:1::100/128 dev lan0' },
  ];
  const OFF = { all: false, services: ['game', 'gone'] };
  const saveNotes = (services = [sampleService()]) => {
    const file = fileOf();
    const arcOf = (leg: number) => (leg === 1 ? [[5001, 5010] as const] : undefined);
    const about = { servers: SERVERS, fastPathOff: OFF, added: ADDED };
    const meta = { workers: 1, key: KEY, wallMs: SAVED_AT, ...about, arcOf };
    saveSessions(file, [recorded(tableOf(2, 0))], services, meta, 4_000);
    return file;
  };

  test('comes again, for the legs that are still there, by their numbers of now', () => {
    const { servers, fastPathOff, arcs, added } = load(saveNotes(), 0);
    assert.deepEqual(servers, SERVERS);
    assert.deepEqual(fastPathOff, OFF);
    assert.deepEqual(added, ADDED);
    assert.deepEqual([...arcs], [[1, [[5001, 5010]]]]);
    const [, server6] = sampleService().realServers;
    const moved = sampleService({ realServers: [{ ...server6, legs: [{ index: 7, lip: 'fd00:2::200' }] }] });
    assert.deepEqual([...load(saveNotes(), 0, { services: [moved] }).arcs.keys()], [7]);
    const other = sampleService({ name: 'play' });
    assert.deepEqual([...load(saveNotes(), 0, { services: [other] }).arcs.keys()], []);
  });

  test("comes again when the sessions have long ended, but for addresses, which may be somebody else's by now", () => {
    const late = { wallMs: SAVED_AT + 90 * 24 * 60 * MINUTE };
    const { servers, fastPathOff, arcs, added, sessions } = load(saveNotes(), 0, late);
    assert.deepEqual([servers, fastPathOff, arcs.size, added], [SERVERS, OFF, 1, []]);
    assert.equal(sessions.count, 0);
  });

  test('is not in a file of version 2, whose sessions go on', () => {
    const file = fileOf(Buffer.from(VERSION_2, 'base64'));
    const { servers, fastPathOff, arcs, added, sessions, workers, key } = load(file, 4_000);
    assert.deepEqual(fastPathOff, { all: false, services: [] });
    assert.deepEqual([servers, arcs.size, added, workers, [...key]], [[], 0, [], 1, [...KEY]]);
    assert.deepEqual(
      list(sessions).map(({ cport: _, client: __, ...rest }) => rest),
      [
        { service: 0, leg: 0, lport: 5000, isNormal: true, isAcked: false, lastSeenMs: 1000 },
        { service: 0, leg: 1, lport: 5000, isNormal: false, isAcked: false, lastSeenMs: 2000 },
      ],
    );
  });

  const ALL = { first: 5000, last: 5099 };
  const rows: [what: string, arcs: [number, number][], workers: number, from: number[]][] = [
    [
      'each worker begins where it stopped',
      [
        [5000, 5040],
        [5001, 5011],
      ],
      2,
      [5040, 5011],
    ],
    [
      'one that had none does not',
      [
        [0, 0],
        [5001, 5011],
      ],
      2,
      [-1, 5011],
    ],
    [
      'one of another number begins behind the longest way that nobody went',
      [
        [5000, 5040],
        [5031, 5051],
      ],
      1,
      [5051],
    ],
    [
      'also where that goes round',
      [
        [5090, 5020],
        [5000, 5080],
      ],
      3,
      [5080, 5080, 5080],
    ],
    [
      'and not where the lports are others now',
      [
        [6000, 6040],
        [0, 0],
      ],
      1,
      [-1],
    ],
  ];
  for (const [what, arcs, workers, from] of rows) {
    test(`of lports ${what}`, () => {
      const found = Array.from({ length: workers }, (_, worker) => lportsFrom(arcs, worker, workers, ALL));
      assert.deepEqual(found, from);
    });
  }
});

describe('a file that is not as it should be is said and ignored', () => {
  const { file } = save([tableOf(3, 0)], 4_000);
  const good = file.bytes!;
  const word = (index: number, value: number) => {
    const bytes = good.slice();
    new DataView(bytes.buffer).setInt32(4 * index, value, true);
    return bytes;
  };
  /** A word changed, and the checksum right again: as somebody would write it who wants to do harm. */
  const forged = (index: number, change: (word: number) => number) => {
    const words = new Int32Array(good.slice().buffer);
    words[index] = change(words[index]);
    words[3] = crc32(new Uint8Array(words.buffer, 16));
    return new Uint8Array(words.buffer);
  };
  const FIRST = good.length / 4 - 3 * 7;
  const LEGS = 15;
  const NOTES = FIRST - 6;
  const rows: [name: string, bytes: Uint8Array, problem: RegExp][] = [
    ['because it is empty', new Uint8Array(0), /0 bytes are no such file/],
    ['because it is a text', Buffer.from('services:\n'.repeat(40)), /it holds something else/],
    ['because it is cut short', good.slice(0, -28), /it has \d+ of \d+ bytes/],
    ['because it is too long', Buffer.concat([good, Buffer.alloc(4)]), /it has \d+ of \d+ bytes/],
    ['because it has another version', word(1, 4), /its version is 4, expected 3 or 2/],
    ['because its checksum is wrong', word(3, 5), /its checksum is wrong/],
    ['because it has more sessions than bytes', forged(8, (word) => word + 1), /its parts are longer/],
    ['because it has four billion sessions', forged(8, () => -1), /its parts are longer/],
    ['because its key is longer than it', forged(5, () => 1 << 30), /its parts are longer/],
    [
      'because it has more legs than lines',
      forged(6, (word) => word + 1),
      /table of real servers is damaged/,
    ],
    [
      'because its table of real servers is no text',
      forged(LEGS, () => -1),
      /table of real servers is damaged/,
    ],
    ['because a session has a leg beyond the table', forged(FIRST + 5, () => 2 << 16), /a session/],
    [
      'because a session has an unknown flag',
      forged(FIRST + 5, (word) => word | 4),
      /a session in it is damaged/,
    ],
    ['because a session is of the future', forged(FIRST + 6, () => -1), /a session in it/],
    ['because a session has an lport of others', forged(FIRST + 4, () => 4999), /a session/],
    ['because a session has a multicast client', forged(FIRST, () => 0xff020000 | 0), /a session/],
    ['because its notes are no JSON', forged(NOTES, (word) => word ^ 0xff), /its notes are damaged/],
    ['because its notes are longer than it', forged(12, () => 1 << 30), /its parts are longer/],
  ];
  for (const [name, bytes, problem] of rows) {
    test(name, () => {
      const said = problemOf(fileOf(bytes));
      assert.match(said, problem);
      assert.match(said, /^\/run\/sessions is ignored: /);
    });
  }

  test('because a session has a client of a family without VIP', () => {
    const services = [sampleService({ vips: ['10.1.0.100'] })];
    const saved = save([tableOf(1, 0)], 0, services).file; // client 1 is one over IPv6
    assert.match(problemOf(saved, { services }), /a session in it is damaged/);
  });

  test('as far as its sessions go, because it is more than ten minutes old, or of the future', () => {
    assert.equal(load(file, 0, { wallMs: SAVED_AT + 4 * MINUTE }).sessions.count, 3);
    assert.equal(load(file, 0, { wallMs: SAVED_AT + 10 * MINUTE }).dropped.expired, 3);
    const old = load(file, 0, { wallMs: SAVED_AT + 11 * MINUTE });
    assert.deepEqual(
      [old.outOfTime, old.sessions.count, old.dropped],
      ['they are 11 minutes old', 0, { gone: 0, expired: 3 }],
    );
    assert.equal(load(file, 0, { wallMs: SAVED_AT - MINUTE }).sessions.count, 3);
    const early = load(file, 0, { wallMs: SAVED_AT - 5 * MINUTE });
    assert.deepEqual([early.outOfTime, early.sessions.count], ['they are of a time 5 minutes from now', 0]);
  });

  test('whatever byte of it is flipped, and wherever it ends', () => {
    for (let at = 0; at < good.length; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const bytes = good.slice();
        bytes[at] ^= mask;
        problemOf(fileOf(bytes));
      }
      problemOf(fileOf(good.slice(0, at)));
    }
  });

  test('or makes sessions that a table can hold, whatever somebody wrote who knows the format', () => {
    let random = 12345;
    const next = (below: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (random >>> 8) % below;
    };
    const whole = save([tableOf(40, 0)], 40_000).file.bytes!;
    let accepted = 0;
    for (let round = 0; round < 3000; round++) {
      const words = new Int32Array(whole.slice().buffer);
      for (let n = next(4); n >= 0; n--) words[4 + next(words.length - 4)] ^= 1 << next(32);
      words[3] = crc32(new Uint8Array(words.buffer, 16));
      const file = fileOf(new Uint8Array(words.buffer));
      const loaded = loadSessions(file, [sampleService()], { wallMs: SAVED_AT }, 0);
      if ('problem' in loaded) continue;
      accepted++;
      const { made } = takeOver(loaded.sessions, { max: 30 });
      const { table, records, slots } = made[0];
      assert.ok(table.count <= 30 && slots <= 30);
      table.sweep(slots, 1_000_000);
      assert.equal(table.count, 0);
      for (let base = 0; base < slots; base += SESSION_WORDS) assert.equal(records[base + LPORT_FLAGS], 0);
    }
    assert.ok(accepted > 100, `${accepted} of 3000`);
  });
});

describe('the file on the disk', () => {
  /** Runs in a folder of its own. */
  function inFolder(scenario: (folder: string, path: string) => void): void {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-state-'));
    try {
      scenario(folder, join(folder, 'sessions'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  const saveTo = (path: string, count = 3) =>
    saveSessions(
      new WholeFile(path),
      [recorded(tableOf(count, 0))],
      [sampleService()],
      { workers: 1, key: KEY, wallMs: SAVED_AT },
      4_000,
    );

  test('is written whole, for its owner only, and leaves nothing beside it', () => {
    inFolder((folder, path) => {
      writeFileSync(path, 'what was there before', { mode: 0o644 });
      writeFileSync(`${path}.new`, 'left by an attempt that did not end');
      const summary = saveTo(path);
      assert.deepEqual(summary, { saved: 3, gone: 0, bytes: statSync(path).size });
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.deepEqual(readdirSync(folder), ['sessions']);
      assert.equal(load(new WholeFile(path), 0).sessions.count, 3);
      new WholeFile(path).remove();
      assert.deepEqual(readdirSync(folder), []);
    });
  });

  test('is not written through a link that lies in its way', () => {
    inFolder((folder, path) => {
      writeFileSync(join(folder, 'other'), 'other');
      symlinkSync(join(folder, 'other'), `${path}.new`);
      saveTo(path);
      assert.equal(readFileSync(join(folder, 'other'), 'utf8'), 'other');
      assert.equal(load(new WholeFile(path), 0).sessions.count, 3);
    });
  });

  test('stays as it was when it cannot be written, which is said', () => {
    inFolder((folder, path) => {
      const summary = saveTo(join(folder, 'missing', 'sessions'));
      assert.ok('problem' in summary);
      assert.match(summary.problem, /missing\/sessions cannot be written: ENOENT/);
      saveTo(path);
      const full = new WholeFile(path);
      assert.throws(() => full.write([Uint8Array.of(1), undefined as unknown as Uint8Array]));
      assert.equal(load(full, 0).sessions.count, 3);
      assert.deepEqual(readdirSync(folder), ['sessions']);
    });
  });

  test('that is missing is no mistake, and one that cannot be read is', () => {
    inFolder((folder, path) => {
      const load = (at: string) => loadSessions(new WholeFile(at), [], { wallMs: SAVED_AT }, 0);
      assert.deepEqual(load(path), { problem: `${path} does not exist`, isMissing: true });
      assert.deepEqual(load(folder), { problem: `${folder} is ignored: it is not a file`, isMissing: false });
      assert.match(JSON.stringify(load('/dev/zero')), /it is not a file/);
      writeFileSync(path, 'x'.repeat(100));
      assert.throws(() => new WholeFile(path).read(99), /it has 100 bytes, more than 99/);
    });
  });

  test('is ignored where others may have written it: by its mode, or a link in its place', () => {
    inFolder((folder, path) => {
      saveTo(path);
      chmodSync(path, 0o662);
      const load = (at: string) =>
        loadSessions(new WholeFile(at), [sampleService()], { wallMs: SAVED_AT }, 0);
      assert.match(
        JSON.stringify(load(path)),
        /is ignored: others than its owner can write to it \(mode 0662\)/,
      );
      chmodSync(path, 0o600);
      assert.ok(!('problem' in load(path)));
      symlinkSync(path, join(folder, 'link'));
      assert.match(JSON.stringify(load(join(folder, 'link'))), /is ignored: it is a symbolic link/);
    });
  });

  test('is tried before it is written, which leaves nothing', () => {
    inFolder((folder, path) => {
      saveTo(path);
      new WholeFile(path).tryToWrite();
      assert.deepEqual(readdirSync(folder), ['sessions']);
      assert.throws(() => new WholeFile(join(folder, 'missing', 'sessions')).tryToWrite(), {
        code: 'ENOENT',
      });
    });
  });
});
