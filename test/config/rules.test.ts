import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { configWarnings } from '../../src/config/rules.ts';
import { conflictsOf, type Plain, parse, problemsOf, sampleService } from './sample.ts';

/** A second service that has nothing in common with the sample. */
function otherService(overrides: Plain = {}): Plain {
  return sampleService({
    name: 'other',
    vip: '10.1.0.101',
    lips: ['10.2.0.201'],
    realServers: [{ ip: '10.2.0.12', port: 6000 }],
    ...overrides,
  });
}

const SERVER = { ip: '10.2.0.11', port: 6000 };
const SERVER_6 = { ip: 'fd00:2::11', port: 6000 };

/** What a service needs to have a real server over IPv6. */
function overIpv6(overrides: Plain = {}): Plain {
  return { lips: ['fd00:2::200'], uoa: { dialect: 'opp' }, realServers: [SERVER_6], ...overrides };
}

describe('services together', () => {
  const rows: [name: string, services: Plain[], expected: RegExp[]][] = [
    ['two services that share nothing are fine', [sampleService(), otherService()], []],
    [
      'one VIP may serve several vports',
      [sampleService(), otherService({ vip: '10.1.0.100', vport: 6001 })],
      [],
    ],
    [
      'a vip:vport that stands twice is a conflict',
      [sampleService(), otherService({ vip: '10.1.0.100' })],
      [/^services\[1\]\.vport: vip:vport 10\.1\.0\.100:6000 is already used by services\[0\]\.vport/],
    ],
    [
      'a name that stands twice is a conflict',
      [sampleService(), otherService({ name: 'game' })],
      [/^services\[1\]\.name: name game is already used by services\[0\]\.name/],
    ],
    [
      'a name that equals the default name of another service is a conflict',
      [sampleService({ name: undefined }), otherService({ name: '10.1.0.100:6000' })],
      [/^services\[1\]\.name: name 10\.1\.0\.100:6000 is already used/],
    ],
    [
      'a LIP that stands twice in a service is a conflict',
      [sampleService({ lips: ['10.2.0.200', '10.2.0.200'] })],
      [/^services\[0\]\.lips\[1\]: LIP 10\.2\.0\.200 is already used by services\[0\]\.lips\[0\]/],
    ],
    [
      'a real server that stands twice in a service is a conflict',
      [sampleService({ realServers: [SERVER, { ...SERVER, weight: 1 }] })],
      [/^services\[0\]\.realServers\[1\]: real server 10\.2\.0\.11:6000 is already used/],
    ],
    [
      'a real server may have several ports',
      [sampleService({ realServers: [SERVER, { ip: '10.2.0.11', port: 6001 }] })],
      [],
    ],
    [
      "a real server that is another service's VIP is a loop",
      [sampleService(), otherService({ realServers: [{ ip: '10.1.0.100', port: 6000 }] })],
      [/^services\[1\]\.realServers\[0\]: 10\.1\.0\.100:6000 is the VIP of service "game".*loop/],
    ],
    [
      'a real server on a VIP with another port is fine',
      [sampleService({ realServers: [{ ip: '10.1.0.100', port: 6001 }] })],
      [],
    ],
    [
      'a LIP that is a VIP whose vport the lports contain is a conflict',
      [sampleService(), otherService({ lips: ['10.1.0.100'] })],
      [/^services\[1\]\.lips\[0\]: 10\.1\.0\.100 with lports 1024-65535 covers VIP 10\.1\.0\.100:6000/],
    ],
    [
      'a LIP that is a VIP whose vport the lports leave out is fine',
      [sampleService(), otherService({ lips: ['10.1.0.100'], lports: '6001-65535' })],
      [],
    ],
    [
      "a LIP that is a real server's address with its port in the lports is a conflict",
      [sampleService({ lips: ['10.2.0.11'] })],
      [/^services\[0\]\.lips\[0\]: 10\.2\.0\.11 with lports 1024-65535 covers real server 10\.2\.0\.11:6000/],
    ],
    [
      "a LIP that is a real server's address without its port is fine",
      [sampleService({ lips: ['10.2.0.11'], lports: '1024-5999' })],
      [],
    ],
    [
      'services that share a LIP and a real server may share the lports',
      [sampleService(), otherService({ lips: ['10.2.0.200'], realServers: [SERVER] })],
      [],
    ],
    [
      'services that share a LIP and a real server may have disjoint lports',
      [
        sampleService({ lports: '1024-4999' }),
        otherService({ lips: ['10.2.0.200'], realServers: [SERVER], lports: '5000-9999' }),
      ],
      [],
    ],
    [
      'services that share a LIP and a real server must not overlap partly',
      [
        sampleService({ lports: '1024-5000' }),
        otherService({ lips: ['10.2.0.200'], realServers: [SERVER], lports: '5000-9999' }),
      ],
      [
        /^services\[1\]\.lports: 5000-9999 overlaps 1024-5000 of services\[0\], which also sends from 10\.2\.0\.200 to/,
      ],
    ],
    [
      'services may share a VIP of one family and differ in the other',
      [
        sampleService({ vip: ['10.1.0.100', 'fd00:1::100'] }),
        otherService({ vip: ['10.1.0.101', 'fd00:1::101'] }),
      ],
      [],
    ],
    [
      'a vip:vport that stands twice in another notation is a conflict',
      [
        sampleService({ vip: ['10.1.0.100', 'fd00:1::100'] }),
        otherService({ vip: ['10.1.0.101', 'FD00:1:0::0100'] }),
      ],
      [/^services\[1\]\.vport: vip:vport \[fd00:1::100\]:6000 is already used by services\[0\]\.vport/],
    ],
    [
      'a LIP that stands twice in another notation is a conflict',
      [sampleService({ lips: ['10.2.0.200', 'fd00:2::200', 'fd00:2:0:0::200'] })],
      [/^services\[0\]\.lips\[2\]: LIP fd00:2::200 is already used by services\[0\]\.lips\[1\]/],
    ],
    [
      'a real server that stands twice in another notation is a conflict',
      [sampleService(overIpv6({ realServers: [SERVER_6, { ...SERVER_6, ip: 'FD00:2::0:11' }] }))],
      [/^services\[0\]\.realServers\[1\]: real server \[fd00:2::11\]:6000 is already used/],
    ],
    [
      "a real server that is another service's second VIP is a loop",
      [
        sampleService({ vip: ['10.1.0.100', 'fd00:1::100'] }),
        otherService(overIpv6({ realServers: [{ ip: 'fd00:1::100', port: 6000 }] })),
      ],
      [/^services\[1\]\.realServers\[0\]: \[fd00:1::100\]:6000 is the VIP of service "game".*loop/],
    ],
    [
      'a LIP that is a second VIP whose vport the lports contain is a conflict',
      [sampleService({ vip: ['10.1.0.100', 'fd00:1::100'], lips: ['10.2.0.200', 'fd00:1::100'] })],
      [/^services\[0\]\.lips\[1\]: fd00:1::100 with lports 1024-65535 covers VIP \[fd00:1::100\]:6000/],
    ],
    [
      'services that share an IPv6 LIP and real server must not overlap partly',
      [sampleService(overIpv6({ lports: '1024-5000' })), otherService(overIpv6({ lports: '5000-9999' }))],
      [
        /^services\[1\]\.lports: 5000-9999 overlaps .* which also sends from fd00:2::200 to \[fd00:2::11\]:6000/,
      ],
    ],
    [
      'services that share a LIP of one family and a real server of the other may overlap',
      [
        sampleService({ lips: ['10.2.0.200', 'fd00:2::200'], lports: '1024-5000' }),
        otherService({
          lips: ['10.2.0.201', 'fd00:2::200'],
          lports: '5000-9999',
          realServers: [SERVER],
        }),
      ],
      [],
    ],
    [
      "a fallback that is another service's VIP is a loop",
      [sampleService(), otherService({ fallback: '10.1.0.100:6000' })],
      [/^services\[1\]\.fallback: 10\.1\.0\.100:6000 is the VIP of service "game".*loop/],
    ],
    [
      "a fallback that is its own service's VIP is a loop",
      [sampleService({ fallback: '10.1.0.100:6000' })],
      [/^services\[0\]\.fallback: 10\.1\.0\.100:6000 is the VIP of service "game"/],
    ],
    [
      'a fallback on a LIP with its port in the lports is a conflict',
      [sampleService({ fallback: '10.2.0.200:6000' })],
      [/^services\[0\]\.lips\[0\]: 10\.2\.0\.200 with lports 1024-65535 covers fallback 10\.2\.0\.200:6000/],
    ],
    [
      "a fallback that is one of the service's real servers is a conflict",
      [sampleService({ fallback: '10.2.0.11:6000' })],
      [
        /^services\[0\]\.fallback: fallback 10\.2\.0\.11:6000 is already used by services\[0\]\.realServers\[0\]/,
      ],
    ],
    [
      "a fallback may be another service's real server or fallback",
      [
        sampleService({ fallback: '10.2.0.12:6000' }),
        otherService({ fallback: '10.2.0.13:6000' }),
        otherService({ name: 'third', vport: 6001, fallback: '10.2.0.13:6000' }),
      ],
      [],
    ],
    [
      'services that share a LIP and a fallback must not overlap partly',
      [
        sampleService({ lports: '1024-5000', fallback: '10.2.0.13:6000' }),
        otherService({ lips: ['10.2.0.200'], lports: '5000-9999', fallback: '10.2.0.13:6000' }),
      ],
      [
        /^services\[1\]\.lports: 5000-9999 overlaps .* which also sends from 10\.2\.0\.200 to 10\.2\.0\.13:6000/,
      ],
    ],
    [
      'services that share only a LIP may overlap',
      [sampleService({ lports: '1024-5000' }), otherService({ lips: ['10.2.0.200'], lports: '5000-9999' })],
      [],
    ],
  ];
  for (const [name, services, expected] of rows) {
    it(name, () => {
      const conflicts = conflictsOf(...services);
      assert.equal(conflicts.length, expected.length, conflicts.join('\n'));
      for (const [index, pattern] of expected.entries()) assert.match(conflicts[index], pattern);
    });
  }

  it('every conflict is reported at once, also beside a bad key of another service', () => {
    const conflicts = conflictsOf(
      sampleService({ lips: ['10.2.0.11', '10.2.0.11'], realServers: [SERVER, SERVER] }),
      otherService({ vip: '10.1.0.100', name: 'game' }),
      otherService({ vport: 0 }),
    );
    assert.equal(conflicts.length, 7, conflicts.join('\n'));
  });
});

