// Of which services the fast path is switched off, by names: in the cells that the datapaths read, whatever
// numbers a reload gives them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { OperationError } from '../../src/admin/sources.ts';
import { FastPathSwitch } from '../../src/control/fast-path-switch.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { numberServices } from '../../src/service/numbering.ts';
import type { ServicePlan } from '../../src/service/plan.ts';
import { makePlan } from '../datapath/rig.ts';

const CAPACITY = { services: 4, realServers: 8, legs: 16 };
const ENDPOINTS: Record<string, number> = { game: 6000, chat: 7000, voice: 8000 };

function start(...names: string[]) {
  const changes = (wanted: string[]) => wanted.map((name) => ({ name, vport: ENDPOINTS[name]! }));
  const servicesOf = (wanted: string[]) =>
    makePlan({ services: changes(wanted), capacity: CAPACITY }).services;
  const { common } = allocateMemory(makePlan({ services: changes(names), capacity: CAPACITY }));
  const fastSwitch = new FastPathSwitch(common, pino({ level: 'silent' }));
  let plans: readonly ServicePlan[] = servicesOf(names);
  fastSwitch.update(plans);
  return {
    fastSwitch,
    cells: () => [...common.fastPathOff],
    cellOf: (name: string) => common.fastPathOff[plans.find((plan) => plan.name === name)!.index],
    reload: (...wanted: string[]) => {
      plans = numberServices(servicesOf(wanted), plans, CAPACITY);
      fastSwitch.announce(plans);
      fastSwitch.update(plans);
    },
  };
}

test('one service is switched off and on', () => {
  const { fastSwitch, cellOf } = start('game', 'chat');
  fastSwitch.switchOff('chat');
  assert.deepEqual([cellOf('game'), cellOf('chat')], [0, 1]);
  assert.deepEqual(fastSwitch.state, { all: false, services: ['chat'] });
  fastSwitch.switchOn('chat');
  assert.deepEqual([cellOf('game'), cellOf('chat')], [0, 0]);
});

test('all are switched off, those that a reload brings too, and one of them cannot be on', () => {
  const { fastSwitch, cellOf, reload } = start('game', 'chat');
  fastSwitch.switchOff(undefined);
  reload('game', 'chat', 'voice');
  assert.deepEqual(['game', 'chat', 'voice'].map(cellOf), [1, 1, 1]);
  assert.throws(
    () => fastSwitch.switchOn('game'),
    new OperationError(409, 'the fast path is off for all services: switch it on for all'),
  );
  fastSwitch.switchOn(undefined);
  assert.deepEqual(['game', 'chat', 'voice'].map(cellOf), [0, 0, 0]);
});

test('a service stays off over a reload, and another one that gets its number is on', () => {
  const { fastSwitch, cellOf, reload } = start('game', 'chat');
  fastSwitch.switchOff('chat');
  reload('voice', 'chat');
  assert.deepEqual(['voice', 'chat'].map(cellOf), [0, 1]);
  reload('voice');
  reload('voice', 'game');
  assert.deepEqual(['voice', 'game'].map(cellOf), [0, 0]);
  reload('voice', 'game', 'chat');
  assert.deepEqual(fastSwitch.state.services, [], 'it was gone');
});

test('on for all is on for those that were switched off by themselves', () => {
  const { fastSwitch, cells } = start('game', 'chat');
  fastSwitch.switchOff('chat');
  fastSwitch.switchOn(undefined);
  assert.deepEqual(cells(), [0, 0, 0, 0]);
});

test('what was off before a restart is off again, but for services that are there no more', () => {
  const { fastSwitch, cellOf } = start('game', 'chat');
  fastSwitch.restore({ all: false, services: ['chat', 'gone'] });
  assert.deepEqual([cellOf('game'), cellOf('chat')], [0, 1]);
  assert.deepEqual(fastSwitch.set, { all: false, services: ['chat'] });
  fastSwitch.restore({ all: true, services: [] });
  assert.deepEqual([cellOf('game'), fastSwitch.set.all], [1, true]);
});

test('what keeps packets from it is no wish of an operator, and is over when he switches it on', () => {
  const { fastSwitch, cells } = start('game', 'chat');
  fastSwitch.impede();
  assert.deepEqual(cells().slice(0, 2), [1, 1]);
  assert.deepEqual([fastSwitch.state.all, fastSwitch.set.all], [true, false]);
  fastSwitch.switchOn(undefined);
  assert.deepEqual(cells(), [0, 0, 0, 0]);
});

test('where there is no fast path it is known what was off, and can be taken back', () => {
  const { fastSwitch, cells } = start('game', 'chat');
  fastSwitch.restore({ all: false, services: ['chat'] });
  fastSwitch.withdraw();
  assert.deepEqual([fastSwitch.isAnyOff, fastSwitch.set.services], [true, ['chat']]);
  fastSwitch.switchOn(undefined);
  assert.deepEqual([fastSwitch.isAnyOff, fastSwitch.set.services], [false, []]);
  assert.deepEqual(cells().slice(0, 2), [1, 1], 'for datapaths there is none all the same');
});

test('it tells of each change that an operator makes, and of a service that goes', () => {
  const { fastSwitch, reload } = start('game', 'chat');
  const told: unknown[] = [];
  fastSwitch.tellSet(() => told.push(fastSwitch.set));
  fastSwitch.switchOff('chat');
  fastSwitch.impede();
  reload('game', 'chat', 'voice');
  reload('game');
  const none = { all: false, services: [] };
  assert.deepEqual(told, [{ all: false, services: ['chat'] }, none]);
});
