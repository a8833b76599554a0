// What a reload would change, as the log says it.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeChanges, withUnchanged } from '../../src/config/changes.ts';
import { renderFullYaml } from '../../src/config/describe.ts';
import { entries } from '../../src/config/key.ts';
import { parseConfig } from '../../src/config/load.ts';
import { CONFIG_SCHEMA } from '../../src/config/schema.ts';
import { type Plain, parse, sampleService } from './sample.ts';

const A = { ip: '10.2.0.11', port: 6000 };
const B = { ip: '10.2.0.12', port: 6000 };

/** Configs of one service each. */
function ofServices(before: Plain, after: Plain) {
  return describeChanges(
    parse({ services: [sampleService(before)] }),
    parse({ services: [sampleService(after)] }),
  );
}

describe('a config read anew', () => {
  it('goes on with the services that say the same, wherever they stand now', () => {
    const [one, two, three] = ['one', 'two', 'three'].map((name, index) =>
      sampleService({ name, vport: 6000 + index }),
    );
    const before = parse({ services: [one, two, three] });
    const after = parse({ log: { level: 'warn' }, services: [three, { ...two, mtu: 1400 }, one] });
    const config = withUnchanged(before, after);
    assert.deepEqual(config, after);
    assert.equal(config.services[0], before.services[2]);
    assert.equal(config.services[1], after.services[1]);
    assert.equal(config.services[2], before.services[0]);
  });
});

describe('changes of a service', () => {
  const other = sampleService({ name: 'chat', vip: ['10.1.0.100', 'fd00:1::100'], vport: 7000 });
  const rows: [name: string, before: Plain, after: Plain, lines: string[]][] = [
    ['are none between equal configs', { realServers: [A, B] }, { realServers: [A, B] }, []],
    ['are none when a default is written down', {}, { scheduler: 'rr', uoa: { maxTrials: 3 } }, []],
    ['are none when a duration has another unit', { drainTimeout: '5m' }, { drainTimeout: '300s' }, []],
    ['are none when real servers change places', { realServers: [A, B] }, { realServers: [B, A] }, []],
    [
      'name a real server that is added, and one that is removed with what becomes of its sessions',
      { realServers: [A] },
      { realServers: [B] },
      [
        'real server 10.2.0.12:6000 added',
        'real server 10.2.0.11:6000 removed: its sessions stay for up to 5m',
      ],
    ],
    [
      'take the drain timeout of the new config',
      { realServers: [A, B], drainTimeout: '1h' },
      { realServers: [B], drainTimeout: 0 },
      ['drainTimeout 1h -> 0s', 'real server 10.2.0.11:6000 removed: its sessions end'],
    ],
    [
      'name the keys of a real server',
      { realServers: [A, B] },
      { realServers: [{ ...A, weight: 50, dialect: 'opp' }, B] },
      ['real server 10.2.0.11:6000 weight 100 -> 50', 'real server 10.2.0.11:6000 dialect not set -> opp'],
    ],
    [
      'name keys in groups by their path',
      {},
      { scheduler: 'mh', health: { type: 'icmp', interval: '500ms' }, uoa: { maxTrials: 5 }, mtu: 1400 },
      [
        'scheduler rr -> mh',
        'health.type none -> icmp',
        'health.interval 2s -> 500ms',
        'uoa.maxTrials 3 -> 5',
        'mtu auto -> 1400',
      ],
    ],
    [
      'show values as an operator writes them',
      { health: { type: 'udp', send: 'ping', expect: '/^p/' } },
      {
        lports: '2000-2999',
        fallback: '10.2.0.9:6000',
        health: { type: 'udp', send: 'hex:00ff', expect: 'pong', status: 204 },
        timeouts: { oneway: '90s' },
      },
      [
        'lports 1024-65535 -> 2000-2999',
        'health.send ping -> hex:00ff',
        'health.expect /^p/ -> pong',
        'health.status 200-399 -> 204',
        'fallback not set -> 10.2.0.9:6000',
        'timeouts.oneway 5m -> 90s',
      ],
    ],
    [
      'tell a text from the same bytes as a pattern',
      { health: { type: 'udp', expect: '/a/' } },
      { health: { type: 'udp', expect: 'hex:2f612f' } },
      ['health.expect /a/ -> hex:2f612f'],
    ],
    [
      'name elements of a list',
      { lips: ['10.2.0.200', '10.2.0.201'] },
      { lips: ['10.2.0.200', '10.2.0.202'], deny: ['203.0.113.0/24'] },
      ['lips 10.2.0.202 added, 10.2.0.201 removed', 'deny 203.0.113.0/24 added'],
    ],
    [
      'count the elements of a list beyond five',
      { allow: [] },
      { allow: Array.from({ length: 7 }, (_, n) => `198.51.100.${n}`) },
      [`allow ${Array.from({ length: 5 }, (_, n) => `198.51.100.${n}/32`).join(', ')} and 2 more added`],
    ],
    [
      'say that a list has another order',
      { health: { type: 'exec', command: ['/bin/check', '-a', '-b'] } },
      { health: { type: 'exec', command: ['/bin/check', '-b', '-a'] } },
      ['health.command in another order or number'],
    ],
  ];
  for (const [name, before, after, lines] of rows) {
    it(name, () => {
      const expected = lines.map((line) => `service game: ${line}`);
      assert.deepEqual(ofServices(before, after), { lines: expected, needsRestart: [] });
    });
  }

  it('are said of services that are added and removed too, in the order of the config', () => {
    const one = parse({
      services: [sampleService(), sampleService({ name: 'old', vport: 1 })],
    });
    const two = parse({ services: [other, sampleService({ scheduler: 'wrr' })] });
    assert.deepEqual(describeChanges(one, two), {
      lines: [
        'service chat added (10.1.0.100:7000, [fd00:1::100]:7000)',
        'service game: scheduler rr -> wrr',
        'service old removed',
      ],
      needsRestart: [],
    });
  });

  it('leave it the same service when its VIPs change places', () => {
    const vips = ['10.1.0.100', 'fd00:1::100'];
    const lips = ['10.2.0.200', 'fd00:2::200'];
    const { lines } = ofServices({ vip: vips, lips }, { vip: [...vips].reverse(), lips });
    assert.deepEqual(lines, ['service game: vip 10.1.0.100, fd00:1::100 -> fd00:1::100, 10.1.0.100']);
  });

  const identity: [name: string, overrides: Plain, added: string][] = [
    ['name', { name: 'game2' }, 'service game2 added (10.1.0.100:6000)'],
    ['vip', { vip: '10.1.0.101' }, 'service game added (10.1.0.101:6000)'],
    ['vport', { vport: 6001 }, 'service game added (10.1.0.100:6001)'],
  ];
  for (const [key, overrides, added] of identity) {
    it(`with another ${key} are another service`, () => {
      assert.deepEqual(ofServices({}, overrides).lines, [added, 'service game removed']);
    });
  }
});

