// What the operator is told of routing that only the kernel can follow, and how often.
import assert from 'node:assert/strict';
import test from 'node:test';
import { IpLayerNotice } from '../../src/route/ip-layer-notice.ts';

const MINUTE = 60_000;

/** What is told when these are the reasons at these times, one array per look. */
function told(looks: readonly (readonly [nowMs: number, reasons: readonly string[]])[]): string[][] {
  let lines: string[] = [];
  const notice = new IpLayerNotice((message, isOver) => lines.push(`${isOver}: ${message}`));
  return looks.map(([nowMs, reasons]) => {
    lines = [];
    notice.look(reasons, nowMs | 0);
    return lines;
  });
}

test('nothing is told of routing that layer 2 can follow', () => {
  assert.deepEqual(
    told([
      [0, []],
      [MINUTE, []],
    ]),
    [[], []],
  );
});

test('a reason is told at once and once, with what it costs and what to do, and so is its end', () => {
  const [first, ...later] = told([
    [0, ['rule 50']],
    [100, ['rule 50']],
    [2 * MINUTE, ['rule 50']],
    [2 * MINUTE + 100, []],
    [9 * MINUTE, []],
  ]);
  assert.equal(first!.length, 1);
  assert.match(first![0]!, /^false: .*IP layer.*half as many per second: rule 50\. .*give rules .*routes/);
  assert.deepEqual(
    later.map((lines) => lines.map((line) => line.slice(0, 24))),
    [[], [], ['true: no rule or route s'], []],
  );
});

test('what changes all the time is told once per minute, as it is then', () => {
  for (const start of [0, 2 ** 31 - MINUTE / 2]) {
    const looks = told(Array.from({ length: 1_201 }, (_, n) => [start + 100 * n, [`rule ${n}`]] as const));
    const when = looks.flatMap((lines, n) => (lines.length === 0 ? [] : [n]));
    assert.deepEqual(when, [0, 600, 1_200], 'also when the clock goes round');
    assert.match(looks[600]![0]!, /second: rule 600\./);
  }
});

test('a change is told after a long silence, however the clock went round meanwhile', () => {
  const looks = told([
    [0, ['rule 50']],
    [MINUTE, ['rule 50']],
    [2 ** 31 + 7, ['rule 51']],
  ]);
  assert.deepEqual(
    looks.map((lines) => lines.length),
    [1, 0, 1],
  );
});

test('of many reasons the first are named and the others counted', () => {
  const reasons = Array.from({ length: 300 }, (_, n) => `rule ${n}`);
  assert.match(told([[0, reasons]])[0]![0]!, /second: rule 0; .*; rule 4; and 295 more\. /);
});
