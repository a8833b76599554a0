// The fast path's maps as processes use them: entries in batches, what has no room, activity beyond 32 bits,
// hops, rows of interfaces; and pins, by which the next process takes them over.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Activity } from '../../src/fast/activity.ts';
import { Hops } from '../../src/fast/hops.ts';
import { HotEntries } from '../../src/fast/hot-entries.ts';
import { emptyEnds, HotRecords, INBOUND, OUTBOUND } from '../../src/fast/hot-records.ts';
import { BUCKET_LEN, bucketsFor, type FastPathSizes, HOT_LEN, macBytes } from '../../src/fast/layout.ts';
import { type FastPathMaps, openMaps } from '../../src/fast/maps.ts';
import { isBpffs, removePinned, removePinRoot } from '../../src/fast/pins.ts';
import { PortRows } from '../../src/fast/port-rows.ts';
import { pin } from '../../src/sys/bpf-attachment.ts';
import { createMap, MAP_TYPE } from '../../src/sys/libbpf.ts';
import { close } from '../../src/sys/libc.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { formatAddress } from '../../src/wire/address.ts';
import { udp } from '../packets/uoa-builder.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import {
  DIRECTIONS,
  endsOf,
  frameOf,
  openRig,
  type Rig,
  SESSION4,
  SESSION6,
  sessionOf,
  type TestSession,
  type Way4Or6,
  withEnds,
} from './rig.ts';

const SIZES = { sessions: 8, hops: 2, ports: 2 };

/** Maps of this test, closed when it ends. */
function maps(
  t: TestContext,
  sizes: FastPathSizes = SIZES,
  root?: string,
  onRemoved?: (what: string) => void,
): FastPathMaps {
  const opened = openMaps(sizes, root, onRemoved);
  t.after(() => opened.close());
  return opened;
}

const client = (n: number) =>
  sessionOf(
    [`192.0.${n >> 8}.${n & 255}`, 4000],
    ['10.1.0.100', 6000],
    ['10.2.0.200', 5000 + n],
    ['10.2.0.2', 7000],
  );

/** What sessions are hot, by number, and the ends of their packets as they come, by direction. */
function readAll(records: HotRecords): Map<number, Way4Or6[]> {
  const found = new Map<number, Way4Or6[]>();
  const ends = emptyEnds();
  for (let session = 0; session < records.sessions; session++) {
    if (!records.isHot(session)) continue;
    const ways = DIRECTIONS.map((direction) => {
      records.readEnds(session, direction, ends);
      const { addresses, sport, dport } = ends;
      return { src: formatAddress(addresses, 0), sport, dst: formatAddress(addresses, 4), dport };
    });
    found.set(session, ways);
  }
  return found;
}

/** Whether the programs find both directions. */
const isFound = ({ run }: Rig, { from }: TestSession): boolean[] =>
  from.map((ends) => {
    const packet = udp(withEnds(ends, { payload: Uint8Array.of(1) }));
    return run('tc', frameOf(packet)).did === 'redirect';
  });

