// What `check` says of the mistakes that people make: the message tells what was probably meant.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { conflictsOf, problemsOf, problemsOfText, sampleService } from './sample.ts';

/** A service in block style; `line` takes the place of its third line. */
const withLine3 = (line: string): string => `services:
  - vip: 10.1.0.100
${line}
    vport: 6000
    lips: [10.2.0.200]
    realServers:
      - { ip: 10.2.0.11, port: 6000 }
`;

describe('YAML that is not right', () => {
  const rows: [name: string, text: string, told: [line: number, message: RegExp][]][] = [
    [
      'with a key twice names the key and its first line',
      withLine3('    vport: 6001'),
      [[4, /^the key vport stands twice in this map, first in line 3$/]],
    ],
    [
      'with two keys twice names both',
      `${withLine3('    vport: 6001')}log: {}\nlog: {}\n`,
      [
        [4, /^the key vport .* line 3$/],
        [9, /^the key log .* line 8$/],
      ],
    ],
    [
      'with tabs in each line is one problem',
      withLine3('').replaceAll('    ', '\t'),
      [[4, /^a tab stands in the indentation, expected spaces$/]],
    ],
    [
      'with one line indented too little is one problem',
      withLine3('   name: game'),
      [[3, /not indented like its map/]],
    ],
    [
      'with one line indented too far is one problem',
      withLine3('      name: game'),
      [[2, /the next line is indented too far/]],
    ],
    [
      'with an alias of nothing has its line',
      withLine3('    name: *nobody'),
      [[3, /^not valid YAML: the alias \*nobody has no anchor &nobody before it$/]],
    ],
    [
      'with a merge key of no map has its line',
      withLine3('    <<: 5'),
      [[3, /^<< takes a map, or aliases of maps$/]],
    ],
    [
      'that grows by aliases has the line of the first alias',
      `a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n${[...'bcdefghi'].map((key, i) => `${key}: &${key} [${Array(9).fill(`*${'abcdefgh'[i]}`)}]\n`).join('')}`,
      [[2, /^not valid YAML: Excessive alias count/]],
    ],
  ];
  for (const [name, text, told] of rows) {
    it(name, () => {
      const problems = problemsOfText(text);
      assert.equal(problems.length, told.length, JSON.stringify(problems));
      for (const [i, [line, message]] of told.entries()) {
        assert.equal(problems[i].line, line);
        assert.match(problems[i].message, message);
      }
    });
  }

  it('with a thousand keys twice tells of twenty, and how many more there are', () => {
    const problems = problemsOfText(
      `${Array.from({ length: 1000 }, (_, i) => `k${i}: 1\nk${i}: 1\n`).join('')}`,
    );
    assert.equal(problems.length, 21);
    assert.match(problems[20].message, /^980 more problems/);
  });
});

