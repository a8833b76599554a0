// Which dialects a service may name for its real servers. The expected messages are what an operator reads.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { UOA_DIALECTS } from '../../src/uoa/dialect.ts';
import { conflictsOf, type Plain, sampleService } from './sample.ts';

const LIPS = ['10.2.0.200', 'fd00:2::200'];
const OVER_IPV4 = { ip: '10.2.0.11', port: 6000 };
const OVER_IPV6 = { ip: 'fd00:2::11', port: 6000 };
const MORE_OVER_IPV6 = [12, 13].map((last) => ({ ip: `fd00:2::${last}`, port: 6000 }));

type Row = [name: string, uoa: Plain, realServers: Plain[], expected: string[]];

function check(rows: readonly Row[]): void {
  for (const [name, uoa, realServers, expected] of rows) {
    it(name, () => {
      const families = new Set(realServers.map(({ ip }) => String(ip).includes(':')));
      const lips = LIPS.filter((lip) => families.has(lip.includes(':')));
      assert.deepEqual(conflictsOf(sampleService({ lips, uoa, realServers })), expected);
    });
  }
}

describe('ipo', () => {
  check([
    ['is fine over IPv4', { dialect: 'ipo' }, [OVER_IPV4], []],
    [
      'is refused for all real servers over IPv6 that have the dialect of the service',
      {},
      [OVER_IPV6, OVER_IPV4, ...MORE_OVER_IPV6],
      [
        'services[0].uoa.dialect: "ipo" is not allowed for [fd00:2::11]:6000 and 2 more (no receiver reads ipo over IPv6), expected opp, elb, unified, proxy-v2 or none, here or as their own dialect (services[0].uoa.dialect is not set, that is its default)',
      ],
    ],
    [
      'is refused where a real server over IPv6 names it',
      { dialect: 'opp' },
      [OVER_IPV4, OVER_IPV6, { ...MORE_OVER_IPV6[0], dialect: 'ipo' }],
      [
        'services[0].realServers[2].dialect: "ipo" is not allowed for [fd00:2::12]:6000 (no receiver reads ipo over IPv6), expected opp, elb, unified, proxy-v2 or none',
      ],
    ],
    [
      'is fine for the service when each real server over IPv6 has another',
      { dialect: 'ipo' },
      [OVER_IPV4, { ...OVER_IPV6, dialect: 'elb' }, { ...MORE_OVER_IPV6[0], dialect: 'none' }],
      [],
    ],
    [
      'is refused as what a real server over IPv6 falls back to',
      { dialect: 'opp', onUnsupported: 'ipo' },
      [OVER_IPV4, OVER_IPV6],
      [
        'services[0].uoa.onUnsupported: "ipo" is not allowed for [fd00:2::11]:6000 (no receiver reads ipo over IPv6), expected plain, opp, elb or unified',
      ],
    ],
    [
      'is fine to fall back to beside a real server over IPv6 that gets no UOA',
      { dialect: 'opp', onUnsupported: 'ipo' },
      [OVER_IPV4, { ...OVER_IPV6, dialect: 'none' }],
      [],
    ],
  ]);
});

describe('the dialect of a fallback', () => {
  const over = (fallback: string, uoa: Plain, realServers: Plain[] = [OVER_IPV4]) =>
    conflictsOf(sampleService({ lips: LIPS, uoa, realServers, fallback }));

  it("is the service's, so ipo is refused over IPv6", () => {
    assert.deepEqual(over('[fd00:2::9]:6000', {}), [
      'services[0].uoa.dialect: "ipo" is not allowed for [fd00:2::9]:6000 (no receiver reads ipo over IPv6), expected opp, elb, unified, proxy-v2 or none (services[0].uoa.dialect is not set, that is its default)',
    ]);
    assert.deepEqual(over('[fd00:2::9]:6000', { dialect: 'opp' }), []);
    assert.deepEqual(over('10.2.0.9:6000', {}), []);
  });

  it('must not be option 31 in another meaning than that of a real server on its host', () => {
    const unified = { ...OVER_IPV4, dialect: 'unified' };
    assert.match(
      over('10.2.0.11:7000', {}, [unified])[0] ?? '',
      /^services\[0\]\.fallback: "ipo" is not allowed for/,
    );
    assert.deepEqual(over('10.2.0.9:7000', {}, [unified]), []);
  });

  it('can be the only one that falls back to onUnsupported', () => {
    const none = { ...OVER_IPV4, dialect: 'none' };
    assert.deepEqual(over('10.2.0.9:6000', { dialect: 'opp', onUnsupported: 'elb' }, [none]), []);
  });
});

