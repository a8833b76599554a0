// What the keys about health, limits and clients must satisfy together, and which of them have no effect.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { configWarnings } from '../../src/config/rules.ts';
import { conflictsOf, type Plain, parse, sampleService } from './sample.ts';

describe('the keys of one service', () => {
  const exec = { type: 'exec', command: ['/bin/check'] };
  const rows: [name: string, service: Plain, expected: string[]][] = [
    [
      'may ask each type of check its own questions',
      { health: { type: 'udp', send: 'a', expect: '/b/' } },
      [],
    ],
    ['name a command for type exec', { health: exec }, []],
    [
      'must name a command for type exec',
      { health: { type: 'exec' } },
      ['services[0].health.command: is missing, expected the program that type exec runs'],
    ],
    [
      'must name a command for type exec that is not empty',
      { health: { type: 'exec', command: [] } },
      ['services[0].health.command: is missing, expected the program that type exec runs'],
    ],
    [
      'may have a timeout longer than the interval',
      { health: { ...exec, interval: '100ms', timeout: '1s' } },
      [],
    ],
    [
      'may not have a timeout of more than ten intervals',
      { health: { ...exec, interval: '100ms', timeout: '1001ms' } },
      [
        'services[0].health.timeout: 1001ms is not allowed (more than 10 intervals of 100ms), expected at most 1s',
      ],
    ],
    ['may have any timeout without a check', { health: { interval: '100ms', timeout: '60s' } }, []],
    [
      'may not serve and refuse the same prefix',
      { allow: ['198.51.100.0/24', '2001:db8::/32'], deny: ['203.0.113.7', '2001:DB8:0::/32'] },
      ['services[0].deny[1]: 2001:db8::/32 stands at allow[1] too, expected it in one of them'],
    ],
    [
      'may not serve and refuse the same address',
      { allow: ['198.51.100.7'], deny: ['198.51.100.7/32'] },
      ['services[0].deny[0]: 198.51.100.7/32 stands at allow[0] too, expected it in one of them'],
    ],
    ['may refuse a part of what they serve', { allow: ['198.51.100.0/24'], deny: ['198.51.100.0/25'] }, []],
  ];
  for (const [name, service, expected] of rows) {
    it(name, () => assert.deepEqual(conflictsOf(sampleService(service)), expected));
  }
});

