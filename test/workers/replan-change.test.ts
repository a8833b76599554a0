// What a worker is told of a plan when it has another one: what changed, from which it makes the whole.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { SteeringSpec } from '../../src/steer/steering.ts';
import { changeBetween, type WorkerReplan, withChange } from '../../src/worker-protocol.ts';
import { makePlan } from '../datapath/rig.ts';

const [ONE] = makePlan().services;
const SERVICES = Array.from({ length: 8 }, (_, index) => ({ ...ONE, index, name: `s${index}` }));

const steering = (lips: readonly number[]): SteeringSpec => ({
  workers: 2,
  key: [1, 2, 3],
  vips: [],
  lips: lips.map((last) => ({ ip: `10.2.0.${last}`, first: 1024, last: 65535 })),
});

function replan(services: readonly number[], own: readonly number[], mtu: number): WorkerReplan {
  const plan = makePlan();
  return {
    plan: {
      ...plan,
      ports: [],
      wanMtu: mtu,
      services: services.map((index) => SERVICES[index]),
      ownAddresses: own.map((last) => `10.9.0.${last}`),
    },
    io: { mode: 'ring', rings: [], known: undefined, busyPoll: false, filters: undefined },
    steering: steering(own),
  };
}

const some = fc.uniqueArray(fc.nat(SERVICES.length - 1), { maxLength: SERVICES.length });
const replans = fc.tuple(some, some, fc.constantFrom(1400, 1500)).map((given) => replan(...given));

describe('a change of a plan', () => {
  it('makes the plan, whatever was before it', () => {
    fc.assert(
      fc.property(replans, replans, (before, after) => {
        // As a message it arrives as another object.
        const change = structuredClone(changeBetween(before, after));
        assert.deepEqual(withChange(before, change), after);
        const whole = structuredClone(changeBetween(undefined, after));
        assert.deepEqual(withChange(before, whole), after);
      }),
    );
  });

  it('holds what changed, and what did not is the same object after it', () => {
    const before = replan([0, 1, 2, 3], [1, 2], 1500);
    const { services } = before.plan;
    const weighed = { ...services[2], name: 'another' };
    const after: WorkerReplan = { ...before, plan: { ...before.plan, services: services.with(2, weighed) } };
    const change = changeBetween(before, after);
    assert.deepEqual(change.services, [{ from: 0, count: 2 }, [weighed], { from: 3, count: 1 }]);
    assert.equal(change.steering, 'same');
    const made = withChange(before, structuredClone(change));
    assert.equal(made.plan.services[3], services[3]);
    assert.equal(made.plan.ownAddresses, before.plan.ownAddresses);
    assert.equal(made.steering, before.steering);
  });
});