describe('onUnsupported', () => {
  check([
    ['may be any other dialect', { dialect: 'opp', onUnsupported: 'unified' }, [OVER_IPV4, OVER_IPV6], []],
    ['may be plain with any dialect', { dialect: 'none', onUnsupported: 'plain' }, [OVER_IPV4], []],
    [
      'is refused when it is the dialect of the service',
      { dialect: 'opp', onUnsupported: 'opp' },
      [OVER_IPV4],
      [
        'services[0].uoa.onUnsupported: "opp" is not allowed (10.2.0.11:6000 is sent that already; over IPv4 ipo and elb are the same), expected plain or another dialect',
      ],
    ],
    [
      "may be one real server's own dialect while another can fall back to it",
      { dialect: 'opp', onUnsupported: 'elb' },
      [OVER_IPV4, { ...OVER_IPV6, dialect: 'elb' }],
      [],
    ],
    [
      'is refused when it is the same over IPv4',
      { dialect: 'ipo', onUnsupported: 'elb' },
      [OVER_IPV4],
      [
        'services[0].uoa.onUnsupported: "elb" is not allowed (10.2.0.11:6000 is sent that already; over IPv4 ipo and elb are the same), expected plain or another dialect',
      ],
    ],
    [
      'is refused when no real server gets a UOA',
      { dialect: 'none', onUnsupported: 'opp' },
      [OVER_IPV4],
      [
        'services[0].uoa.onUnsupported: "opp" is not allowed (with dialect none there is nothing that a real server can say it cannot read), expected plain or another dialect',
      ],
    ],
    [
      'may be a dialect when some real server gets a UOA',
      { dialect: 'none', onUnsupported: 'opp' },
      [OVER_IPV4, { ...OVER_IPV6, dialect: 'elb' }],
      [],
    ],
  ]);
});

const MIXED =
  '(both are option 31, and a receiver of one can be brought down by the other), expected one of them for the whole host, or uoa.unifiedType 30 for unified';

/** Two services of different ports, as their `uoa` and their real servers. */
type Pair = [name: string, first: [Plain, Plain[]], second: [Plain, Plain[]], expected: string[]];

function checkPairs(rows: readonly Pair[]): void {
  for (const [name, first, second, expected] of rows) {
    it(name, () => {
      const services = [first, second].map(([uoa, realServers], index) =>
        sampleService({
          name: `game${index}`,
          vport: 6000 + index,
          lips: realServers.some(({ ip }) => String(ip).includes(':')) ? LIPS.slice(1) : LIPS.slice(0, 1),
          lports: `${20_000 + index * 1000}-${20_999 + index * 1000}`,
          uoa,
          realServers,
        }),
      );
      assert.deepEqual(conflictsOf(...services), expected);
    });
  }
}

const AT = { 4: { ip: '10.2.0.11', port: 7000 }, 6: { ip: 'fd00:2::11', port: 7000 } };
const refused = (path: string, dialect: string, ip: string, other: string) =>
  `${path}: "${dialect}" is not allowed for ${ip}, which is sent "${other}" too ${MIXED}`;

