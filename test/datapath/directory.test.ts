// What a later plan makes anew of a datapath's directory: only what it changes, because packets wait
// meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Directory } from '../../src/datapath/directory.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { capacityOf, type DatapathPlan } from '../../src/datapath/plan.ts';
import { Persistence } from '../../src/service/persistence.ts';
import { makePlan, realServer } from './rig.ts';

const service = (servers: number, more: object = {}) => ({
  lips: ['10.3.0.1', '10.3.0.2'],
  realServers: Array.from({ length: servers }, (_, n) => realServer(`10.4.0.${n + 1}`)),
  ...more,
});

function directoryOf(plan: DatapathPlan): Directory {
  const memory = allocateMemory(plan);
  const persistence = new Persistence(memory.common.persistence, [1, 2]);
  const directory = new Directory(memory, [memory], { worker: 0, workers: 1 }, persistence, () => 0);
  directory.apply(plan);
  return directory;
}

test('a plan with one more real server makes its legs only; those that stay are as they were', () => {
  const capacity = capacityOf(makePlan({ service: service(4) }));
  const before = makePlan({ capacity, service: service(3) });
  const after = makePlan({ capacity, service: service(4) }, before.services);
  const directory = directoryOf(before);
  const legs = [...directory.legs];
  directory.apply(after);
  assert.equal(legs.length, 6);
  assert.equal(directory.legs.length, 8);
  for (const [index, leg] of legs.entries())
    assert.ok(directory.legs[index] === leg, `leg ${index} is the same`);
});

test('a leg is made anew where its MTU, its lports or what its real server is told changes', () => {
  const before = makePlan({ service: service(1) });
  const capacity = capacityOf(before);
  const change = (make: (plan: DatapathPlan) => DatapathPlan) => {
    const directory = directoryOf(before);
    const [leg] = directory.legs;
    directory.apply(make(before));
    return { before: leg!, after: directory.legs[0]! };
  };
  const withService = (more: object) => () =>
    makePlan({ capacity, service: service(1, more) }, before.services);
  const mtu = change((plan) => {
    const [first] = plan.services;
    const realServers = first.realServers.map((one) => ({ ...one, mtu: 1400 }));
    return { ...plan, services: [{ ...first, realServers }] };
  });
  assert.equal(mtu.after.mtu, 1400);
  assert.equal(mtu.after.pool, mtu.before.pool);
  const lports = change(withService({ lports: { first: 2000, last: 3000 } }));
  assert.notEqual(lports.after.pool, lports.before.pool);
  const told = change(withService({ onUnsupported: 'opp' }));
  assert.notEqual(told.after.receiver, told.before.receiver);
  assert.equal(told.after.pool, told.before.pool);
});
