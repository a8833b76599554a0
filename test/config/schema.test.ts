import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatAddress, parseAddressInto } from '../../src/wire/address.ts';
import { type Plain, parse, problemsOf, sampleService } from './sample.ts';

/** Sets `value` at a dotted path of a valid config, creating groups on the way. */
function withKey(path: string, value: unknown): Plain {
  const config: Plain = { services: [sampleService()] };
  const steps = path.split('.');
  const last = steps.pop()!;
  let at: Plain = config;
  for (const step of steps) {
    at[step] ??= last === '0' && step === steps.at(-1) ? [] : {};
    at = at[step] as Plain;
  }
  at[last] = value;
  return config;
}

const SERVICE = 'services.0';
const REAL_SERVER = 'services.0.realServers.0';
const HEALTH = 'services.0.health';

/** As Buffer, which is how a payload is read. */
const bytesOf = (...bytes: number[]): Uint8Array => Buffer.from(bytes);

describe('a config that is as small as can be', () => {
  it('has every default', () => {
    const { vip, vport, lips, realServers } = sampleService();
    const config = parse({ services: [{ vip, vport, lips, realServers }] });
    assert.deepEqual(config, {
      io: {
        mode: 'auto',
        assignAddresses: false,
        workers: 'auto',
        busyPoll: false,
        fastPath: 'auto',
        bufferSize: 67_108_864,
      },
      admin: { listen: { host: '127.0.0.1', port: 9464 }, hosts: [] },
      log: { level: 'info', format: 'auto' },
      sessions: { max: 1_000_000, onewayShare: 25, lportReserve: 10 },
      services: [
        {
          name: '10.1.0.100:6000',
          vip: ['10.1.0.100'],
          vport: 6000,
          lips: ['10.2.0.200'],
          lports: { first: 1024, last: 65_535 },
          scheduler: 'rr',
          persistence: 0,
          health: {
            type: 'none',
            interval: 2000,
            timeout: 1000,
            rise: 2,
            fall: 3,
            jitter: 10,
            path: '/',
            status: { first: 200, last: 399 },
            command: [],
            unreachable: 0,
            silent: 0,
            window: 10_000,
          },
          onDown: 'keep',
          drainTimeout: 300_000,
          limits: {
            sessions: 0,
            sessionsPerClient: 0,
            newSessions: 0,
            newSessionsPerClient: 0,
            prefixV4: 32,
            prefixV6: 64,
          },
          allow: [],
          deny: [],
          timeouts: { oneway: 300_000, normal: 300_000 },
          uoa: {
            dialect: 'ipo',
            unifiedType: 31,
            onUnsupported: 'plain',
            proxyV2: 'every',
            maxTrials: 3,
            carriage: 'auto',
            refresh: 'auto',
            idleRefresh: 120_000,
          },
          mtu: 'auto',
          realServers: [{ ip: '10.2.0.11', port: 6000, weight: 100 }],
        },
      ],
    });
  });
});

