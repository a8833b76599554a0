import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/problem.ts';
import { problemsOfText } from './sample.ts';

const VALID = `services:
  - vip: 10.1.0.100
    vport: 6000
    lips: [10.2.0.200]
    realServers:
      - { ip: 10.2.0.11, port: 6000 }
`;

describe('a problem', () => {
  it('has the line and column of the key it is about', () => {
    const text = VALID.replace('vport: 6000', 'vport: 70000').concat('io:\n  mode: fast\n');
    assert.deepEqual(
      problemsOfText(text).map(({ path, line, column }) => ({ path, line, column })),
      [
        { path: 'services[0].vport', line: 3, column: 5 },
        { path: 'io.mode', line: 8, column: 3 },
      ],
    );
  });

  it('has the line of the map that lacks a required key', () => {
    const [problem] = problemsOfText(VALID.replace('    vport: 6000\n', ''));
    assert.deepEqual([problem?.path, problem?.line], ['services[0].vport', 2]);
  });

  it('has the line of the list element it is about', () => {
    const [problem] = problemsOfText(
      VALID.replace('[10.2.0.200]', '\n      - 10.2.0.200\n      - 10.2.0.300'),
    );
    assert.deepEqual([problem?.path, problem?.line], ['services[0].lips[1]', 6]);
  });

  it('has the line of an unknown key', () => {
    const [problem] = problemsOfText(`${VALID}sessoins: 5\n`);
    assert.deepEqual([problem?.path, problem?.line], ['sessoins', 7]);
  });

  it('is one line with place, value and what is allowed', () => {
    const [problem] = problemsOfText(VALID.replace('6000', '0'));
    assert.equal(
      formatProblem(problem),
      'line 3: services[0].vport: 0 is not allowed, expected integer 1..65535',
    );
  });

  it('quotes a long value in part', () => {
    const [problem] = problemsOfText(VALID.replace('10.1.0.100', 'x'.repeat(500)));
    assert.ok(problem.message.length < 150);
  });
});

describe('YAML', () => {
  const rows: [name: string, text: string, line: number | undefined, message: RegExp][] = [
    ['that cannot be parsed is an error with its line', `${VALID}io: { mode: auto\n`, 8, /not valid YAML/],
    [
      'with a key twice is an error',
      `${VALID}log: {}\nlog: {}\n`,
      8,
      /the key log stands twice in this map, first in line 7/,
    ],
    ['with an unknown tag is an error', `${VALID}io: !fast {}\n`, 7, /Unresolved tag/],
    ['with two documents is an error', `${VALID}---\n${VALID}`, 7, /a second YAML document/],
    ['with an unresolved alias is an error', `${VALID}io: *none\n`, undefined, /not valid YAML/],
    ['that contains itself is an error', 'services: &a [*a]\n', 1, /is not allowed/],
    ['that is empty lacks services', '', undefined, /is missing, expected a list/],
    ['that is no map is an error', '- 1\n', 1, /expected a map of keys/],
  ];
  for (const [name, text, line, message] of rows) {
    it(name, () => {
      const [problem] = problemsOfText(text);
      assert.match(problem?.message ?? '', message);
      if (line !== undefined) assert.equal(problem?.line, line);
    });
  }

  it('with a million copies by aliases is refused', () => {
    const levels = Array.from(
      { length: 9 },
      (_, i) => `l${i + 1}: &l${i + 1} [${'*l0, '.replace('0', String(i)).repeat(9)}]`,
    );
    assert.match(problemsOfText(`l0: &l0 [x]\n${levels.join('\n')}\n`)[0].message, /not valid YAML/);
  });

  it('may use anchors and merge keys to repeat settings', () => {
    const text = VALID.replace('services:', 'services:\n  - &game').replace('game\n  - vip', 'game\n    vip');
    const config = parseConfig(`${text}  - <<: *game\n    vport: 6001\n`, 'anchors.yaml');
    assert.deepEqual(
      config.services.map(({ name }) => name),
      ['10.1.0.100:6000', '10.1.0.100:6001'],
    );
  });
});

describe('a file', () => {
  it('that does not exist is a ConfigError without a stack of causes in its text', () => {
    assert.throws(
      () => loadConfig('/nonexistent/uoa.yaml'),
      (error) =>
        error instanceof ConfigError && error.message === '/nonexistent/uoa.yaml: 1 problem\n  no such file',
    );
  });

  it('that is a directory is a ConfigError', () => {
    assert.throws(() => loadConfig(tmpdir()), { name: 'ConfigError', message: /is a directory/ });
  });

  it('with problems names itself and all of them in the message', () => {
    const folder = mkdtempSync(join(tmpdir(), 'uoa-proxy-'));
    try {
      const path = join(folder, 'bad.yaml');
      writeFileSync(path, VALID.replaceAll('6000', '0'));
      assert.throws(() => loadConfig(path), {
        name: 'ConfigError',
        message: `${path}: 2 problems
  line 3: services[0].vport: 0 is not allowed, expected integer 1..65535
  line 6: services[0].realServers[0].port: 0 is not allowed, expected integer 1..65535`,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
