// Which fast path there is and why, as it becomes something else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { FastPathStatus } from '../../src/control/fast-path-status.ts';

const SILENT = pino({ level: 'silent' });
const AT_WAN = [{ name: 'wan0', how: 'tcx' }] as const;

test('nobody wants one', () => {
  const { why, interfaces } = new FastPathStatus({ fastPath: 'off', mode: 'ring' }, SILENT);
  assert.deepEqual({ why, interfaces }, { why: 'io.fastPath is off', interfaces: [] });
});

test('what keeps packets from it is why, until that is tried again', () => {
  const status = new FastPathStatus({ fastPath: 'auto', mode: 'ring' }, SILENT);
  status.attached('no card: wan0', AT_WAN);
  assert.equal(status.why, 'no card: wan0');
  status.impeded('another program is before it');
  assert.equal(status.why, 'another program is before it');
  assert.deepEqual(status.interfaces, AT_WAN);
  status.unimpeded();
  assert.equal(status.why, 'no card: wan0');
});

test('one that cannot be has no interfaces', () => {
  const status = new FastPathStatus({ fastPath: 'tc', mode: 'ring' }, SILENT);
  status.attached('io.fastPath says so', AT_WAN);
  status.refused('interface 2 refuses tc');
  assert.deepEqual([status.why, status.interfaces], ['interface 2 refuses tc', []]);
});
