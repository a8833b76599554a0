// How the steering program and that at tc agree on each packet (src/bpf/hot-entries.h), by BPF_PROG_TEST_RUN:
// what word one leaves, and what the other makes of it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { loadFastPath } from '../../src/fast/attachment.ts';
import { nowTick } from '../../src/fast/layout.ts';
import { openKernelSteering, SINK } from '../../src/steer/kernel-steering.ts';
import { knownSpec } from '../../src/steer/known-sources.ts';
import { lookUpInMap, possibleCpus, testRun, updateMap } from '../../src/sys/libbpf.ts';
import { frameOf, openRig, ROW, SESSION4, SESSION6, type TestSession, withEnds } from '../fast/rig.ts';
import { concat, pattern, unhex } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import { KEY } from '../steer/steering-cases.ts';

const RING = SINK + 1;
const SEEN = 1n;
const OFFERED = 3n;
/** Verdicts of tc. */
const [PASS, REDIRECT] = [4294967295, 7];
/** In a row, until no packet is left to tc. */
const MISSES = 16;

const PLAN = {
  vips: ['10.1.0.100', 'fd00:1::100'].map((ip) => ({ ip, port: 6000 })),
  lips: ['10.2.0.200', 'fd00:2::200'].map((ip) => ({ ip, first: 5000, last: 5999 })),
};

/** The two programs of the interface in row ROW, over the same maps. */
function open(t: TestContext) {
  const rig = openRig(t);
  const { fds } = rig.maps;
  const steering = openKernelSteering(2, 1, KEY, knownSpec(1000), { ...fds, rows: [0, ROW] });
  t.after(() => steering.close());
  steering.change(PLAN);
  const tc = loadFastPath(rig.maps, ROW, true);
  t.after(() => tc.close());
  const key = Buffer.alloc(4);
  key.writeUInt32LE(ROW);
  const cpus = possibleCpus();
  const readOffers = () => {
    const bytes = lookUpInMap(fds.offered, key, 16 * cpus)!;
    return Array.from({ length: cpus }, (_, cpu) => bytes.readBigUInt64LE(16 * cpu));
  };
  /** On all processors, because a test may be moved to another. */
  const writeWord = (word: bigint) => {
    const bytes = lookUpInMap(fds.offered, key, 16 * cpus)!;
    for (let cpu = 0; cpu < cpus; cpu++) bytes.writeBigUInt64LE(word, 16 * cpu);
    updateMap(fds.offered, key, bytes);
  };
  return {
    rig,
    steer: (packet: Uint8Array, type?: string) => {
      const data = concat(unhex('000000000000 02000000eeee'), unhex(type ?? typeOf(packet)), packet);
      return testRun(steering.programs[1], { data }).result;
    },
    tc: (packet: Uint8Array) => testRun(tc.programs.tc, { data: frameOf(packet), room: 200 }).result,
    writeWord,
    /** The word that is there, with the time that it has. */
    word: () => readOffers().reduce((a, b) => (a > b ? a : b)),
  };
}

const typeOf = (packet: Uint8Array) => (packet[0] >> 4 === 6 ? '86dd' : '0800');
const packetOf = (session: TestSession, direction: number, sport?: number) => {
  const ends = session.from[direction];
  return udp(withEnds({ ...ends, sport: sport ?? ends.sport }, { payload: pattern(40) }));
};

const BOTH = [SESSION4, SESSION6].flatMap((session, slot) =>
  ([0, 1] as const).map((direction) => ({ session, slot, direction })),
);

/** What tc does right behind the steering program; again where the machine stood still in between. */
function pass(
  { steer, tc, word, writeWord }: ReturnType<typeof open>,
  packet: Uint8Array,
  between: () => void,
  wanted: number,
) {
  for (let tries = 1; ; tries++) {
    writeWord(0n);
    steer(packet);
    const left = word();
    between();
    writeWord(left);
    const did = tc(packet);
    if (did === wanted || tries === 5) return assert.equal(did, wanted);
  }
}

test('a packet of a hot session is left to tc, any other is said to be seen', (t) => {
  const both = open(t);
  for (const { session, slot } of BOTH) both.rig.add(session, slot);
  const kindOf = (packet: Uint8Array, type?: string) => {
    both.writeWord(0n);
    return [both.steer(packet, type), both.word() & OFFERED];
  };
  for (const { session, direction } of BOTH) {
    assert.deepEqual(kindOf(packetOf(session, direction)), [SINK, OFFERED]);
    if (direction === 0) assert.deepEqual(kindOf(packetOf(session, 0, 4444)), [RING, SEEN]);
  }
  assert.deepEqual(kindOf(packetOf(SESSION4, 0), '0806'), [SINK, SEEN], 'what is nobody’s, too');
  both.rig.ports.switchOff(ROW);
  assert.deepEqual(kindOf(packetOf(SESSION4, 0)), [RING, SEEN], 'none where the fast path is off');
});