describe('each key', () => {
  const accepted: [path: string, raw: unknown, value: unknown][] = [
    ['io.mode', 'pcap', 'pcap'],
    ['io.mode', 'ring', 'ring'],
    ['io.workers', 'auto', 'auto'],
    ['io.workers', 64, 64],
    ['io.busyPoll', true, true],
    ['io.fastPath', 'tc', 'tc'],
    ['io.wan', 'eth0.100', 'eth0.100'],
    ['io.bufferSize', '1MiB', 1_048_576],
    ['io.bufferSize', '16MB', 16_000_000],
    ['io.bufferSize', '2GiB', 2_147_483_648],
    ['io.bufferSize', 5_000_000, 5_000_000],
    ['io.bufferSize', '5000000', 5_000_000],
    ['admin.listen', '0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['admin.listen', '[::1]:9464', { host: '::1', port: 9464 }],
    ['sessions.max', 16_000_000, 16_000_000],
    ['sessions.onewayShare', 100, 100],
    ['sessions.lportReserve', 0, 0],
    ['sessions.stateFile', '/var/lib/uoa-proxy/sessions', '/var/lib/uoa-proxy/sessions'],
    ['admin.tokenFile', '/etc/uoa proxy/token', '/etc/uoa proxy/token'],
    [`${SERVICE}.scheduler`, 'mh', 'mh'],
    [`${SERVICE}.persistence`, '10m', 600_000],
    [`${SERVICE}.onDown`, 'reset', 'reset'],
    [`${SERVICE}.drainTimeout`, '0s', 0],
    [`${SERVICE}.fallback`, '10.2.0.9:6000', { ip: '10.2.0.9', port: 6000 }],
    [`${SERVICE}.fallback`, '10.2.0.9:65535', { ip: '10.2.0.9', port: 65_535 }],
    [`${SERVICE}.limits.prefixV4`, 8, 8],
    [`${SERVICE}.limits.newSessions`, 10_000_000, 10_000_000],
    [`${SERVICE}.allow`, [], []],
    [`${SERVICE}.allow`, ['198.51.100.0/24'], ['198.51.100.0/24']],
    [`${SERVICE}.allow`, ['198.51.100.7', '2001:DB8::7'], ['198.51.100.7/32', '2001:db8::7/128']],
    [`${SERVICE}.allow`, ['0.0.0.0/0', '::/0'], ['0.0.0.0/0', '::/0']],
    [`${SERVICE}.deny`, ['2001:DB8:0::/32', '198.51.100.128/25'], ['2001:db8::/32', '198.51.100.128/25']],
    [`${SERVICE}.deny`, ['224.0.0.0/4', 'fe80::/10'], ['224.0.0.0/4', 'fe80::/10']],
    [`${HEALTH}.type`, 'icmp', 'icmp'],
    [`${HEALTH}.interval`, '100ms', 100],
    [`${HEALTH}.send`, 'ping', bytesOf(0x70, 0x69, 0x6e, 0x67)],
    [`${HEALTH}.send`, '', bytesOf()],
    [`${HEALTH}.send`, '\u00e4', bytesOf(0xc3, 0xa4)],
    [`${HEALTH}.send`, 'hex:', bytesOf()],
    [`${HEALTH}.send`, 'hex:00fF10', bytesOf(0x00, 0xff, 0x10)],
    [`${HEALTH}.send`, 'HEX:00', bytesOf(0x48, 0x45, 0x58, 0x3a, 0x30, 0x30)],
    [`${HEALTH}.send`, 'x'.repeat(1400), bytesOf(...new Array<number>(1400).fill(0x78))],
    [`${HEALTH}.expect`, 'pong', { kind: 'bytes', bytes: bytesOf(0x70, 0x6f, 0x6e, 0x67) }],
    [`${HEALTH}.expect`, 'hex:00', { kind: 'bytes', bytes: bytesOf(0) }],
    [`${HEALTH}.expect`, '/', { kind: 'bytes', bytes: bytesOf(0x2f) }],
    [`${HEALTH}.expect`, '//', { kind: 'bytes', bytes: bytesOf(0x2f, 0x2f) }],
    [`${HEALTH}.expect`, '/^pong/', { kind: 'pattern', source: '^pong' }],
    [`${HEALTH}.expect`, '/a/b\n/', { kind: 'pattern', source: 'a/b\n' }],
    [`${HEALTH}.path`, '/health?deep=1', '/health?deep=1'],
    [`${HEALTH}.status`, 204, { first: 204, last: 204 }],
    [`${HEALTH}.status`, '204', { first: 204, last: 204 }],
    [`${HEALTH}.status`, '100-599', { first: 100, last: 599 }],
    [`${HEALTH}.command`, ['/bin/check', '-v'], ['/bin/check', '-v']],
    [`${SERVICE}.lports`, '6000-6000', { first: 6000, last: 6000 }],
    [`${SERVICE}.lports`, 7000, { first: 7000, last: 7000 }],
    [`${SERVICE}.lports`, '1-65535', { first: 1, last: 65_535 }],
    [`${SERVICE}.timeouts.oneway`, '1000ms', 1000],
    [`${SERVICE}.timeouts.normal`, '24h', 86_400_000],
    [`${SERVICE}.timeouts.normal`, '5m', 300_000],
    [`${SERVICE}.uoa.refresh`, 'auto', 'auto'],
    [`${SERVICE}.uoa.refresh`, '500ms', 500],
    [`${SERVICE}.uoa.refresh`, 0, 0],
    [`${SERVICE}.uoa.carriage`, 'carrier', 'carrier'],
    [`${SERVICE}.uoa.maxTrials`, 0, 0],
    [`${SERVICE}.uoa.dialect`, 'opp', 'opp'],
    [`${SERVICE}.uoa.dialect`, 'elb', 'elb'],
    [`${SERVICE}.uoa.dialect`, 'unified', 'unified'],
    [`${SERVICE}.uoa.dialect`, 'none', 'none'],
    [`${SERVICE}.uoa.unifiedType`, 30, 30],
    [`${SERVICE}.uoa.proxyV2`, 'first', 'first'],
    [`${SERVICE}.uoa.onUnsupported`, 'opp', 'opp'],
    [`${SERVICE}.mtu`, 576, 576],
    [`${SERVICE}.vip`, '127.0.0.1', ['127.0.0.1']],
    [`${SERVICE}.vip`, ['10.1.0.100'], ['10.1.0.100']],
    [`${SERVICE}.vip`, ['10.1.0.100', 'fd00:1::100'], ['10.1.0.100', 'fd00:1::100']],
    [`${SERVICE}.vip`, ['FD00:1:0::100', '10.1.0.100'], ['fd00:1::100', '10.1.0.100']],
    [`${SERVICE}.vip`, '::1', ['::1']],
    [`${SERVICE}.lips`, ['10.2.0.200', 'fd00:2:0:0::0200'], ['10.2.0.200', 'fd00:2::200']],
    [`${REAL_SERVER}.dialect`, 'none', 'none'],
    [`${REAL_SERVER}.weight`, 65_535, 65_535],
  ];
  for (const [path, raw, value] of accepted) {
    it(`${path} accepts ${JSON.stringify(raw)}`, () => {
      let at: unknown = parse(withKey(path, raw));
      for (const step of path.split('.')) at = (at as Plain)[step];
      assert.deepEqual(at, value);
    });
  }

  const refused: [path: string, raw: unknown, allowed: RegExp][] = [
    ['io', 5, /expected a map of keys/],
    ['io.mode', 'xdp', /expected auto \| ring \| pcap/],
    ['io.workers', 0, /expected auto \| integer 1\.\.64/],
    ['io.workers', 65, /expected auto \| integer 1\.\.64/],
    ['io.busyPoll', 1, /expected true \| false/],
    ['io.fastPath', 'on', /expected auto \| xdp \| tc \| off/],
    ['io.wan', 'a-name-too-long-for-linux', /expected interface name \(1 to 15/],
    ['io.lan', '..', /expected interface name/],
    ['io.assignAddresses', 'yes', /expected true \| false/],
    ['io.bufferSize', '1023KiB', /expected size 1MiB\.\.2GiB/],
    ['io.bufferSize', '3GiB', /expected size 1MiB\.\.2GiB/],
    ['io.bufferSize', '64mb', /expected size/],
    ['io.bufferSize', 1.5e6 + 0.5, /expected size/],
    ['admin.listen', 'localhost:9464', /expected IP address and port/],
    ['admin.listen', '127.0.0.1', /expected IP address and port/],
    ['admin.listen', '127.0.0.1:65536', /port 0\.\.65535/],
    ['admin.listen', '::1:9464', /expected IP address and port/],
    ['log.level', 'loud', /expected trace \| debug/],
    ['log.format', 'xml', /expected auto \| json \| pretty/],
    ['sessions.max', 0, /expected integer 1\.\.16000000/],
    ['sessions.max', 16_000_001, /expected integer 1\.\.16000000/],
    [`${SERVICE}.name`, 'two words', /expected 1 to 63 characters/],
    [`${SERVICE}.name`, 'x'.repeat(64), /expected 1 to 63 characters/],
    [
      `${SERVICE}.vport`,
      '6000',
      /"6000" is not allowed \(a number stands without quotes\), expected integer 1\.\.65535/,
    ],
    [`${SERVICE}.vport`, 65_536, /65536 is not allowed, expected integer 1\.\.65535/],
    [`${SERVICE}.vport`, 6000.5, /expected integer/],
    [`${SERVICE}.lips`, [], /is empty, expected a list/],
    [`${SERVICE}.lips`, '10.2.0.200', /expected a list/],
    [`${SERVICE}.lports`, '0-9', /expected port range/],
    [`${SERVICE}.lports`, '9-3', /the first port is above the last/],
    [`${SERVICE}.lports`, '1024-65536', /within 1\.\.65535/],
    [`${SERVICE}.scheduler`, 'first', /expected rr \| wrr \| lc \| wlc \| sh \| mh \| random$/],
    [`${SERVICE}.persistence`, 300, /with unit: ms, s, m or h/],
    [`${SERVICE}.onDown`, 'drop', /expected keep \| move \| reset/],
    [`${SERVICE}.fallback`, '10.2.0.9', /expected unicast address and port 1\.\.65535/],
    [`${SERVICE}.fallback`, '10.2.0.9:0', /port 1\.\.65535/],
    [`${SERVICE}.fallback`, 'fd00:2::9:6000', /as 10\.2\.0\.9:6000 or \[fd00::9\]:6000/],
    [`${SERVICE}.fallback`, '224.0.0.1:6000', /a multicast address cannot be used/],
    [`${SERVICE}.fallback`, '[fe80::9]:6000', /link-local/],
    [`${SERVICE}.fallback`, { ip: '10.2.0.9', port: 6000 }, /expected unicast address and port/],
    [`${SERVICE}.limits.sessions`, -1, /expected integer 0\.\.16000000/],
    [`${SERVICE}.limits.prefixV4`, 33, /expected integer 8\.\.32/],
    [`${SERVICE}.limits.prefixV6`, 8, /expected integer 16\.\.128/],
    [`${SERVICE}.allow`, '198.51.100.0/24', /expected a list of at most 100000 elements/],
    [`${SERVICE}.allow.0`, '198.51.100.1/24', /\(it has bits behind its length: 198\.51\.100\.0\/24\)/],
    [`${SERVICE}.allow.0`, '2001:db8::1/32', /\(it has bits behind its length: 2001:db8::\/32\)/],
    [`${SERVICE}.allow.0`, '198.51.100.0/33', /\(an IPv4 address has 32 bits\)/],
    [`${SERVICE}.allow.0`, '2001:db8::/129', /\(an IPv6 address has 128 bits\)/],
    [
      `${SERVICE}.allow.0`,
      '198.51.100.0/024',
      /expected prefix \(198\.51\.100\.0\/24, 2001:db8::\/32\) or address/,
    ],
    [`${SERVICE}.allow.0`, '198.51.100.0/', /expected prefix/],
    [`${SERVICE}.allow.0`, '198.51.100.0/255.255.255.0', /expected prefix/],
    [`${SERVICE}.allow.0`, '198.51.100/24', /expected prefix/],
    [
      `${SERVICE}.deny.0`,
      '::ffff:198.51.100.7',
      /IPv4-mapped addresses are IPv4, which is written 198\.51\.100\.7/,
    ],
    [`${SERVICE}.deny.0`, 'fe80::1%eth0', /a prefix has no zone id/],
    [`${SERVICE}.deny.0`, 7, /expected prefix/],
    [`${HEALTH}.type`, 'ping', /expected none \| udp \| tcp \| http \| icmp \| exec/],
    [`${HEALTH}.interval`, '99ms', /expected duration 100ms\.\.1h/],
    [`${HEALTH}.send`, 5, /expected text, or hex: and pairs of digits, at most 1400 bytes/],
    [`${HEALTH}.send`, 'hex:0', /what follows hex: is not pairs of hexadecimal digits/],
    [`${HEALTH}.send`, 'hex:0g', /what follows hex: is not pairs/],
    [`${HEALTH}.send`, '\u00e4'.repeat(701), /\(1402 bytes\)/],
    [`${HEALTH}.expect`, 'hex:012', /what follows hex: is not pairs/],
    [`${HEALTH}.expect`, '/(/', /\(no regular expression\)/],
    [`${HEALTH}.expect`, '/^pong/i', /a regular expression has no flags here/],
    [`${HEALTH}.path`, 'health', /expected path that starts with \//],
    [`${HEALTH}.path`, '/with space', /expected path/],
    [`${HEALTH}.status`, '99-200', /expected range first-last \(or one number\) within 100\.\.599/],
    [`${HEALTH}.status`, '200-600', /within 100\.\.599/],
    [`${HEALTH}.status`, '399-200', /the first number is above the last/],
    [`${HEALTH}.status`, [200], /expected range/],
    [`${HEALTH}.command`, '/bin/check', /expected a list of at most 64 elements/],
    [`${HEALTH}.window`, '0s', /expected duration 1s\.\.1h/],
    ['sessions.onewayShare', 0, /expected integer 1\.\.100/],
    ['sessions.lportReserve', 91, /expected integer 0\.\.90/],
    ['sessions.stateFile', 'sessions', /expected absolute path of a file/],
    ['sessions.stateFile', '/var/lib/', /expected absolute path of a file/],
    ['admin.tokenFile', '', /expected absolute path of a file/],
    [`${SERVICE}.timeouts.oneway`, '999ms', /expected duration 1s\.\.24h/],
    [`${SERVICE}.timeouts.oneway`, '25h', /expected duration 1s\.\.24h/],
    [`${SERVICE}.timeouts.normal`, 300, /with unit: ms, s, m or h/],
    [`${SERVICE}.vip`, [], /\[\] is not allowed, expected unicast IPv4 or IPv6 address, or a list/],
    [`${SERVICE}.vip`, ['10.1.0.100', '10.1.0.101'], /both are IPv4/],
    [`${SERVICE}.vip`, ['fd00:1::100', 'fd00:1::0:100'], /both are IPv6/],
    [`${SERVICE}.vip`, ['10.1.0.100', 'fd00:1::100', 'fd00:1::101'], /more than two addresses/],
    [`${SERVICE}.vip`, ['10.1.0.100', 'game.example'], /"game\.example" is no unicast IPv4 or IPv6 address/],
    [`${SERVICE}.vip`, ['10.1.0.100', 'fe80::1'], /link-local/],
    [`${SERVICE}.uoa.dialect`, 'toa', /expected ipo \| opp \| elb \| unified \| proxy-v2 \| none/],
    [`${SERVICE}.uoa.unifiedType`, 29, /29 is not allowed, expected 31 \| 30/],
    [`${SERVICE}.uoa.proxyV2`, 'last', /expected every \| first/],
    [
      `${SERVICE}.uoa.unifiedType`,
      '31',
      /"31" is not allowed \(a number stands without quotes\), expected 31 \| 30/,
    ],
    [`${SERVICE}.uoa.onUnsupported`, 'none', /expected plain \| ipo \| opp \| elb \| unified/],
    [`${REAL_SERVER}.dialect`, 'plain', /expected ipo \| opp \| elb \| unified \| proxy-v2 \| none/],
    [`${SERVICE}.uoa.maxTrials`, 256, /expected integer 0\.\.255/],
    [`${SERVICE}.mtu`, 575, /expected auto \| integer 576\.\.65535/],
    [`${SERVICE}.realServers`, [], /is empty, expected a list of 1 to 4096/],
    [`${REAL_SERVER}.port`, 0, /expected integer 1\.\.65535/],
    [`${REAL_SERVER}.weight`, 65_536, /expected integer 0\.\.65535/],
    [`${REAL_SERVER}.weight`, null, /is empty, expected integer/],
  ];
  for (const [path, raw, allowed] of refused) {
    it(`${path} refuses ${JSON.stringify(raw).slice(0, 40)} and says what is allowed`, () => {
      const [problem, ...more] = problemsOf(withKey(path, raw));
      assert.equal(problem?.path, path.replace(/\.(\d+)/g, '[$1]'));
      assert.match(problem.message, allowed);
      assert.deepEqual(more, []);
    });
  }

  for (const key of ['vip', 'vport', 'lips', 'realServers']) {
    it(`services[0].${key} is required`, () => {
      const { [key]: _, ...rest } = sampleService();
      const [problem] = problemsOf({ services: [rest] });
      assert.equal(problem?.path, `services[0].${key}`);
      assert.match(problem.message, /^is missing, expected /);
    });
  }
});

describe('an address', () => {
  const places: [path: string, wrap: (address: string) => Plain][] = [
    ['services[0].vip', (vip) => sampleService({ vip })],
    ['services[0].lips[0]', (lip) => sampleService({ lips: [lip] })],
    ['services[0].realServers[0].ip', (ip) => sampleService({ realServers: [{ ip, port: 6000 }] })],
  ];
  const refused: [address: string, message: RegExp][] = [
    ['::', /:: is no address of a machine/],
    ['0:0:0:0:0:0:0.0.0.0', /:: is no address of a machine/],
    ['ff02::1', /multicast/],
    ['fe80::1', /a link-local address cannot be used/],
    ['febf:0::1', /a link-local address cannot be used/],
    ['::ffff:10.0.0.1', /an IPv4-mapped address is IPv4, which is written 10\.0\.0\.1/],
    ['::FFFF:0a00:1', /an IPv4-mapped address is IPv4, which is written 10\.0\.0\.1/],
    ['fd00::1%eth0', /zone id/],
    ['[fd00::1]', /brackets are for an address with a port/],
    ['fd00::1/64', /expected unicast IPv4 or IPv6 address/],
    ['fd00:::1', /expected unicast IPv4 or IPv6 address/],
    ['fd00::10000', /expected unicast IPv4 or IPv6 address/],
    ['1:2:3:4:5:6:7:8:9', /expected unicast IPv4 or IPv6 address/],
    ['0.0.0.0', /0\.0\.0\.0\/8 is no address of a machine/],
    ['224.0.0.1', /multicast/],
    ['240.0.0.1', /240\.0\.0\.0\/4 is reserved/],
    ['255.255.255.255', /broadcast/],
    ['10.0.0', /expected unicast IPv4 or IPv6 address/],
    ['10.0.0.1/24', /expected unicast IPv4 or IPv6 address/],
    ['010.0.0.1', /expected unicast IPv4 or IPv6 address/],
    ['server.example', /expected unicast IPv4 or IPv6 address/],
  ];
  for (const [path, wrap] of places) {
    for (const [address, message] of refused) {
      it(`${address} is refused as ${path}`, () => {
        const [problem, ...more] = problemsOf({ services: [wrap(address)] });
        assert.equal(problem?.path, path);
        assert.match(problem.message, message);
        assert.deepEqual(more, []);
      });
    }
  }

  // RFC 5952, 4: lower case, no leading zeros, the longest run of zeros shortened, the first of two, never a
  // single group.
  const canonical: [written: string, read: string][] = [
    ['2001:DB8::A', '2001:db8::a'],
    ['2001:0db8:0000:0000:0000:0000:0002:0001', '2001:db8::2:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['fd00:1:2:3::', 'fd00:1:2:3::'],
    ['0:0:0:0:0:0:0:1', '::1'],
  ];
  for (const [written, read] of canonical) {
    it(`${written} is read as ${read}`, () => {
      const lips = parse({ services: [sampleService({ lips: ['10.2.0.200', written] })] }).services[0]?.lips;
      assert.equal(lips?.[1], read);
      const words = new Int32Array(4);
      parseAddressInto(words, 0, written);
      assert.equal(formatAddress(words, 0), read, 'src/wire/address.ts writes the same text');
    });
  }
});

describe('the name of a service', () => {
  const rows: [vip: unknown, name: string][] = [
    ['10.1.0.100', '10.1.0.100:6000'],
    ['FD00:1::100', '[fd00:1::100]:6000'],
    [['fd00:1::100', '10.1.0.100'], '[fd00:1::100]:6000'],
    [['10.1.0.100', 'fd00:1::100'], '10.1.0.100:6000'],
  ];
  for (const [vip, name] of rows) {
    it(`is ${name} without one for vip ${JSON.stringify(vip)}`, () => {
      const [service] = parse({ services: [sampleService({ vip, name: undefined })] }).services;
      assert.equal(service?.name, name);
    });
  }
});

describe('an unknown key', () => {
  const rows: [path: string, message: RegExp][] = [
    ['servces', /unknown key "servces", did you mean services\?/],
    ['io.bufersize', /did you mean bufferSize\?/],
    ['services.0.real_servers', /did you mean realServers\?/],
    ['services.0.uoa.max_trials', /did you mean maxTrials\?/],
    ['services.0.realServers.0.wieght', /did you mean weight\?/],
    ['log.colour', /expected one of level, format/],
    ['__proto__', /unknown key "__proto__"/],
  ];
  for (const [path, message] of rows) {
    it(`${path} is an error with a suggestion`, () => {
      const config = JSON.stringify(withKey(path.replace('__proto__', 'proto'), 1)).replace(
        '"proto"',
        '"__proto__"',
      );
      const [problem] = problemsOf(JSON.parse(config));
      assert.equal(problem?.path, path.replace(/\.(\d+)/g, '[$1]'));
      assert.match(problem.message, message);
    });
  }
});
