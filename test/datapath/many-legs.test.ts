// What a worker's restart and a change of lports cost where there are many legs, each with a session: by what
// the legs have handed out, not by their ranges. Memory is asserted, the time only printed: machines differ,
// and this one may stand still.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { capacityOf, type DatapathPlan } from '../../src/datapath/plan.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { LportPool } from '../../src/session/lport-pool.ts';
import { LportTransfer } from '../../src/session/lport-transfer.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { withHeaderChecksum } from '../packets/builder.ts';
import { u16 } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import { makePlan, type PlanChange, PORT, realServer } from './rig.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const KIB = 1024;
/** What a datapath takes in any case. */
const DATAPATH = 4 * KIB * KIB;

/** Bytes of what is reachable. */
function reachable(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const maxRss = (): number => process.resourceUsage().maxRSS * KIB;

/** Asserts what `run` leaves, and takes for a while, and returns what it made. */
function measure<Made>(t: TestContext, what: string, legs: number, run: () => Made): Made {
  const before = reachable();
  const rssBefore = maxRss();
  const started = performance.now();
  const made = run();
  const ms = performance.now() - started;
  const peak = maxRss() - rssBefore;
  const left = reachable() - before;
  const inMib = (bytes: number) => `${(bytes / KIB / KIB).toFixed(1)} MiB`;
  t.diagnostic(`${what}: ${Math.round(ms)} ms, ${inMib(left)}, ${inMib(peak)} more than ever at the most`);
  assert.ok(left < DATAPATH + 2 * KIB * legs, `${what}: ${inMib(left)}`);
  assert.ok(peak < 2 * DATAPATH + 8 * KIB * legs, `${what}: ${inMib(peak)} for a while`);
  return made;
}

for (const [lips, servers] of [
  [64, 64],
  [255, 257],
] as const) {
  const legs = lips * servers;
  test(`${legs} legs with a session each go on in a successor, and with more lports, at little cost`, (t) => {
    const service = {
      maxTrials: 0,
      lports: { first: 1024, last: 65_000 },
      lips: Array.from({ length: lips }, (_, n) => `10.3.0.${n + 1}`),
      realServers: Array.from({ length: servers }, (_, n) => realServer(`10.4.${n >> 8}.${n & 255}`)),
    };
    const maxSessions = legs + 100;
    const plan = makePlan({ maxSessions, service });
    const memory = allocateMemory(plan);
    const start = () =>
      new Datapath(plan, memory, () => true, { seed: [1, 2], drawLport: (count) => legs % count });
    let datapath = start();
    const frame = new Frame(new Uint8Array(HEADROOM + 256));
    const arrive = (packet: Uint8Array, port: number): string => {
      frame.bytes.set(packet, HEADROOM);
      return verdictName(datapath.receive(frame, HEADROOM, HEADROOM + packet.length, port, 0));
    };
    const one = udp({ src: '10.1.0.1', sport: 1, dst: '10.1.0.100', dport: 6000, ttl: 64, checksum: 'zero' });
    /** Of a client that opens no other session: 10.1.0.1 and on, ports 1 to 32768. */
    const request = (n: number) => {
      one.set([1 + (n >> 15)], 15);
      one.set(u16(1 + (n & 0x7fff)), 20);
      return withHeaderChecksum(one, 20);
    };
    for (let n = 0; n < legs; n++) assert.equal(arrive(request(n), PORT.wan), 'forward');
    assert.ok(
      memory.legsInUse.every((inUse) => inUse === 1),
      'each leg has one',
    );
    datapath = measure(t, 'a successor', legs, start);
    assert.equal(datapath.sessionCount, legs);
    const wider = makePlan(
      {
        maxSessions,
        capacity: capacityOf(plan),
        service: { ...service, lports: { first: 1024, last: 65_535 } },
      },
      plan.services,
    );
    measure(t, 'more lports', legs, () => datapath.reconfigure(wider));
    assert.equal(datapath.sessionCount, legs);
    for (let n = 0; n < legs; n += 997) assert.equal(arrive(request(n), PORT.wan), 'forward');
    assert.equal(datapath.sessionCount, legs, 'they are the same sessions');
  });
}

test('reloads leave nothing behind: other weights, a real server more or less, other lports', (t) => {
  const legs = 64 * 16;
  const lips = Array.from({ length: 64 }, (_, n) => `10.3.0.${n + 1}`);
  const planOf = (n: number, change: PlanChange, before?: DatapathPlan) => {
    const weight = 1 + (n % 5);
    const realServers = Array.from({ length: 16 + (n % 2) }, (_, at) =>
      realServer(`10.4.0.${at}`, { weight }),
    );
    const lports = { first: 1024, last: 65_000 + (n % 3) };
    const service = { maxTrials: 0, lips, realServers, lports };
    return makePlan({ maxSessions: 1000, service, ...change }, before?.services);
  };
  let plan = planOf(1, {});
  const capacity = capacityOf(plan);
  const datapath = new Datapath(plan, allocateMemory(plan), () => true, { seed: [1, 2] });
  const reload = (from: number, to: number): number => {
    for (let n = from; n < to; n++) {
      plan = planOf(n, { capacity }, plan);
      datapath.reconfigure(plan);
    }
    return reachable();
  };
  // Until code is compiled; then each kind of change as often, and the last one the same.
  const before = reload(0, 30);
  const more = reload(30, 60) - before;
  t.diagnostic(`30 reloads: ${more} bytes`);
  assert.ok(more < 30 * legs * 32, `${more} bytes more after 30 reloads of ${legs} legs`);
});

test('a pool that takes over from one without resting lports takes nothing for it', () => {
  const pools = Array.from({ length: 20_000 }, () => ({
    before: new LportPool(1024, 65_000),
    after: new LportPool(1024, 65_535),
  }));
  const before = reachable();
  const transfer = new LportTransfer();
  for (const { before, after } of pools) transfer.inherit(after, before);
  transfer.takeOver();
  const left = reachable() - before;
  assert.ok(left < 32 * pools.length, `${left} bytes for ${pools.length} pools`);
  assert.equal(pools.at(-1)!.after.take(), 1024);
});
