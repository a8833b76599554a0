import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import { workersFor } from '../../src/control/worker-count.ts';

for (const [processors, quota, workers, said] of [
  [1, undefined, 1, ''],
  [2, undefined, 1, ''],
  [8, undefined, 7, ''],
  [65, undefined, 64, ''],
  [128, undefined, 64, '64 of 127 for 128 processors, because there are never more'],
  [1, 0.1, 1, ''],
  [2, 0.1, 1, ''],
  [64, 0.1, 1, '1 of 63 for 64 processors, because its cgroup lets it use 0.1 processors'],
  [64, 2.5, 2, '2 of 63 for 64 processors, because its cgroup lets it use 2.5 processors'],
  [64, 1 / 3, 1, '1 of 63 for 64 processors, because its cgroup lets it use 0.33 processors'],
  [256, 64, 64, '64 of 255 for 256 processors, because its cgroup lets it use 64 processors'],
  [256, 100, 64, '64 of 255 for 256 processors, because there are never more'],
  [8, 7, 7, ''],
  [8, 100, 7, ''],
] as const) {
  test(`io.workers auto is ${workers} for ${processors} processors and a quota of ${quota}`, () => {
    let log = '';
    const logger = pino({ level: 'info' }, { write: (line) => (log += JSON.parse(line).msg) });
    assert.equal(workersFor(processors, quota, logger), workers);
    assert.equal(log, said === '' ? '' : `io.workers auto: ${said}`);
  });
}