describe('the families of one service', () => {
  const rows: [name: string, service: Plain, expected: RegExp[]][] = [
    ['IPv6 alone is fine', overIpv6({ vip: 'fd00:1::100' }), []],
    ['a VIP over IPv6 for real servers over IPv4 is fine', { vip: 'fd00:1::100' }, []],
    ['a VIP over IPv4 for real servers over IPv6 is fine', overIpv6(), []],
    [
      'a real server over IPv6 needs a LIP over IPv6',
      overIpv6({ lips: ['10.2.0.200'] }),
      [
        /^services\[0\]\.realServers\[0\]\.ip: "fd00:2::11" is not allowed \(every LIP is IPv4\), expected an IPv6 address among the lips too$/,
      ],
    ],
    [
      'a real server over IPv4 needs a LIP over IPv4',
      { lips: ['fd00:2::200'] },
      [/^services\[0\]\.realServers\[0\]\.ip: "10\.2\.0\.11" is not allowed \(every LIP is IPv6\)/],
    ],
    [
      'an mtu below 1280 is too small for a real server over IPv6',
      overIpv6({ mtu: 1279 }),
      [
        /^services\[0\]\.mtu: 1279 is not allowed \(\[fd00:2::11\]:6000 is reached over IPv6\), expected auto \| integer 1280\.\.65535$/,
      ],
    ],
    [
      'a fallback over IPv6 needs a LIP over IPv6',
      { uoa: { dialect: 'opp' }, fallback: '[fd00:2::9]:6000' },
      [
        /^services\[0\]\.fallback: "fd00:2::9" is not allowed \(every LIP is IPv4\), expected an IPv6 address among the lips too$/,
      ],
    ],
    [
      'an mtu below 1280 is too small for a fallback over IPv6',
      {
        lips: ['10.2.0.200', 'fd00:2::200'],
        uoa: { dialect: 'opp' },
        fallback: '[fd00:2::9]:6000',
        mtu: 1279,
      },
      [/^services\[0\]\.mtu: 1279 is not allowed \(\[fd00:2::9\]:6000 is reached over IPv6\)/],
    ],
    ['an mtu of 1280 is enough', overIpv6({ mtu: 1280 }), []],
    ['an mtu below 1280 is fine for clients over IPv6', { vip: 'fd00:1::100', mtu: 576 }, []],
  ];
  for (const [name, service, expected] of rows) {
    it(name, () => {
      const conflicts = conflictsOf(sampleService(service));
      assert.equal(conflicts.length, expected.length, conflicts.join('\n'));
      for (const [index, message] of expected.entries()) assert.match(conflicts[index], message);
    });
  }
});

