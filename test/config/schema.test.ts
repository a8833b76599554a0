import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Plain, parse, problemsOf, sampleService } from './sample.ts';

/** Sets `value` at a dotted path of a valid config, creating groups on the way. */
function withKey(path: string, value: unknown): Plain {
  const config: Plain = { services: [sampleService()] };
  const steps = path.split('.');
  const last = steps.pop()!;
  let at: Plain = config;
  for (const step of steps) {
    at[step] ??= {};
    at = at[step] as Plain;
  }
  at[last] = value;
  return config;
}

const SERVICE = 'services.0';
const REAL_SERVER = 'services.0.realServers.0';

describe('a config that is as small as can be', () => {
  it('has every default', () => {
    const { vip, vport, lips, realServers } = sampleService();
    const config = parse({ services: [{ vip, vport, lips, realServers }] });
    assert.deepEqual(config, {
      io: { mode: 'auto', assignAddresses: false, bufferSize: 67_108_864 },
      admin: { listen: { host: '127.0.0.1', port: 9464 } },
      log: { level: 'info', format: 'auto' },
      sessions: { max: 1_000_000 },
      services: [
        {
          name: '10.1.0.100:6000',
          vip: '10.1.0.100',
          vport: 6000,
          lips: ['10.2.0.200'],
          lports: { first: 1024, last: 65_535 },
          scheduler: 'rr',
          timeouts: { oneway: 300_000, normal: 300_000 },
          uoa: { dialect: 'ipo', maxTrials: 3, refresh: 0, idleRefresh: 120_000 },
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
    ['io.wan', 'eth0.100', 'eth0.100'],
    ['io.bufferSize', '1MiB', 1_048_576],
    ['io.bufferSize', '16MB', 16_000_000],
    ['io.bufferSize', '2GiB', 2_147_483_648],
    ['io.bufferSize', 5_000_000, 5_000_000],
    ['io.bufferSize', '5000000', 5_000_000],
    ['admin.listen', '0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['admin.listen', '[::1]:9464', { host: '::1', port: 9464 }],
    ['sessions.max', 16_000_000, 16_000_000],
    [`${SERVICE}.lports`, '6000-6000', { first: 6000, last: 6000 }],
    [`${SERVICE}.lports`, 7000, { first: 7000, last: 7000 }],
    [`${SERVICE}.lports`, '1-65535', { first: 1, last: 65_535 }],
    [`${SERVICE}.timeouts.oneway`, '1000ms', 1000],
    [`${SERVICE}.timeouts.normal`, '24h', 86_400_000],
    [`${SERVICE}.timeouts.normal`, '5m', 300_000],
    [`${SERVICE}.uoa.refresh`, '500ms', 500],
    [`${SERVICE}.uoa.refresh`, 0, 0],
    [`${SERVICE}.uoa.maxTrials`, 0, 0],
    [`${SERVICE}.uoa.dialect`, 'opp', 'opp'],
    [`${SERVICE}.mtu`, 576, 576],
    [`${SERVICE}.vip`, '127.0.0.1', '127.0.0.1'],
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
    ['io.mode', 'xdp', /expected auto \| pcap/],
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
    [`${SERVICE}.vport`, '6000', /"6000" is not allowed, expected integer 1\.\.65535/],
    [`${SERVICE}.vport`, 65_536, /65536 is not allowed, expected integer 1\.\.65535/],
    [`${SERVICE}.vport`, 6000.5, /expected integer/],
    [`${SERVICE}.lips`, [], /is empty, expected a list/],
    [`${SERVICE}.lips`, '10.2.0.200', /expected a list/],
    [`${SERVICE}.lports`, '0-9', /expected port range/],
    [`${SERVICE}.lports`, '9-3', /the first port is above the last/],
    [`${SERVICE}.lports`, '1024-65536', /within 1\.\.65535/],
    [`${SERVICE}.scheduler`, 'lc', /expected rr \| wrr/],
    [`${SERVICE}.timeouts.oneway`, '999ms', /expected duration 1s\.\.24h/],
    [`${SERVICE}.timeouts.oneway`, '25h', /expected duration 1s\.\.24h/],
    [`${SERVICE}.timeouts.normal`, 300, /with unit: ms, s, m or h/],
    [`${SERVICE}.uoa.dialect`, 'elb', /expected ipo \| opp/],
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
    ['2001:db8::1', /"2001:db8::1" is not allowed \(IPv6 is not supported yet\)/],
    ['::ffff:10.0.0.1', /IPv6 is not supported yet/],
    ['0.0.0.0', /0\.0\.0\.0\/8 is no address of a machine/],
    ['224.0.0.1', /multicast/],
    ['240.0.0.1', /240\.0\.0\.0\/4 is reserved/],
    ['255.255.255.255', /broadcast/],
    ['10.0.0', /expected unicast IPv4 address/],
    ['10.0.0.1/24', /expected unicast IPv4 address/],
    ['010.0.0.1', /expected unicast IPv4 address/],
    ['server.example', /expected unicast IPv4 address/],
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