describe('a value that is not allowed', () => {
  const rows: [key: string, value: unknown, hint: string][] = [
    ['vport', '6000', 'a number stands without quotes'],
    ['mtu', '1400', 'a number stands without quotes'],
    ['vport', 60.5, 'it is no whole number'],
    ['lports', '2000 - 3000', 'write 2000-3000'],
    ['lports', '2000:3000', 'write 2000-3000'],
    ['vip', '10.1.0.100/32', 'an address, not a prefix: 10.1.0.100 without /32'],
    [
      'vip',
      ['10.1.0.100/32'],
      '"10.1.0.100/32" is no unicast IPv4 or IPv6 address: an address, not a prefix: 10.1.0.100 without /32',
    ],
    ['vip', 'fd00::1/64', 'an address, not a prefix: fd00::1 without /64'],
    ['vip', '10.1.0.100:6000', 'a port has a key of its own: 10.1.0.100 without 6000'],
    ['vip', '[fd00::1]:6000', 'a port has a key of its own: fd00::1 without 6000'],
    ['vip', 'game.example.com', 'names are not looked up, because what they stand for can change'],
    ['vip', 'localhost', 'names are not looked up, because what they stand for can change'],
    ['fallback', '10.2.0.9', 'the port is missing, as 10.2.0.9:6000'],
    ['fallback', 'fd00::9', 'the port is missing, as [fd00::9]:6000'],
    ['fallback', 'game:6000', 'names are not looked up, because what they stand for can change'],
    ['fallback', 6000, 'the address is missing'],
    ['persistence', 30, 'it has no unit, as 30s or 30ms'],
    ['persistence', '30', 'it has no unit, as 30s or 30ms'],
    ['persistence', '5 min', 'write 5m'],
    ['persistence', '1d', 'write 24h'],
    ['persistence', 1.5, 'only whole numbers, and a unit'],
    ['scheduler', 'RR', 'did you mean rr?'],
    ['onDown', 'mov', 'did you mean move?'],
    ['deny', ['10.0.0.0/255.0.0.0'], 'a length, as /24, not a mask'],
  ];
  for (const [key, value, hint] of rows) {
    it(`has a hint: ${key} ${JSON.stringify(value)}`, () => {
      const [problem, ...others] = problemsOf({ services: [sampleService({ [key]: value })] });
      assert.deepEqual(others, []);
      assert.ok(problem?.message.includes(` is not allowed (${hint}), expected `), problem?.message);
    });
  }

  const io: [key: string, value: unknown, hint: string][] = [
    ['assignAddresses', 'true', 'true stands without quotes'],
    ['assignAddresses', 'yes', 'write true'],
    ['assignAddresses', 'off', 'write false'],
    ['bufferSize', '64 MiB', 'write 64MiB'],
    ['bufferSize', '64M', 'write 64MB'],
    ['workers', '2', 'a number stands without quotes'],
    ['mode', 'rings', 'did you mean ring?'],
  ];
  for (const [key, value, hint] of io) {
    it(`has a hint: io.${key} ${JSON.stringify(value)}`, () => {
      const [problem] = problemsOf({ services: [sampleService()], io: { [key]: value } });
      assert.ok(problem?.message.includes(` is not allowed (${hint}), expected `), problem?.message);
    });
  }

  it('has no hint to something that is not allowed either', () => {
    const [problem] = problemsOf({ services: [sampleService({ persistence: '2d' })] });
    assert.match(problem.message, /^"2d" is not allowed, expected duration 0s\.\.24h/);
  });
});

describe('a default that is to blame', () => {
  const overIpv6 = { lips: ['fd00::2'], realServers: [{ ip: 'fd00::1', port: 6000 }] };

  it('is named: the dialect', () => {
    const [problem] = conflictsOf(sampleService(overIpv6));
    assert.match(problem, /\(services\[0\]\.uoa\.dialect is not set, that is its default\)$/);
  });

  it('is not named where the file says the same', () => {
    const [problem] = conflictsOf(sampleService({ ...overIpv6, uoa: { dialect: 'ipo' } }));
    assert.match(problem, /here or as their own dialect$/);
  });

  it('is named: lports that cover a VIP', () => {
    const [problem] = conflictsOf(sampleService({ lips: ['10.1.0.100'] }));
    assert.match(problem, /covers VIP .* \(services\[0\]\.lports is not set, that is its default\)$/);
  });

  it('is named: lports that overlap those of another service', () => {
    const other = sampleService({ name: 'other', vport: 6001, lports: '2000-3000' });
    const [problem] = conflictsOf(sampleService(), other);
    assert.match(
      problem,
      /^services\[1\]\.lports: .* \(services\[0\]\.lports is not set, that is its default\)$/,
    );
  });

  it('is named: a check that takes longer than ten intervals', () => {
    const [problem] = conflictsOf(
      sampleService({ health: { type: 'icmp', interval: '100ms', timeout: '2s' } }),
    );
    assert.match(problem, /expected at most 1s$/);
    const [byDefault] = conflictsOf(sampleService({ health: { type: 'icmp', timeout: '30s' } }));
    assert.match(byDefault, /\(services\[0\]\.health\.interval is not set, that is its default\)$/);
  });

  it('is named: one dialect of two that a host cannot have together', () => {
    const unified = sampleService({ name: 'other', vport: 6001, uoa: { dialect: 'unified' } });
    const [problem] = conflictsOf(sampleService(), unified);
    assert.match(problem, /\(services\[0\]\.uoa\.dialect is not set, that is its default\)$/);
  });
});