describe('limits', () => {
  const address = (prefix: string, index: number) => `${prefix}.${index >> 8}.${index & 255}`;
  const manyServers = (count: number, prefix = '10.9') =>
    Array.from({ length: count }, (_, index) => ({ ip: address(prefix, index), port: 6000 }));
  const manyServices = (count: number, one: (index: number) => Plain) =>
    Array.from({ length: count }, (_, index) =>
      sampleService({ name: `s${index}`, vport: 1 + index, ...one(index) }),
    );

  it('1,000 services that share real servers have their lports compared', () => {
    const lips = Array.from({ length: 16 }, (_, index) => address('10.8', index));
    const { services } = parse({
      services: manyServices(1000, () => ({ lips, realServers: manyServers(4) })),
    });
    assert.equal(services.length, 1000);
  });

  it('1,001 services are too many', () => {
    const [problem] = problemsOf({ services: manyServices(1001, () => ({})) });
    assert.equal(problem?.message, 'has 1001 elements, expected a list of 1 to 1000 elements');
  });

  it('4,097 real servers in total are too many', () => {
    const services = manyServices(2, (index) => ({ realServers: manyServers(2048 + index) }));
    assert.deepEqual(conflictsOf(...services), [
      'services: 4097 real servers in total, at most 4096 are allowed',
    ]);
  });

  it('a fallback counts as a real server, and so do its combinations', () => {
    const services = manyServices(2, (index) => ({
      realServers: manyServers(2047 + index),
      fallback: '10.8.255.255:6000',
    }));
    assert.deepEqual(conflictsOf(...services), [
      'services: 4097 real servers in total, at most 4096 are allowed',
    ]);
    const lips = Array.from({ length: 65 }, (_, index) => address('10.8', index));
    assert.deepEqual(
      conflictsOf(sampleService({ lips, realServers: manyServers(1008), fallback: '10.8.255.255:6000' })),
      ['services: 65585 combinations of a LIP and a real server in total, at most 65535 are allowed'],
    );
  });

  it('65,536 combinations of LIP and real server are too many', () => {
    const lips = Array.from({ length: 64 }, (_, index) => address('10.8', index));
    assert.deepEqual(conflictsOf(sampleService({ lips, realServers: manyServers(1024) })), [
      'services: 65536 combinations of a LIP and a real server in total, at most 65535 are allowed',
    ]);
  });

  it('combinations of two families are none', () => {
    const lips = Array.from({ length: 64 }, (_, index) => address('10.8', index));
    const lips6 = Array.from({ length: 64 }, (_, index) => `fd00:8::${index}`);
    const realServers = [...manyServers(1000), { ip: 'fd00:2::11', port: 6000, dialect: 'opp' }];
    assert.deepEqual(conflictsOf(sampleService({ lips: [...lips, ...lips6], realServers })), []);
  });
});