describe('option 31 in two meanings for one host', () => {
  checkPairs([
    [
      'is refused for ipo in one service and unified in another, on whatever ports',
      [{ dialect: 'ipo' }, [OVER_IPV4]],
      [{ dialect: 'unified' }, [AT[4]]],
      [refused('services[1].realServers[0]', 'unified', '10.2.0.11', 'ipo')],
    ],
    [
      'is refused the other way round',
      [{ dialect: 'unified' }, [OVER_IPV4]],
      [{ dialect: 'elb' }, [AT[4]]],
      [refused('services[1].realServers[0]', 'elb', '10.2.0.11', 'unified')],
    ],
    [
      'is refused over IPv6',
      [{ dialect: 'elb' }, [OVER_IPV6]],
      [{ dialect: 'unified' }, [AT[6]]],
      [refused('services[1].realServers[0]', 'unified', 'fd00:2::11', 'elb')],
    ],
    [
      'is refused for each server of the second service that the first has too',
      [{ dialect: 'elb' }, [OVER_IPV6, MORE_OVER_IPV6[0]]],
      [{ dialect: 'unified' }, [AT[6], { ...MORE_OVER_IPV6[0], port: 7000 }, MORE_OVER_IPV6[1]]],
      [
        refused('services[1].realServers[0]', 'unified', 'fd00:2::11', 'elb'),
        refused('services[1].realServers[1]', 'unified', 'fd00:2::12', 'elb'),
      ],
    ],
    [
      'is refused as a fallback of another service',
      [{ dialect: 'opp', onUnsupported: 'unified' }, [OVER_IPV4]],
      [{ dialect: 'ipo' }, [AT[4]]],
      [refused('services[1].realServers[0]', 'ipo', '10.2.0.11', 'unified')],
    ],
    [
      'is refused as two fallbacks',
      [{ dialect: 'opp', onUnsupported: 'unified' }, [OVER_IPV6]],
      [{ dialect: 'opp', onUnsupported: 'elb' }, [AT[6]]],
      [refused('services[1].uoa.onUnsupported', 'elb', 'fd00:2::11', 'unified')],
    ],
    [
      'is allowed with type 30 for unified in either place',
      [{ dialect: 'unified', unifiedType: 30 }, [OVER_IPV4]],
      [{ dialect: 'ipo', onUnsupported: 'unified', unifiedType: 30 }, [AT[4]]],
      [],
    ],
    [
      'is allowed over IPv6 with type 30',
      [{ dialect: 'unified', unifiedType: 30 }, [OVER_IPV6]],
      [{ dialect: 'elb' }, [AT[6]]],
      [],
    ],
    [
      'is not: ipo and elb are one meaning, and so is unified of both types',
      [{ dialect: 'ipo' }, [OVER_IPV4, { ip: '10.2.0.12', port: 6000, dialect: 'unified' }]],
      [{ dialect: 'elb', unifiedType: 30 }, [AT[4], { ip: '10.2.0.12', port: 7000, dialect: 'unified' }]],
      [],
    ],
    ['is not: opp beside ipo', [{ dialect: 'opp' }, [OVER_IPV4]], [{ dialect: 'ipo' }, [AT[4]]], []],
    ['is not: opp beside unified', [{ dialect: 'unified' }, [OVER_IPV4]], [{ dialect: 'opp' }, [AT[4]]], []],
    [
      'is not: none beside unified',
      [{ dialect: 'unified' }, [OVER_IPV4]],
      [{ dialect: 'none' }, [AT[4]]],
      [],
    ],
    [
      'is not: a real server with dialect none falls back to nothing',
      [{ dialect: 'unified' }, [OVER_IPV4]],
      [
        { dialect: 'opp', onUnsupported: 'elb' },
        [
          { ...AT[4], dialect: 'none' },
          { ip: '10.2.0.12', port: 6000 },
        ],
      ],
      [],
    ],
    [
      'is not: other hosts',
      [{ dialect: 'ipo' }, [OVER_IPV4]],
      [{ dialect: 'unified' }, [{ ip: '10.2.0.12', port: 6000 }]],
      [],
    ],
  ]);

  check([
    [
      'is refused within a service, for real servers of their own dialect',
      { dialect: 'ipo' },
      [OVER_IPV4, { ...AT[4], dialect: 'unified' }],
      [refused('services[0].realServers[1]', 'unified', '10.2.0.11', 'ipo')],
    ],
    [
      'is refused as what a dialect falls back to, once for each host',
      { dialect: 'elb', onUnsupported: 'unified' },
      [OVER_IPV4, AT[4], OVER_IPV6],
      [
        refused('services[0].uoa.onUnsupported', 'unified', '10.2.0.11', 'elb'),
        refused('services[0].uoa.onUnsupported', 'unified', 'fd00:2::11', 'elb'),
      ],
    ],
    [
      'is refused the other way round',
      { dialect: 'unified', onUnsupported: 'ipo' },
      [OVER_IPV4],
      [refused('services[0].uoa.onUnsupported', 'ipo', '10.2.0.11', 'unified')],
    ],
    [
      'is allowed with type 30',
      { dialect: 'ipo', onUnsupported: 'unified', unifiedType: 30 },
      [OVER_IPV4],
      [],
    ],
    ['is not: opp falls back to either', { dialect: 'opp', onUnsupported: 'ipo' }, [OVER_IPV4], []],
  ]);
});