describe('changes besides services', () => {
  const services = [sampleService()];

  it('are lines where they need no restart', () => {
    const changes = describeChanges(parse({ services }), parse({ log: { level: 'debug' }, services }));
    assert.deepEqual(changes, { lines: ['log.level info -> debug'], needsRestart: [] });
  });

  it('name old and new value where they need one', () => {
    const after = parse({
      io: { workers: 4, bufferSize: '1GB', wan: 'eth0' },
      admin: { listen: '[::1]:9464', tokenFile: '/etc/token' },
      log: { format: 'json' },
      sessions: { max: 5 },
      services,
    });
    assert.deepEqual(describeChanges(parse({ services }), after), {
      lines: [],
      needsRestart: [
        'io.wan not set -> eth0: needs a restart',
        'io.workers auto -> 4: needs a restart',
        'io.bufferSize 64MiB -> 1GB: needs a restart',
        'admin.listen 127.0.0.1:9464 -> [::1]:9464: needs a restart',
        'admin.tokenFile not set -> /etc/token: needs a restart',
        'log.format auto -> json: needs a restart',
        'sessions.max 1000000 -> 5: needs a restart',
      ],
    });
  });
});

describe('every key', () => {
  /** A value that differs from the one of full.yaml. */
  const another: Record<string, string> = {
    'true | false': 'true',
    'plain | ipo | opp | elb | unified': 'opp',
    'auto | duration 0s..24h (with unit: ms, s, m or h)': '30s',
    'auto | integer 1..64': '2',
    'auto | integer 576..65535': '1400',
  };
  const words = (allowed: string, now: unknown) => allowed.split(' | ').find((word) => word !== String(now))!;

  for (const { path, kind, allowed, default: now, example } of entries(CONFIG_SCHEMA)) {
    const inList = path.at(-1) === '[]' || path.includes('realServers');
    if (kind !== 'key' || inList || now === undefined) continue;
    it(`${path.join('.')} is told of when it changes`, () => {
      const value =
        another[allowed] ??
        (allowed.includes(' | ') ? words(allowed, now) : undefined) ??
        (typeof now === 'number' ? String(now > 1 ? now - 1 : now + 1) : undefined) ??
        (allowed.startsWith('duration') ? '3s' : undefined) ??
        { lports: '2000', listen: '127.0.0.1:1', bufferSize: '1MiB', path: '/x', status: '200' }[
          path.at(-1)!
        ] ??
        assert.fail(`no other value for ${allowed}`);
      const name = path.at(-1)!;
      const text = renderFullYaml();
      const changed = replaceKey(text, path, `${name}: ${now}`, `${name}: ${value}`);
      const command = value === 'exec' ? changed.replace('command: []', 'command: [/bin/check]') : changed;
      const { lines, needsRestart } = describeChanges(
        parseConfig(text, 'before'),
        parseConfig(command, 'after'),
      );
      const dotted = path.filter((step) => step !== 'services' && step !== '[]').join('.');
      assert.ok(
        [...lines, ...needsRestart].some((line) =>
          line.replace(/^service \S+: /, '').startsWith(`${dotted} `),
        ),
        [...lines, ...needsRestart, example].join('\n'),
      );
    });
  }

  /** Replaces the line behind the line of the group that the key is in. */
  function replaceKey(text: string, path: readonly string[], from: string, to: string): string {
    let at = 0;
    for (const step of path.slice(0, -1)) if (step !== '[]') at = text.indexOf(`${step}:`, at);
    const found = text.indexOf(` ${from}\n`, at);
    assert.ok(found > 0, from);
    return `${text.slice(0, found)} ${to}\n${text.slice(found + from.length + 2)}`;
  }
});