describe('rows of hot sessions', () => {
  test('are read as they were written, and found by the programs, thousands of them, of both families', (t) => {
    const rig = openRig(t, 5000);
    const sessions = Array.from({ length: 5000 }, (_, n) => (n === 7 ? SESSION6 : client(n)));
    for (const [slot, session] of sessions.entries()) rig.add(session, slot);
    const found = readAll(rig.records);
    for (const [slot, session] of sessions.entries()) {
      assert.deepEqual(found.get(slot), session.from);
      assert.deepEqual(isFound(rig, session), [true, true]);
    }
    rig.clear();
    assert.equal(readAll(rig.records).size, 0);
    for (const session of sessions) assert.deepEqual(isFound(rig, session), [false, false]);
  });

  test('have an idle time that is kept up to a second too short, and never none', (t) => {
    const { records } = openRig(t);
    for (const idleMs of [0, 1, 1_500, 120_000, 10 ** 9]) {
      records.change(3, [5, 9], idleMs);
      assert.ok(records.isAs(3, [5, 9], idleMs));
      assert.deepEqual([records.hopOf(3, INBOUND), records.hopOf(3, OUTBOUND)], [5, 9]);
      assert.equal(records.isAs(3, [5, 9], 0), idleMs === 0);
    }
    assert.ok(!records.isAs(3, [9, 5], 10 ** 9));
  });

  test('end at once, and are found again by the ends of the next session only', (t) => {
    const rig = openRig(t);
    rig.add(SESSION4, 2);
    rig.records.end(2);
    assert.deepEqual(isFound(rig, SESSION4), [false, false]);
    rig.add(client(1), 2);
    assert.deepEqual(isFound(rig, SESSION4), [false, false]);
    assert.deepEqual(isFound(rig, client(1)), [true, true]);
  });

  test('of which a process left half a change are found, or not hot any more', (t) => {
    const rig = openRig(t, 8);
    const { hot, records, maps } = rig;
    for (let n = 0; n < 6; n++) rig.add(client(n), n);
    const words = bucketsFor(8) * (BUCKET_LEN / 4);
    const table = new Int32Array(mapSharedMemory(maps.fds.hot_buckets, 4 * words), 0, words);
    const placeOf = (entry: number) => table.findIndex((word, at) => word === entry && at % 16 >= 8);
    table[placeOf(2 * 1 + 1)] = 0; // it became hot, and one entry was put
    records.end(2); // it is over, and its entries are there
    table[table.findIndex((word, at) => word === 0 && at % 16 >= 8)] = 2 * 3 + 1; // of ends before
    table[placeOf(2 * 5 + 1)] = 0; // of another worker
    hot.repair(0, 5);
    for (const n of [0, 1, 3, 4]) assert.deepEqual(isFound(rig, client(n)), [true, true], `${n}`);
    assert.deepEqual(isFound(rig, client(2)), [false, false]);
    assert.deepEqual(isFound(rig, client(5)), [false, true], 'it is not ours');
    const ours = table.filter((word, at) => at % 16 >= 8 && word > 0 && word <= 10);
    assert.deepEqual(
      [...ours].sort((a, b) => a - b),
      [1, 2, 3, 4, 7, 8, 9, 10],
    );
  });

  test('have room for IPv6 only where that was said', (t) => {
    const sizes = { ...SIZES, sessions6: 0 };
    const { fds } = maps(t, sizes);
    const records = new HotRecords(fds, sizes);
    const hot = new HotEntries(records, fds);
    for (const [slot, { from }] of [SESSION4, SESSION6].entries()) {
      const [fromClient, fromServer] = from.map(endsOf);
      assert.equal(hot.put(slot, fromClient!, fromServer!, [0, 1], 0), slot === 0);
    }
    assert.deepEqual([...readAll(records).keys()], [0]);
  });

  test('leave nothing behind, however often sessions come and go', (t) => {
    const rig = openRig(t, 300);
    for (let round = 0; round < 200; round++)
      for (let n = 0; n < 300; n++) if ((n * 7 + round) % 3 === 0) rig.add(client(n + 300 * (round % 10)), n);
    rig.clear();
    const words = bucketsFor(300) * (BUCKET_LEN / 4);
    const table = new Int32Array(mapSharedMemory(rig.maps.fds.hot_buckets, 4 * words), 0, words);
    assert.equal(table.filter((word, at) => at % 16 >= 8 && word !== 0).length, 0);
  });
});

describe('activity', () => {
  /** Words of the map itself, as the kernel writes them. */
  function counters(t: TestContext) {
    const { fds } = maps(t);
    const words = new BigUint64Array(mapSharedMemory(fds.hot, 8 * HOT_LEN), 0, 8 * 8);
    const records = new HotRecords(fds, SIZES);
    const activity = new Activity(records);
    const add = (packets: number, bytes: number) => {
      words[1] += (BigInt(packets) << 38n) + BigInt(bytes); // outbound of session 0
    };
    const folded = () => {
      const isNew = activity.fold(0, OUTBOUND);
      return isNew ? [activity.packets, activity.bytes] : undefined;
    };
    return { fds, records, add, folded, activity };
  }

  test('is what was added since the last fold, also where its words carry over', (t) => {
    const { add, folded } = counters(t);
    const steps: [number, number][] = [
      [1, 64],
      [3, 2 ** 32 - 64],
      [1_000_000, 2 ** 37],
      [2 ** 26 - 1, 2 ** 38 - 1],
      [5, 5],
      [7_000_000, 12_345_678_901],
    ];
    for (let round = 0; round < 20; round++) {
      for (const [packets, bytes] of steps) {
        add(packets, bytes);
        assert.deepEqual(folded(), [packets, bytes]);
        assert.equal(folded(), undefined);
      }
    }
  });

  test('that nobody folded counts for the process that takes over, not for another session of the slot', (t) => {
    const { fds, add, folded, activity } = counters(t);
    add(10, 1000);
    const successor = new Activity(new HotRecords(fds, SIZES));
    assert.ok(successor.fold(0, OUTBOUND));
    assert.deepEqual([successor.packets, successor.bytes], [10, 1000]);
    assert.equal(folded(), undefined);
    add(3, 3);
    activity.start(0, 1);
    assert.equal(folded(), undefined);
    add(1, 2);
    assert.deepEqual(folded(), [1, 2]);
  });

  test('is another generation with each session, at work only between its begin and its end', (t) => {
    const { records } = counters(t);
    const [from, back] = SESSION4.from.map(endsOf);
    for (let n = 0; n < 0x10000; n++) {
      records.begin(0, from!, back!, [0, 1], 0);
      if (!records.isHot(0)) assert.fail(`not hot in round ${n}`);
      records.end(0);
      records.end(0);
      if (records.isHot(0)) assert.fail(`hot in round ${n}`);
    }
  });
});

