// What a reload says of the sessions that it ends.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endingSessions } from '../../src/control/ending-sessions.ts';
import { type PlanChange, PORT, Rig, realServer, type ServiceChange } from '../datapath/rig.ts';
import { fromClient } from '../datapath/roles.ts';

const [A, B] = ['10.2.0.10', '10.2.0.11'];
const [LIP1, LIP2] = ['10.2.0.200', '10.2.0.201'];

const service = (change: ServiceChange = {}): ServiceChange => ({
  vips: ['10.1.0.100', 'fd00:1::100'],
  lips: [LIP1],
  realServers: [realServer(A), realServer(B)],
  ...change,
});

/** Of four sessions, two on each real server, on lports 20005 and 20006. */
const rows: [name: string, after: PlanChange, lines: string[]][] = [
  ['nothing changes', { service: service() }, []],
  [
    'LIPs and lports are added',
    { service: service({ lips: [LIP1, LIP2], lports: { first: 20000, last: 30000 } }) },
    [],
  ],
  ['a service goes', { service: service({ name: 'chat' }) }, ['service game: removed: 4 sessions end']],
  [
    'a VIP goes',
    { service: service({ vips: ['fd00:1::100'] }) },
    ['service game: VIP 10.1.0.100 removed: 4 sessions end'],
  ],
  ['a VIP without sessions goes', { service: service({ vips: ['10.1.0.100'] }) }, []],
  [
    'a real server goes',
    { service: service({ realServers: [realServer(A)] }) },
    ['service game: real server 10.2.0.11:6000 removed: 2 sessions end'],
  ],
  [
    'a real server leaves',
    { service: service({ realServers: [realServer(A), realServer(B, { isLeaving: true })] }) },
    [],
  ],
  [
    'a LIP goes',
    { service: service({ lips: [LIP2] }) },
    ['service game: LIP 10.2.0.200 removed: 4 sessions end'],
  ],
  [
    'lports go',
    { service: service({ lports: { first: 20006, last: 20010 } }) },
    ['service game: lports are 20006-20010: 2 sessions end'],
  ],
];
for (const [name, after, lines] of rows) {
  test(name, () => {
    const rig = new Rig({ service: service(), capacity: { services: 4, realServers: 8, legs: 16 } });
    for (const sport of [1, 2, 3, 4]) rig.receive(fromClient({ sport }), PORT.wan);
    const before = rig.plan.services;
    rig.replan(after, false);
    assert.deepEqual(endingSessions([rig.memory], before, rig.plan.services), lines);
    rig.datapath.reconfigure(rig.plan);
    const ended = Number(/(\d+) session/.exec(lines.join())?.[1] ?? 0);
    assert.equal(rig.datapath.sessionCount, 4 - ended, 'so it is');
  });
}