describe('a warning', () => {
  const only = (types: string) => `only with ${types}`;
  const checked = { type: 'udp' };
  const rows: [name: string, service: Plain, expected: string[]][] = [
    [
      'is not given for a service with checks',
      { health: { ...checked, send: 'a', expect: 'b', port: 1 } },
      [],
    ],
    ['is not given for type http', { health: { type: 'http', path: '/x', status: 204, port: 80 } }, []],
    [
      'is given for what only udp sends and expects',
      { health: { type: 'tcp', send: 'a', expect: '/b/' } },
      [
        `services[0].health.send: has no effect with type tcp, ${only('udp')}`,
        `services[0].health.expect: has no effect with type tcp, ${only('udp')}`,
      ],
    ],
    [
      'is given for what only http asks for',
      { health: { type: 'udp', path: '/x', status: 204 } },
      [
        `services[0].health.path: has no effect with type udp, ${only('http')}`,
        `services[0].health.status: has no effect with type udp, ${only('http')}`,
      ],
    ],
    [
      'is not given for a default that is written down',
      { health: { type: 'udp', path: '/', status: '200-399' } },
      [],
    ],
    [
      'is given for a command that is not run',
      { health: { type: 'icmp', command: ['/bin/check'] } },
      [`services[0].health.command: has no effect with type icmp, ${only('exec')}`],
    ],
    ...['icmp', 'exec'].map((type): [string, Plain, string[]] => [
      `is given for a port with type ${type}`,
      { health: { type, port: 80, ...(type === 'exec' ? { command: ['/bin/check'] } : {}) } },
      [`services[0].health.port: has no effect with type ${type}, ${only('udp, tcp, http')}`],
    ]),
    [
      'is given for an interval without a check',
      { health: { interval: '1s', fall: 5 } },
      ['interval', 'fall'].map(
        (key) =>
          `services[0].health.${key}: has no effect with type none, ${only('udp, tcp, http, icmp, exec')}`,
      ),
    ],
    [
      'is given for a window in which nothing is counted',
      { health: { ...checked, window: '1m' } },
      ['services[0].health.window: 1m has no effect without health.unreachable or health.silent'],
    ],
    ['is not given for a window of unreachables', { health: { window: '1m', unreachable: 3 } }, []],
    ...['move', 'reset'].map((onDown): [string, Plain, string[]] => [
      `is given for onDown ${onDown} where nothing tells that a server is down`,
      { onDown },
      [
        `services[0].onDown: "${onDown}" never happens: without health.type, health.unreachable or health.silent no real server is ever down`,
      ],
    ]),
    ['is not given for onDown with a check', { onDown: 'move', health: checked }, []],
    ['is not given for onDown with unreachables counted', { onDown: 'move', health: { unreachable: 3 } }, []],
    ['is not given for onDown with silent sessions counted', { onDown: 'reset', health: { silent: 3 } }, []],
    ...['sh', 'mh'].map((scheduler): [string, Plain, string[]] => [
      `is given for persistence with scheduler ${scheduler}`,
      { persistence: '10m', scheduler },
      [
        `services[0].persistence: 10m has no effect: scheduler ${scheduler} sends a client address to the same real server anyway`,
      ],
    ]),
    ['is not given for persistence with another scheduler', { persistence: '10m', scheduler: 'wlc' }, []],
    [
      'is given for limits that another one comes before',
      {
        limits: { sessions: 100, sessionsPerClient: 101, newSessions: 10, newSessionsPerClient: 11 },
      },
      [
        'services[0].limits.sessionsPerClient: 101 is never reached: limits.sessions is 100',
        'services[0].limits.newSessionsPerClient: 11 is never reached: limits.newSessions is 10',
      ],
    ],
    [
      'is given for a limit above what the table holds',
      { limits: { sessions: 5001 } },
      ['services[0].limits.sessions: 5001 is never reached: sessions.max is 5000'],
    ],
    [
      'is given for a limit of a client above what the table holds',
      { limits: { sessionsPerClient: 5001 } },
      ['services[0].limits.sessionsPerClient: 5001 is never reached: sessions.max is 5000'],
    ],
    [
      'is not given for a limit of a client without a limit of all',
      { limits: { newSessionsPerClient: 5 } },
      [],
    ],
    ['is not given for equal limits', { limits: { sessions: 100, sessionsPerClient: 100 } }, []],
    [
      'is given for client prefixes without a limit of a client',
      { limits: { sessions: 100, prefixV4: 24, prefixV6: 48 } },
      [
        ['prefixV4', 24],
        ['prefixV6', 48],
      ].map(
        ([key, bits]) =>
          `services[0].limits.${key}: ${bits} has no effect without limits.sessionsPerClient or limits.newSessionsPerClient`,
      ),
    ],
    ['is not given for client prefixes with one', { limits: { newSessionsPerClient: 5, prefixV4: 24 } }, []],
    [
      'is given for headers of PROXY protocol that no real server is sent',
      { uoa: { proxyV2: 'first' } },
      ['services[0].uoa.proxyV2: first has no effect: no real server of this service is sent proxy-v2'],
    ],
    [
      'is given for rounds of UOA where each datagram brings a header',
      { uoa: { dialect: 'proxy-v2', maxTrials: 1, refresh: '5m', idleRefresh: '400s' } },
      ['maxTrials', 'refresh', 'idleRefresh'].map(
        (key) => `services[0].uoa.${key}: has no effect: with proxyV2 every each datagram brings the header`,
      ),
    ],
    [
      'is not given for them with proxyV2 first',
      { uoa: { dialect: 'proxy-v2', proxyV2: 'first', maxTrials: 1, refresh: '5m' } },
      [],
    ],
    [
      'is given for weights that are all 0 beside a fallback',
      { realServers: [{ ip: '10.2.0.11', port: 6000, weight: 0 }], fallback: '10.2.0.9:6000' },
      ['services[0].realServers: every weight is 0: every new session goes to the fallback'],
    ],
  ];
  for (const [name, service, expected] of rows) {
    it(name, () => {
      const config = parse({ sessions: { max: 5000 }, services: [sampleService(service)] });
      const warnings = configWarnings(config).map(({ path, message }) => `${path}: ${message}`);
      assert.deepEqual(warnings, expected);
    });
  }
});