test('a row of an interface is found, given back, and refused where there is none', (t) => {
  const { fds } = maps(t);
  const rows = new PortRows(fds.control, 2);
  const row = (interfaceIndex: number) => ({
    interfaceIndex,
    mac: macBytes('02:00:00:00:00:09'),
    facesClients: true,
    facesRealServers: false,
  });
  for (const index of [7, 8]) rows.set(rows.findFree(), row(index));
  assert.deepEqual([rows.find(7), rows.find(8), rows.find(9), rows.findFree()], [0, 1, -1, -1]);
  rows.free(0);
  assert.deepEqual([rows.find(7), rows.findFree()], [-1, 0]);
  assert.throws(() => rows.set(2, row(1)), /^RangeError: row 2 of 2$/);
  assert.throws(() => new Hops(fds.hops, 2).clear(2), /^RangeError: hop 2 of 2$/);
});

describe('pinned maps', () => {
  test('are taken over with what is in them, and removed when that is asked', (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const first = maps(t, SIZES, root);
    assert.equal(first.wereThere, false);
    const [from, back] = SESSION4.from.map(endsOf);
    const records = new HotRecords(first.fds, SIZES);
    assert.ok(new HotEntries(records, first.fds).put(3, from!, back!, [0, 1], 0));
    const second = maps(t, SIZES, root);
    assert.equal(second.wereThere, true);
    assert.deepEqual([...readAll(new HotRecords(second.fds, SIZES))], [[3, SESSION4.from]]);
    assert.deepEqual(removePinned(root), [join(root, 'layout-2')]);
    assert.deepEqual(readdirSync(root), []);
    removePinRoot(root);
    assert.equal(existsSync(root), false);
    assert.equal(maps(t, SIZES, root).wereThere, false);
  });

  test('of other sizes or of another layout are removed, and it is said', (t) => {
    const root = join(mountBpffs(t), 'proxy');
    maps(t, SIZES, root);
    const other = join(root, 'layout-0');
    mkdirSync(other);
    const fd = createMap(MAP_TYPE.array, 'old', { keyLen: 4, valueLen: 4, entries: 1 });
    t.after(() => close(fd));
    pin(fd, join(other, 'hot4'));
    const told: string[] = [];
    const next = maps(t, { ...SIZES, sessions: 9 }, root, (what) => told.push(what));
    assert.equal(next.wereThere, false);
    assert.deepEqual(told, [
      `${other}: of another version`,
      `${join(root, 'layout-2')}: hot has entries 8 instead of 9`,
    ]);
    assert.deepEqual(readdirSync(root), ['layout-2']);
  });

  test('of other sizes stay what a process finds until the next one that has maps of its own pins them', (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const first = maps(t, SIZES, root);
    first.noteSteeringKey([1, 2, 3]);
    const [from, back] = SESSION4.from.map(endsOf);
    const records = new HotRecords(first.fds, SIZES);
    assert.ok(new HotEntries(records, first.fds).put(3, from!, back!, [0, 1], 0));
    const other = { ...SIZES, sessions: 9 };
    // The first one of these is killed before its programs are in their places.
    const others = [maps(t, other, root), maps(t, other, root)];
    for (const { before, isPinned, steeringKey } of others) {
      assert.deepEqual([isPinned, steeringKey, before?.sessions], [false, [1, 2, 3], SIZES.sessions]);
      assert.deepEqual([...readAll(new HotRecords(before!.fds, SIZES))], [[3, SESSION4.from]]);
    }
    others[1]!.pin();
    const last = maps(t, other, root);
    assert.deepEqual([last.wereThere, last.isPinned, last.before], [true, true, undefined]);
  });

  test('need a bpffs', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-no-bpffs-'));
    t.after(() => rmdirSync(folder));
    assert.deepEqual(
      [isBpffs(folder), isBpffs(mountBpffs(t)), isBpffs(join(folder, 'none'))],
      [false, true, false],
    );
    assert.throws(() => openMaps(SIZES, join(folder, 'proxy')), { code: 'EPERM', message: /hot/ });
    rmdirSync(join(folder, 'proxy'));
  });
});
