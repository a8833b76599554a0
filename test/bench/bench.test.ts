// The bench's own arithmetic, without a clock or a network: statistics, targets, the series that it reads,
// and that its measurements drive what their names say. What it does to a network: network.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { busyTicks } from '../../bench/foreign-cpu.ts';
import { sumOf } from '../../bench/metrics.ts';
import { LAN, SessionLoad, strideOf, WAN } from '../../bench/session-load.ts';
import { figureOf, ratioOf } from '../../bench/statistics.ts';
import { formatTable, thousands, times } from '../../bench/table.ts';
import {
  atMost,
  compared,
  formatTargets,
  shortOfLeast,
  shortOfMost,
  unmeasured,
} from '../../bench/targets.ts';
import { DROP, VERDICT } from '../../src/datapath/verdict.ts';

describe('figures of several rounds', () => {
  test('are the median and the spread', () => {
    assert.deepEqual(figureOf([3, 1, 2]), { median: 2, least: 1, most: 3 });
    assert.deepEqual(figureOf([4, 1, 2, 3]), { median: 2.5, least: 1, most: 4 });
    assert.deepEqual(figureOf([5]), { median: 5, least: 5, most: 5 });
  });

  test('compare what was measured in the same round', () => {
    assert.deepEqual(ratioOf([300, 30, 320], [100, 10, 100]), { median: 3, least: 3, most: 3.2 });
  });

  test('are short in a table', () => {
    assert.equal(thousands({ median: 612_400, least: 598_000, most: 640_100 }), '612 k (598-640)');
    assert.equal(thousands({ median: 12_340, least: 12_340, most: 12_340 }), '12.3 k');
    assert.equal(times({ median: 3.123, least: 3, most: 3.3 }), '3.12 (3.00-3.30)');
  });
});

test('each walk that the datapath bench drives takes the way that its name says', () => {
  const options = { sessions: 1000, payloadLen: 65, maxTrials: 1, idleRefreshMs: 0 };
  const load = new SessionLoad({ ...options, withAnswers: true });
  load.openAll();
  assert.equal(load.datapath.sessionCount, 1000);
  for (let session = 0; session < 1000; session++) {
    load.stampInbound(session);
    assert.equal(load.receive(WAN), VERDICT.forward);
    load.stampEchoAck(session);
    assert.equal(load.receive(LAN), VERDICT.consumed);
    load.stampOutbound(session);
    assert.equal(load.receive(LAN), VERDICT.forward);
    load.stampStray(session);
    assert.equal(load.receive(LAN), DROP.no_session);
  }
  assert.equal(load.datapath.sessionCount, 1000, 'all stay when all were answered');
  const full = new SessionLoad({ ...options, withAnswers: false });
  full.openAll();
  full.stampInbound(1000);
  assert.equal(full.receive(WAN), VERDICT.forward);
  assert.equal(full.datapath.sessionCount, 1000, 'a newcomer takes the place of another');
});

test('a stride visits every session before one a second time', () => {
  for (const sessions of [1, 2, 10, 1000]) {
    const seen = new Set(Array.from({ length: sessions }, (_, n) => (n * strideOf(sessions)) % sessions));
    assert.equal(seen.size, sessions);
  }
});

test('a series is summed over its labels', () => {
  const text = `# HELP uoa_proxy_sessions x
uoa_proxy_sessions{service="a"} 5
uoa_proxy_sessions{service="b"} 2
uoa_proxy_sessions_max 1000
uoa_proxy_ready 1
`;
  assert.equal(sumOf(text, 'uoa_proxy_sessions'), 7);
  assert.equal(sumOf(text, 'uoa_proxy_ready'), 1);
  assert.equal(sumOf(text, 'uoa_proxy_none'), 0);
});

test('processor time is read from /proc/stat', () => {
  assert.deepEqual(busyTicks('cpu  10 20 30 40 50 60\ncpu0 1 2 3 4\n'), [10, 20, 30]);
});

test('tables and targets are plain text', () => {
  assert.deepEqual(formatTable(['a', 'bb'], [['long', '1']]), ['a     bb', 'long   1']);
});

test('targets are a table of what is kept, missed and not measured', () => {
  const aim = (what: string, wanted: string) => ({ what, wanted });
  const bytes = (value: number) => `${value} bytes`;
  const targets = [
    compared(aim('xdp by kernel', 'at least 3.5'), [300, 40, 320], [100, 10, 100], 3.5),
    atMost(aim('memory', 'at most 300 bytes'), [150], 300, bytes),
    atMost(aim('memory', 'at most 300 bytes'), [350, 360, 380], 300, bytes),
    atMost(aim('lost', '0'), [0], 0, String),
    atMost(aim('lost', '0'), [3], 0, String),
    unmeasured(aim('latency', 'below 20 µs'), 'no root'),
  ];
  assert.deepEqual(
    formatTargets(targets).map((line) => line.trim().split(/ {2,}/)),
    [
      ['targets', 'wanted', 'measured'],
      ['xdp by kernel', 'at least 3.5', '3.20 (3.00-4.00)', 'missed by 8.57%'],
      ['memory', 'at most 300 bytes', '150 bytes', 'kept'],
      ['memory', 'at most 300 bytes', '360 bytes (350 bytes to 380 bytes)', 'missed by 20.0%'],
      ['lost', '0', '0', 'kept'],
      ['lost', '0', '3', 'missed'],
      ['latency', 'below 20 µs', 'not measured: no root', '-'],
    ],
  );
  assert.equal(shortOfLeast(3, 3), 0);
  assert.equal(shortOfLeast(1.5, 3), 0.5);
  assert.equal(shortOfMost(150, 300), -0.5);
});
