// Which dialects a service may name for its real servers. The expected messages are what an operator reads.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
        'services[0].uoa.dialect: "ipo" is not allowed for [fd00:2::11]:6000 and 2 more (no receiver reads ipo over IPv6), expected opp, elb, unified or none, here or as their own dialect',
      ],
    ],
    [
      'is refused where a real server over IPv6 names it',
      { dialect: 'opp' },
      [OVER_IPV4, OVER_IPV6, { ...MORE_OVER_IPV6[0], dialect: 'ipo' }],
      [
        'services[0].realServers[2].dialect: "ipo" is not allowed for [fd00:2::12]:6000 (no receiver reads ipo over IPv6), expected opp, elb, unified or none',
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
        'services[0].uoa.onUnsupported: "opp" is not allowed (with dialect none there is nothing that a real server could not read), expected plain or another dialect',
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
