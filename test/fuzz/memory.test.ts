// A datapath keeps no more than its plan says, however long it is fed with whatever.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { fresh } from './draw.ts';
import type { Input } from './input.ts';
import { planOf } from './plan.ts';

const SEED = 5;
const PACKETS = 300_000;
const GROWTH_MAX = 2 * 1024 * 1024;

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

describe('memory', () => {
  test(`${PACKETS} packets of seed ${SEED} leave nothing behind but sessions within their bound`, () => {
    const [first, ...others]: Input[] = fc.sample(fresh, { numRuns: 8, seed: SEED });
    const arrivals = [first, ...others].flatMap(({ steps }) =>
      steps.filter(({ what }) => what === 'wan' || what === 'lan'),
    );
    const plan = planOf({ ...first.world, maxSessions: 6, lports: 20 });
    const datapath = new Datapath(plan, allocateMemory(plan), () => true);
    const bytes = new Uint8Array(HEADROOM + 65_535);
    const frame = new Frame(bytes);
    const feed = (count: number) => {
      for (let n = 0; n < count; n++) {
        const { packet, what } = arrivals[n % arrivals.length];
        bytes.set(packet, HEADROOM);
        datapath.receive(frame, HEADROOM, HEADROOM + packet.length, what === 'wan' ? 0 : 1, n);
        if (n % 100 === 0) datapath.tick(n);
        if (datapath.sessionCount > 6) assert.fail(`${datapath.sessionCount} sessions`);
      }
      collectGarbage();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    const before = feed(PACKETS / 3);
    const grown = feed((PACKETS * 2) / 3) - before;
    assert.ok(grown < GROWTH_MAX, `${grown} bytes more`);
  });
});