describe('a warning', () => {
  it('is given for a service whose weights are all 0, which is allowed', () => {
    const config = parse({ services: [sampleService({ realServers: [{ ...SERVER, weight: 0 }] })] });
    const [warning, ...more] = configWarnings(config);
    assert.equal(warning?.path, 'services[0].realServers');
    assert.match(warning.message, /no new session/);
    assert.deepEqual(more, []);
  });

  it('is given for an idleRefresh that comes after receivers forgot the client', () => {
    const config = parse({ services: [sampleService({ uoa: { idleRefresh: '360s' } })] });
    assert.equal(configWarnings(config)[0]?.path, 'services[0].uoa.idleRefresh');
  });

  it('is given for an admin address that other machines can reach, unless they must bring a token', () => {
    const listen = '0.0.0.0:9464';
    const open = parse({ admin: { listen }, services: [sampleService()] });
    assert.equal(configWarnings(open)[0]?.path, 'admin.listen');
    const guarded = parse({ admin: { listen, tokenFile: '/etc/token' }, services: [sampleService()] });
    assert.deepEqual(configWarnings(guarded), []);
  });

  it('is given for a unifiedType where unified is never sent', () => {
    const unused = parse({ services: [sampleService({ uoa: { unifiedType: 30 } })] });
    assert.equal(configWarnings(unused)[0]?.path, 'services[0].uoa.unifiedType');
    const used = parse({ services: [sampleService({ uoa: { unifiedType: 30, onUnsupported: 'unified' } })] });
    assert.deepEqual(configWarnings(used), []);
  });

  it('is not given for the defaults', () => {
    assert.deepEqual(configWarnings(parse({ services: [sampleService()] })), []);
  });
});