test('tc goes by the word, whatever became of the entry in between', (t) => {
  const both = open(t);
  for (const { session, slot, direction } of BOTH) {
    const packet = packetOf(session, direction);
    both.rig.add(session, slot);
    pass(both, packet, () => {}, REDIRECT);
    pass(both, packet, () => both.rig.records.end(slot), REDIRECT);
    assert.ok(both.rig.passed().ended > 0, 'given back to the interface');
    both.rig.hot.remove(slot);
    pass(both, packet, () => both.rig.add(session, slot), PASS);
  }
});

test('a packet that no ring saw is forwarded by tc alone, and what it does not forward goes on', (t) => {
  const { rig, tc, writeWord } = open(t);
  const second = 1n << 40n; // long ago
  for (const word of [0n, (second << 2n) | SEEN, (second << 2n) | OFFERED]) {
    for (const { session, slot, direction } of BOTH) {
      rig.add(session, slot);
      writeWord(word);
      assert.equal(tc(packetOf(session, direction)), REDIRECT);
      const before = rig.passed().ended;
      rig.records.end(slot);
      writeWord(word);
      assert.equal(tc(packetOf(session, direction)), PASS);
      assert.equal(rig.passed().ended, before + 1);
    }
  }
});

test('a packet is passed to confirm a neighbor only where somebody takes it', (t) => {
  const both = open(t);
  const { rig, tc, writeWord } = both;
  rig.add(SESSION4);
  const packet = packetOf(SESSION4, 0);
  for (let tries = 1; rig.passed().confirm === 0 && tries <= 5; tries++) {
    rig.hops.confirmAt(0, nowTick());
    writeWord(0n);
    assert.equal(tc(packet), REDIRECT);
    assert.equal(rig.passed().confirm, 0);
    pass(both, packet, () => {}, REDIRECT);
  }
  assert.equal(rig.passed().confirm, 1);
});

test('where tc does not see what is left to it, that is counted and ends', (t) => {
  const { rig, steer, writeWord } = open(t);
  rig.add(SESSION4);
  const packet = packetOf(SESSION4, 0);
  const { ports } = rig;
  assert.deepEqual([ports.missed(ROW), ports.isBlocked(ROW)], [0, false]);
  // One now and then, as another's program may drop it, is not too many.
  for (let n = 0; n < 3000; n++) {
    steer(packet);
    if (n % 200 !== 0) writeWord(0n); // as tc takes it, whatever processor this is
  }
  assert.equal(ports.isBlocked(ROW), false);
  const before = ports.missed(ROW);
  writeWord(0n);
  for (let n = 0; n < 10 * MISSES && !ports.isBlocked(ROW); n++) steer(packet);
  assert.equal(ports.isBlocked(ROW), true);
  assert.ok(ports.missed(ROW) - before >= MISSES);
  assert.equal(steer(packet), RING);
  ports.unblock(ROW);
  assert.equal(steer(packet), SINK, 'it is tried again');
});

test('while another process takes over, and its programs take what is left to tc, nothing is missed', (t) => {
  const { rig, steer, tc, writeWord } = open(t);
  rig.add(SESSION4);
  const packet = packetOf(SESSION4, 0);
  const { ports } = rig;
  ports.share(ROW, true);
  for (let n = 0; n < 10 * MISSES; n++) assert.equal(steer(packet), SINK);
  assert.deepEqual([ports.missed(ROW), ports.isBlocked(ROW)], [0, false]);
  writeWord(0n);
  assert.equal(tc(packet), REDIRECT, 'whom the interface faces is as it was');
  ports.share(ROW, false);
  for (let n = 0; n < 10 * MISSES && !ports.isBlocked(ROW); n++) steer(packet);
  assert.equal(ports.isBlocked(ROW), true);
});

test('with the fast path both load with CAP_BPF and CAP_NET_ADMIN alone', () => {
  const source = (file: string) => new URL(`../../src/${file}`, import.meta.url);
  const script = `
    import { openKernelSteering } from '${source('steer/kernel-steering.ts')}';
    import { knownSpec } from '${source('steer/known-sources.ts')}';
    import { openMaps } from '${source('fast/maps.ts')}';
    import { loadFastPath } from '${source('fast/attachment.ts')}';
    const maps = openMaps({ sessions: 16, hops: 4, ports: 2 });
    loadFastPath(maps, 1, true);
    openKernelSteering(2, 3, ${JSON.stringify(KEY)}, knownSpec(1000), { ...maps.fds, rows: [0, 1] });`;
  const caps = ['--bounding-set=-all,+bpf,+net_admin', '--inh-caps=-all'];
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
  const { status, stderr } = spawnSync('setpriv', [...caps, ...node], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
