// The fast path's maps as processes use them: entries in batches, what has no room, activity beyond 32 bits,
// hops, rows of interfaces; and pins, by which the next process takes them over.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Activity, INBOUND, OUTBOUND } from '../../src/fast/activity.ts';
import { Hops } from '../../src/fast/hops.ts';
import { HotEntries } from '../../src/fast/hot-entries.ts';
import { type FastPathSizes, macBytes } from '../../src/fast/layout.ts';
import { type FastPathMaps, openMaps } from '../../src/fast/maps.ts';
import { isBpffs, removePinned } from '../../src/fast/pins.ts';
import { PortRows } from '../../src/fast/port-rows.ts';
import { pin } from '../../src/sys/bpf-attachment.ts';
import { createMap, MAP_TYPE } from '../../src/sys/libbpf.ts';
import { close } from '../../src/sys/libc.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { formatAddress } from '../../src/wire/address.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import { endsOf, openRig, SESSION4, SESSION6, sessionOf, type Way4Or6 } from './rig.ts';

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

const noRefusal = (row: number) => assert.fail(`row ${row} was refused`);

const client = (n: number) =>
  sessionOf(
    [`192.0.${n >> 8}.${n & 255}`, 4000],
    ['10.1.0.100', 6000],
    ['10.2.0.200', 5000 + n],
    ['10.2.0.2', 7000],
  );

function readAll(hot: HotEntries): Map<string, { to: Way4Or6; row: number; idleMs: number }> {
  const found = new Map<string, { to: Way4Or6; row: number; idleMs: number }>();
  const textOf = ({ addresses, sport, dport }: ReturnType<typeof endsOf>): Way4Or6 => ({
    src: formatAddress(addresses, 0),
    sport,
    dst: formatAddress(addresses, 4),
    dport,
  });
  hot.read((from, to, { row, idleMs }) => {
    found.set(JSON.stringify(textOf(from)), { to: textOf(to), row, idleMs });
  });
  return found;
}

describe('hot entries', () => {
  test('are read as they were put, thousands of them, of both families', (t) => {
    const rig = openRig(t, 5000);
    const sessions = [SESSION6, ...Array.from({ length: 3000 }, (_, n) => client(n))];
    for (const [slot, session] of sessions.entries()) rig.add(session, slot, { idleMs: 120_000 });
    const found = readAll(rig.hot);
    assert.equal(found.size, 2 * sessions.length);
    for (const [slot, { from, to }] of sessions.entries()) {
      for (const direction of [INBOUND, OUTBOUND]) {
        const entry = found.get(JSON.stringify(from[direction]));
        assert.deepEqual([entry?.to, entry?.row], [to[direction], 2 * slot + direction]);
        assert.ok(entry && entry.idleMs <= 120_000 && entry.idleMs > 118_000);
      }
    }
    rig.clear();
    assert.equal(readAll(rig.hot).size, 0);
  });

  test('are put and taken out in the order that was asked for', (t) => {
    const { hot } = openRig(t);
    const [from, to] = [endsOf(SESSION4.from[0]), endsOf(SESSION4.to[0])];
    const target = { hop: 0, row: 0, generation: 1, idleMs: 0 };
    hot.put(from, to, target);
    hot.remove(from);
    hot.put(from, to, { ...target, row: 4 });
    hot.flush();
    assert.equal(readAll(hot).get(JSON.stringify(SESSION4.from[0]))?.row, 4);
    hot.put(from, to, target);
    hot.remove(from);
    hot.flush();
    assert.equal(readAll(hot).size, 0);
  });

  test('that are taken out twice, or were never there, stop no others', (t) => {
    const { hot, add } = openRig(t, 600);
    for (let n = 0; n < 600; n++) add(client(n), n);
    for (let n = 0; n < 600; n++) if (n % 3 === 0) hot.remove(endsOf(client(n).from[0]));
    for (let n = 0; n < 900; n++) hot.remove(endsOf(client(n).from[0]));
    hot.flush();
    assert.equal(readAll(hot).size, 600, 'the other directions');
  });

  test('for which there is no room are told, and those behind them are put', (t) => {
    const { hot, add, refused } = openRig(t, 8);
    for (let n = 0; n < 8; n++) add(client(n), n);
    assert.deepEqual(refused, []);
    const target = { hop: 0, generation: 1, idleMs: 0 };
    const put = (n: number, row: number) =>
      hot.put(endsOf(client(n).from[0]), endsOf(client(n).to[0]), { ...target, row });
    put(20, 100);
    put(21, 101);
    put(3, 77); // there already: takes no room
    hot.flush();
    assert.deepEqual(refused, [100, 101]);
    assert.equal(readAll(hot).get(JSON.stringify(client(3).from[0]))?.row, 77);
  });
});

describe('activity', () => {
  /** Words of the map itself, as the kernel writes them. */
  function counters(t: TestContext) {
    const { fds } = maps(t);
    const words = new BigUint64Array(mapSharedMemory(fds.activity, 8 * 32), 0, 8 * 4);
    const activity = new Activity(fds.activity, 8);
    const add = (packets: number, bytes: number) => {
      words[2] += (BigInt(packets) << 38n) + BigInt(bytes); // row 1: outbound of slot 0
    };
    const folded = () => {
      const isNew = activity.fold(0, OUTBOUND);
      return isNew ? [activity.packets, activity.bytes] : undefined;
    };
    return { fds, add, folded, activity };
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
    const successor = new Activity(fds.activity, 8);
    assert.ok(successor.fold(0, OUTBOUND));
    assert.deepEqual([successor.packets, successor.bytes], [10, 1000]);
    assert.equal(folded(), undefined);
    add(3, 3);
    activity.start(0, 1);
    assert.equal(folded(), undefined);
    add(1, 2);
    assert.deepEqual(folded(), [1, 2]);
  });

  test('has a generation per session, which is never 0', (t) => {
    const { activity } = counters(t);
    const seen = new Set<number>();
    for (let n = 0; n < 0xffff; n++) seen.add(activity.start(0, 0));
    assert.equal(seen.size, 0xffff);
    assert.ok(!seen.has(0));
    const last = activity.generationOf(0);
    activity.end(0);
    assert.notEqual(activity.generationOf(0), last);
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
    const target = { hop: 1, row: 3, generation: 1, idleMs: 0 };
    const hot = new HotEntries(first.fds, noRefusal);
    hot.put(endsOf(SESSION4.from[0]), endsOf(SESSION4.to[0]), target);
    hot.flush();
    const second = maps(t, SIZES, root);
    assert.equal(second.wereThere, true);
    assert.equal(readAll(new HotEntries(second.fds, noRefusal)).size, 1);
    assert.deepEqual(removePinned(root), [join(root, 'layout-1')]);
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
      `${join(root, 'layout-1')}: hot4 has entries 16 instead of 18`,
    ]);
    assert.deepEqual(readdirSync(root), ['layout-1']);
  });

  test('need a bpffs', (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-no-bpffs-'));
    t.after(() => rmdirSync(folder));
    assert.deepEqual(
      [isBpffs(folder), isBpffs(mountBpffs(t)), isBpffs(join(folder, 'none'))],
      [false, true, false],
    );
    assert.throws(() => openMaps(SIZES, join(folder, 'proxy')), { code: 'EPERM', message: /hot4/ });
    rmdirSync(join(folder, 'proxy'));
  });
});
