// Which fast path there is and why, as it becomes something else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Logger, pino } from 'pino';
import { FastPathStatus, type WantedFastPath } from '../../src/control/fast-path-status.ts';

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

/** What is logged, with its level. */
function logged(act: (log: Logger) => void): string[] {
  const lines: string[] = [];
  const write = (line: string) => {
    const { level, msg } = JSON.parse(line) as { level: number; msg: string };
    lines.push(`${pino.levels.labels[level]}: ${msg}`);
  };
  act(pino({}, { write }));
  return lines;
}

test('that there is none is a warning where one is demanded, and a word where there may be one', () => {
  const said = (fastPath: WantedFastPath) =>
    logged((log) => {
      const status = new FastPathStatus({ fastPath, mode: 'auto' }, log);
      status.refused('interface 2 refuses tc');
      status.unpinned('no bpffs');
    });
  const [none, ends] = [
    'no fast path: interface 2 refuses tc',
    'the fast path ends with the proxy, and a restart finds no hot session: no bpffs',
  ];
  assert.deepEqual(said('auto'), [`info: ${none}`, `info: ${ends}`]);
  assert.deepEqual(said('xdp'), [`warn: ${none}`, `warn: ${ends}`]);
  assert.deepEqual(said('tc'), [`warn: ${none}`, `warn: ${ends}`]);
});

test('in pcap mode none is tried, which is said, unless nobody wants one', () => {
  const said = (fastPath: WantedFastPath) =>
    logged((log) => assert.equal(new FastPathStatus({ fastPath, mode: 'pcap' }, log).isTried, false));
  const why = 'io.mode is pcap, and packets come in by capture filters, which do not know it';
  assert.deepEqual(said('auto'), [`info: no fast path: ${why}`]);
  assert.deepEqual(said('tc'), [`warn: no fast path: ${why}`]);
  assert.deepEqual(said('off'), []);
});