describe('proxy-v2', () => {
  check([
    ['is fine over either family', { dialect: 'proxy-v2' }, [OVER_IPV4, OVER_IPV6], []],
    [
      'is fine beside any other dialect and its fallback',
      { dialect: 'opp', onUnsupported: 'elb' },
      [OVER_IPV4, { ip: '10.2.0.12', port: 6000, dialect: 'proxy-v2' }],
      [],
    ],
    [
      'falls back to nothing, because no real server can say that it cannot read it',
      { dialect: 'proxy-v2', onUnsupported: 'ipo' },
      [OVER_IPV4, { ...OVER_IPV6, dialect: 'none' }],
      [
        'services[0].uoa.onUnsupported: "ipo" is not allowed (with dialect proxy-v2 or none there is nothing that a real server can say it cannot read), expected plain or another dialect',
      ],
    ],
    [
      'is not what others fall back to where no receiver reads these',
      { dialect: 'opp', onUnsupported: 'ipo' },
      [OVER_IPV6, { ...MORE_OVER_IPV6[0], dialect: 'proxy-v2' }],
      [
        'services[0].uoa.onUnsupported: "ipo" is not allowed for [fd00:2::11]:6000 (no receiver reads ipo over IPv6), expected plain, opp, elb or unified',
      ],
    ],
    [
      'is refused with maxTrials 0',
      { dialect: 'ipo', maxTrials: 0 },
      [OVER_IPV4, { ip: '10.2.0.12', port: 6000, dialect: 'proxy-v2' }],
      [
        'services[0].uoa.maxTrials: 0 is not allowed for 10.2.0.12:6000 (it turns UOA off, and dialect proxy-v2 is a header that its program expects), expected 1 or more, or dialect none',
      ],
    ],
  ]);
});

describe('the dialect names of the config', () => {
  const refusal = (uoa: Plain) =>
    conflictsOf(sampleService({ uoa })).map((text) => text.split('expected ')[1]);

  it('are those that the datapath can write, in its order, and none', () => {
    assert.deepEqual(refusal({ dialect: 'toa' }), [[...UOA_DIALECTS, 'none'].join(' | ')]);
  });

  it('are those that a real server can refuse, and plain, to fall back to', () => {
    const refusable = UOA_DIALECTS.filter((dialect) => dialect !== 'proxy-v2');
    assert.deepEqual(refusal({ onUnsupported: 'toa' }), [['plain', ...refusable].join(' | ')]);
  });
});
