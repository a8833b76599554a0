import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { COUNTER, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { DROP } from '../../src/datapath/verdict.ts';
import { FAST_AT_TC, PROBED, type SampleAdmin, startSample } from '../admin/sample.ts';
import { commandLines } from './command-lines.ts';
import { uoaProxyBeside } from './ctl-program.ts';

/** The sample, with a second of some traffic behind it. */
async function startBusy(t: TestContext): Promise<SampleAdmin> {
  const admin = await startSample(t, { startedAt: new Date(Date.now() - 93_600_500) });
  const { counters, servers } = admin.sources;
  servers[serverRow(0) + SERVER_COUNTER.sessionsNormal] = 12_345;
  servers[serverRow(0) + SERVER_COUNTER.sessionsOneway] = 67;
  counters[counterRow(0) + COUNTER.inboundPackets] = 1_234_567;
  counters[counterRow(0) + COUNTER.sessionsNormal] = 12_345;
  counters[counterRow(1) + COUNTER.uoaAckRejected] = 2;
  counters[counterRow(-1) + dropColumn(DROP.no_session)] = 1234;
  counters[counterRow(0) + dropColumn(DROP.denied)] = 5;
  admin.states[2] = {
    state: 'down',
    isDown: true,
    isDrained: false,
    isRemoved: false,
    reason: 'udp: no reply within 1s',
    since: new Date(Date.now() - 125_500),
    weightSetTo: undefined,
  };
  admin.states[3] = {
    ...admin.states[2],
    state: 'drained',
    isDown: false,
    isDrained: true,
    reason: 'drained by an operator',
  };
  admin.sources.operations.reload = async () => {
    admin.done.push('reload');
    return { ok: false, lines: ['services[0].vport: expected integer 1..65535'] };
  };
  return admin;
}

const uoaProxy = commandLines();
const ctl = (admin: SampleAdmin, ...args: string[]) => uoaProxy('ctl', '--admin', admin.socket, ...args);
/** In a process of its own. */
const ctlAlone = (t: TestContext, admin: SampleAdmin, ...args: string[]) =>
  uoaProxyBeside(t, 'ctl', '--admin', admin.socket, ...args);
const ctlOverTcp = (admin: SampleAdmin, ...args: string[]) =>
  uoaProxy('ctl', '--admin', admin.url(''), ...args);

/** A socket that a process left that was killed. */
async function leaveSocket(path: string): Promise<void> {
  const program = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', program, path]), 'exit');
}

function fileWith(t: TestContext, name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-ctl-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('ctl shows', () => {
  const rows: [args: string[], stdout: string][] = [
    [
      ['services', '--no-rate'],
      `\
SERVICE -> REAL SERVER       WEIGHT  STATE    ACTIVE  INACTIVE
game  [fd00:1::100]:6000  10.1.0.100:6000  rr
  -> 10.2.0.11:6000             100  up        12.3k        67
  -> 10.2.0.9:6000 fallback       0  up            0         0
10.1.0.100:6001  rr
  -> 10.2.0.12:6000           0/100  down          0         0
     down for 2m 5s: udp: no reply within 1s
  -> [fd00:2::12]:6000        0/100  drained       0         0
     drained by an operator, for 2m 5s
`,
    ],
    [
      ['services'],
      `\
SERVICE -> REAL SERVER       WEIGHT  STATE    ACTIVE  INACTIVE  IN/s  OUT/s
game  [fd00:1::100]:6000  10.1.0.100:6000  rr
  -> 10.2.0.11:6000             100  up        12.3k        67     0      0
  -> 10.2.0.9:6000 fallback       0  up            0         0     0      0
10.1.0.100:6001  rr
  -> 10.2.0.12:6000           0/100  down          0         0     0      0
     down for 2m 7s: udp: no reply within 1s
  -> [fd00:2::12]:6000        0/100  drained       0         0     0      0
     drained by an operator, for 2m 7s
`,
    ],
    [
      ['stats'],
      `\
uoa-proxy 1.2.3, up 1d 2h, pcap, 2 workers: serving 2 services

  normal sessions  12,345
  oneway sessions       0
  most sessions     5,000
  lports in use        12
  lports              157

Worker 1: started again 2 times, pid PID

Counters
  inbound packets   1,234,567
  UOA ack rejected          2

Dropped, by reason
  no_session  1,234
  denied          5

Packet I/O: nothing
`,
    ],
    [
      ['sessions', '--client', '198.51.100.7', '--limit', '2'],
      `\
CLIENT               SERVICE  REAL SERVER        STATE    IDLE  UOA        LIP:LPORT
198.51.100.7:40000   game     10.2.0.11:6000     normal     0s  acked      10.2.0.200:1024
[2001:db8::7]:40001  dns      [fd00:2::12]:6000  oneway  1m 5s  sending 2  [fd00:2::200]:1025

7 sessions, shown are 1 to 2; see the next with --offset 2
`,
    ],
  ];
  for (const [args, stdout] of rows) {
    it(`${args.join(' ')} as a table`, async (t) => {
      const admin = await startBusy(t);
      admin.sources.sessions.list = async (query) => {
        admin.asked.push(query);
        return { total: 7, sessions: SESSIONS };
      };
      const outcome = await ctl(admin, ...args);
      assert.equal(outcome.stderr, '');
      // How long a slow machine took to ask is no matter.
      const text = outcome.stdout
        .replace(/pid \d+/, 'pid PID')
        .replace(/2m \d+s/g, /2m \d+s/.exec(stdout)?.[0] ?? '');
      assert.equal(text, stdout);
      assert.equal(outcome.code, 0);
      for (const { client, limit } of admin.asked) assert.deepEqual([client, limit], ['198.51.100.7', 2]);
    });
  }

  for (const args of [['services'], ['stats'], ['sessions', '--state', 'normal']]) {
    it(`${args.join(' ')} --json as the API answers it`, async (t) => {
      const admin = await startBusy(t);
      const { code, stdout } = await ctl(admin, ...args, '--json');
      assert.equal(code, 0);
      const { json } = await admin.get(`/${args[0]}${args[0] === 'sessions' ? '?state=normal' : ''}`);
      assert.deepEqual(Object.keys(JSON.parse(stdout)), Object.keys(json));
    });
  }

  it('that a real server that is down is drained too, or removed', async (t) => {
    const admin = await startBusy(t);
    admin.states[2] = { ...admin.states[2], isDrained: true };
    admin.states[3] = { ...admin.states[2], isRemoved: true };
    const { stdout } = await ctl(admin, 'services', '--no-rate');
    assert.match(stdout, /10\.2\.0\.12:6000 +0\/100 +down, drained +0 +0$/m);
    assert.match(stdout, /\[fd00:2::12\]:6000 +0\/100 +down, removed +0 +0$/m);
    const { stdout: json } = await ctl(admin, 'services', '--json');
    const [, other] = JSON.parse(json).services;
    const shown = other.realServers.map(({ state, isDrained, isRemoved }: Record<string, unknown>) => [
      state,
      isDrained,
      isRemoved,
    ]);
    assert.deepEqual(shown, [
      ['down', true, false],
      ['down', true, true],
    ]);
  });

  it('packets per second between two samples', async (t) => {
    const admin = await startBusy(t);
    let samples = 0;
    admin.sources.refresh = () => {
      samples++;
      admin.sources.servers[serverRow(0) + SERVER_COUNTER.inboundPackets] = samples * 1_000_000;
    };
    const { stdout } = await ctl(admin, 'services');
    assert.match(stdout, /10\.2\.0\.11:6000 .* +\S+[kM] +0$/m);
  });
});

const SESSIONS = [
  {
    service: 'game',
    client: '198.51.100.7',
    clientPort: 40_000,
    vip: '10.1.0.100',
    vport: 6000,
    lip: '10.2.0.200',
    lport: 1024,
    rs: '10.2.0.11',
    rsPort: 6000,
    state: 'normal',
    idleMs: 400,
    uoa: { state: 'acked', sent: 1 },
  },
  {
    service: 'dns',
    client: '2001:db8::7',
    clientPort: 40_001,
    vip: 'fd00:1::100',
    vport: 6000,
    lip: 'fd00:2::200',
    lport: 1025,
    rs: 'fd00:2::12',
    rsPort: 6000,
    state: 'oneway',
    idleMs: 65_432,
    uoa: { state: 'sending', sent: 2 },
  },
];

describe('ctl shows the share of the fast path', () => {
  async function startFast(t: TestContext) {
    const admin = await startBusy(t);
    Object.assign(admin.sources, FAST_AT_TC);
    const { counters } = admin.sources;
    counters[counterRow(0) + COUNTER.sessionsHot] = 12_000;
    counters[counterRow(0) + COUNTER.inboundFast] = 999_000;
    counters[counterRow(0) + COUNTER.inboundForwarded] = 1_000_000;
    counters[counterRow(0) + COUNTER.outboundFast] = 5;
    counters[counterRow(0) + COUNTER.outboundForwarded] = 5;
    return admin;
  }

  it('in the line of each service', async (t) => {
    const admin = await startFast(t);
    admin.sources.isFastPathOff = (service) => service !== 'game';
    const { stdout } = await ctl(admin, 'services', '--no-rate');
    assert.match(stdout, /^game {2}.* rr {2}hot 12,000 of 12,345$/m);
    assert.match(stdout, /^10\.1\.0\.100:6001 {2}rr {2}fast path off$/m);
  });

  it('in stats, with where and why, and what passed it by', async (t) => {
    const { stdout } = await ctl(await startFast(t), 'stats');
    assert.match(stdout, /^uoa-proxy 1\.2\.3, up 1d 2h, pcap, fast path tc, 2 workers: /);
    const at = stdout.indexOf('Fast path');
    assert.equal(
      stdout.slice(at, stdout.indexOf('Counters')),
      `\
Fast path tc: tcx at wan0, tcx at lan0 (no card stands behind wan0, lan0)
  hot sessions               12,000
  inbound forwarded   999,000 (99%)
  outbound forwarded       5 (100%)

Left to the datapath, by reason
  not_hot  12,345
  confirm      12

`,
    );
  });

  it('that there is none, though it is wanted', async (t) => {
    const admin = await startBusy(t);
    const { fastPath } = admin.sources;
    const why = 'interface 2 has another XDP program (id 7), which keeps it';
    admin.sources.fastPath = () => ({ ...fastPath(), wanted: 'xdp', why });
    const { stdout } = await ctl(admin, 'stats');
    assert.match(stdout, /^uoa-proxy 1\.2\.3, up 1d 2h, pcap, no fast path, 2 workers: /);
    assert.match(stdout, /^No fast path, io\.fastPath is xdp: interface 2 has another XDP program/m);
  });

  it('that it is on again', async (t) => {
    const { stdout } = await ctl(await startFast(t), 'fast-path', 'on');
    assert.equal(stdout, 'fast path on: busy sessions go by the kernel\n');
  });

  it('of each session, or why it has none', async (t) => {
    const admin = await startFast(t);
    const sessions = SESSIONS.map((one, at) => ({ ...one, fastPath: ['hot', 'wrong_side'][at] }));
    admin.sources.sessions.list = async () => ({ total: 2, sessions });
    assert.equal(
      (await ctl(admin, 'sessions')).stdout,
      `\
CLIENT               SERVICE  REAL SERVER        STATE    IDLE  UOA        FAST        LIP:LPORT
198.51.100.7:40000   game     10.2.0.11:6000     normal     0s  acked      hot         10.2.0.200:1024
[2001:db8::7]:40001  dns      [fd00:2::12]:6000  oneway  1m 5s  sending 2  wrong side  [fd00:2::200]:1025

2 sessions
`,
    );
  });
});

describe('ctl does', () => {
  const rows: [args: string[], done: string, stdout: string][] = [
    [
      ['server', 'drain', 'game', '10.2.0.11:6000'],
      'drain game 10.2.0.11:6000',
      'game 10.2.0.11:6000: drained by an operator, weight 0/100, 12,412 sessions\n',
    ],
    [
      ['server', 'enable', '10.1.0.100:6001', '[FD00:2::12]:6000'],
      'enable 10.1.0.100:6001 [fd00:2::12]:6000',
      '10.1.0.100:6001 [fd00:2::12]:6000: up, weight 100, 0 sessions\n',
    ],
    [
      ['server', 'announce', 'game', '10.2.0.11:6000'],
      'announce game 10.2.0.11:6000',
      'game 10.2.0.11:6000: is told of the clients of its 12,412 sessions again, each with its next packet\n',
    ],
    [
      ['server', 'weight', 'game', '10.2.0.11:6000', '50'],
      'weight game 10.2.0.11:6000 50',
      'game 10.2.0.11:6000: up, weight 50/100, 12,412 sessions\n',
    ],
    [
      ['fast-path', 'off', 'game'],
      'fast path off game',
      'fast path off for game: within a second its packets go by the datapath\n',
    ],
    [
      ['fast-path', 'on'],
      'fast path on all',
      'fast path on, for a process that has one: here there is none (io.fastPath is off)\n',
    ],
    [['drain', '--cancel'], 'cancel drain', 'not draining any more: new sessions are taken\n'],
    [
      ['drain', '--timeout', '90s', '--no-wait'],
      'drain 90000',
      'draining: no new sessions; the proxy ends when there are none left, at the latest in 1m 30s\n',
    ],
  ];
  for (const [args, done, stdout] of rows) {
    it(`${args.join(' ')} and says how it is then`, async (t) => {
      const admin = await startBusy(t);
      assert.deepEqual(await ctl(admin, ...args), { code: 0, stdout, stderr: '' });
      assert.deepEqual(admin.done, [done]);
    });
  }

  it('asks who is behind a LIP:lport', async (t) => {
    const admin = await startSample(t);
    const filter = ['--lip', '10.2.0.200:1031', '--rs', '[FD00:2::12]:6000'];
    assert.equal((await ctl(admin, 'sessions', '--json', ...filter)).code, 0);
    const { lip, lport, rs, rsPort } = admin.asked[0]!;
    assert.deepEqual([lip, lport, rs, rsPort], ['10.2.0.200', 1031, 'fd00:2::12', 6000]);
  });

  it('probe, says what came back, and is 1 where the UOA does not come through', async (t) => {
    const admin = await startBusy(t);
    const args = ['probe', 'game', '10.2.0.11:6000', '--send', 'hex:00ff', '--timeout', '2s'];
    assert.deepEqual(await ctl(admin, ...args), {
      code: 1,
      stdout: [
        'game 10.2.0.11:6000, dialect ipo, asked from 10.2.0.200 with 4 bytes',
        '  without UOA  answered with 4 bytes, after 0.412 ms',
        '  with UOA     no answer within 1000 ms',
        'Only the plain one is answered.\n',
      ].join('\n'),
      stderr: '',
    });
    assert.deepEqual(admin.done, ['probe game 10.2.0.11:6000 00ff 2000']);
    const { code, stdout } = await ctl(admin, 'probe', 'game', '10.2.0.11:6000', '--json');
    assert.deepEqual([code, JSON.parse(stdout)], [1, PROBED]);
  });

  it('probe, and is 0 where it does', async (t) => {
    const admin = await startBusy(t);
    const uoa = { ...PROBED.plain, isAcked: true, isCarrier: false };
    admin.sources.operations.probe = async () => ({ ...PROBED, uoa, verdict: 'ok', text: 'Both.' });
    const { code, stdout } = await ctl(admin, 'probe', 'game', '10.2.0.11:6000');
    assert.equal(code, 0);
    assert.match(stdout, /^ {2}with UOA {5}answered with 4 bytes, after 0.412 ms, acknowledged$/m);
  });

  it('reload and prints what changed', async (t) => {
    const stdout = 'service game: real server 10.2.0.13:6000 added\n';
    assert.deepEqual(await ctlAlone(t, await startSample(t), 'reload'), { code: 0, stdout, stderr: '' });
  });

  it('reload and prints what the last one changed, when the proxy was first to see the edit', async (t) => {
    const admin = await startSample(t);
    const lastChange = { at: new Date(Date.now() - 125_500), lines: ['service game: scheduler rr -> wlc'] };
    admin.sources.operations.reload = async () => ({ ok: true, lines: [], lastChange });
    const { code, stdout } = await ctl(admin, 'reload');
    assert.equal(code, 0);
    const at = lastChange.at.toISOString();
    assert.match(stdout, new RegExp(`^nothing changed since the reload at ${at}, 2m \\d+s ago:$`, 'm'));
    assert.match(stdout, /^ {2}service game: scheduler rr -> wlc$/m);
    const { json } = await admin.post('/reload');
    assert.deepEqual(json, { ok: true, lines: [], lastChange: { ...lastChange, at } });
    admin.sources.operations.reload = async () => ({ ok: true, lines: [] });
    assert.equal((await ctl(admin, 'reload')).stdout, 'nothing changed\n');
  });

  it('reload and ends with 1 and every problem when the config cannot be used', async (t) => {
    const outcome = await ctlAlone(t, await startBusy(t), 'reload');
    assert.deepEqual(outcome, {
      code: 1,
      stdout: '',
      stderr:
        'uoa-proxy: the config was not taken, nothing changed:\n  services[0].vport: expected integer 1..65535\n',
    });
  });
});

const SERVICES = `services: [{ vip: 10.1.0.100, vport: 6000, lips: [10.2.0.200], realServers: [{ ip: 10.2.0.11, port: 6000 }] }]`;

describe('ctl finds the proxy', () => {
  it('and its token by the config file', async (t) => {
    const admin = await startSample(t, {}, { token: { current: 'secret' }, sockets: [] });
    const tokenFile = fileWith(t, 'token', 'secret\nsecond line\n');
    const listen = new URL(admin.url('')).host;
    const config = fileWith(
      t,
      'proxy.yaml',
      `admin: { listen: "${listen}", tokenFile: ${tokenFile} }\n${SERVICES}\n`,
    );
    assert.equal((await uoaProxy('ctl', '--config', config, 'reload')).code, 0);
    assert.equal((await ctlOverTcp(admin, '--token-file', tokenFile, 'stats')).code, 0);
    assert.deepEqual(admin.done, ['reload']);
  });

  for (const [name, keys] of [
    ['that it names, without its token', (socket: string) => `socket: ${socket}, tokenFile: /nonexistent`],
    ['beside it', () => 'listen: 127.0.0.1:1'],
  ] as const) {
    it(`by the socket of the config file: one ${name}`, async (t) => {
      const config = fileWith(t, 'game.yaml', '');
      const admin = await startSample(t, {}, { sockets: [config.replace('.yaml', '.sock')] });
      writeFileSync(config, `admin: { ${keys(config.replace('.yaml', '.sock'))} }\n${SERVICES}\n`);
      const { code, stderr } = await uoaProxy('ctl', '-c', config, 'drain', '--no-wait');
      assert.deepEqual([code, stderr, admin.done], [0, '', ['drain as before']]);
    });
  }

  it('over TCP where nobody listens at the socket any more', async (t) => {
    const admin = await startSample(t);
    const config = fileWith(t, 'game.yaml', '');
    const left = config.replace('.yaml', '.sock');
    await leaveSocket(left);
    const listen = new URL(admin.url('')).host;
    writeFileSync(config, `admin: { socket: ${left}, listen: "${listen}" }\n${SERVICES}\n`);
    assert.equal((await uoaProxy('ctl', '-c', config, 'stats')).code, 0);
    const { code, stderr } = await uoaProxy('ctl', '-c', config, 'reload');
    assert.deepEqual([code, admin.done], [1, []]);
    assert.match(stderr, /changes are taken by the admin socket.*\nHint: run it on the proxy's host as root/);
  });

  it('but not without its token, and says which options name it', async (t) => {
    const admin = await startSample(t, {}, { token: { current: 'secret' } });
    const wrong = fileWith(t, 'token', 'another\n');
    const { code, stdout, stderr } = await ctlOverTcp(admin, 'drain');
    assert.deepEqual([code, stdout], [1, '']);
    assert.equal(
      stderr,
      `uoa-proxy: ${admin.url('')}: a token is needed: Authorization: Bearer TOKEN\nHint: give --token-file FILE, or --config FILE, whose admin.tokenFile is read\n`,
    );
    const refused = await ctlOverTcp(admin, '--token-file', wrong, 'drain');
    assert.match(refused.stderr, /the token is not the one in admin\.tokenFile/);
    assert.deepEqual(admin.done, []);
  });

  const failures: [name: string, args: string[], stderr: RegExp][] = [
    [
      'when nothing listens there',
      ['--admin', 'http://127.0.0.1:1', 'stats'],
      /^uoa-proxy: cannot reach the proxy at http:\/\/127\.0\.0\.1:1: connection refused\nHint: is it running.*--admin or --config FILE/,
    ],
    [
      'when there is no such socket',
      ['--admin', 'unix:/nonexistent', 'stats'],
      /^uoa-proxy: cannot reach the proxy at \/nonexistent: there is no such socket\n/,
    ],
    ['when the address is none', ['--admin', 'http://:', 'stats'], /--admin "http:\/\/:" is no URL/],
    [
      'when the config is missing',
      ['--config', '/nonexistent', 'stats'],
      /\/nonexistent cannot be used:\n {2}no such file/,
    ],
    [
      'when the token file is missing',
      ['--token-file', '/nonexistent', 'stats'],
      /the token file \/nonexistent cannot be read/,
    ],
  ];
  for (const [name, args, stderr] of failures) {
    it(`or says why not ${name}`, async () => {
      const outcome = await uoaProxy('ctl', ...args);
      assert.deepEqual([outcome.code, outcome.stdout], [1, '']);
      assert.match(outcome.stderr, stderr);
      assert.doesNotMatch(outcome.stderr, /^ +at /m);
    });
  }

  it('or says that something else listens there', async (t) => {
    const other = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1');
    t.after(() => other.close());
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const { code, stderr } = await uoaProxy('ctl', '--admin', `127.0.0.1:${port}`, 'stats');
    assert.equal(code, 1);
    assert.match(
      stderr,
      /answered with something else than JSON \(status 200\)\nHint: is that the admin\.listen/,
    );
  });
});

describe('ctl refuses', () => {
  const rows: [args: string[], stderr: RegExp][] = [
    [
      ['server', 'drain', 'gmae', '10.2.0.11:6000'],
      /no service is called "gmae": there are game, 10\.1\.0\.100:6001/,
    ],
    [
      ['server', 'drain', 'game', '10.2.0.1:6000'],
      /no real server of game .*: there are 10\.2\.0\.11:6000, 10\.2\.0\.9:6000/,
    ],
    [['server', 'weight', 'game', '10.2.0.9:6000', '5'], /a fallback has no weight/],
    [['server', 'weight', 'game', '10.2.0.11:6000', 'many'], /the weight must be an integer from 0 to 65535/],
    [['server', 'weight', 'game', '10.2.0.11:6000'], /Not enough non-option arguments/],
    [['server'], /server needs an action: drain, enable, weight or announce/],
    [[], /ctl needs a command: services, sessions, stats, server, probe, fast-path, reload or drain/],
    [['sessions', '--state', 'closed'], /Choices: "oneway", "normal"/],
    [['sessions', '--limit', '5000'], /limit "5000": expected an integer 1\.\.1000/],
    [['drain', '--cancel', '--timeout', '9s'], /--cancel goes with neither --timeout nor --no-wait/],
    [['drain', '--timeout', '90'], /timeout "90": expected duration 0s\.\.24h/],
    [['stats', 'all'], /Unknown (command|argument): all/],
  ];
  for (const [args, stderr] of rows) {
    it(`"${args.join(' ')}" with exit code 1 and what is allowed`, async (t) => {
      const admin = await startBusy(t);
      const outcome = await ctl(admin, ...args);
      assert.deepEqual([outcome.code, outcome.stdout], [1, '']);
      assert.match(outcome.stderr, stderr);
      assert.deepEqual(admin.done, []);
    });
  }

  it('and names its own help', async () => {
    assert.match((await uoaProxy('ctl', 'servces')).stderr, /^Try: uoa-proxy ctl --help$/m);
  });
});

describe('the help of ctl and top', () => {
  for (const args of [
    ['ctl'],
    ['ctl', 'services'],
    ['ctl', 'sessions'],
    ['ctl', 'drain'],
    ['ctl', 'server'],
    ['ctl', 'server', 'weight'],
    ['top'],
  ]) {
    it(`of ${args.join(' ')} fits into 80 columns`, async () => {
      const { code, stdout, stderr } = await uoaProxy(...args, '--help');
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /--token-file/);
      for (const line of stdout.split('\n')) assert.ok(line.length <= 80, line);
    });
  }

  it('names the exit codes', async () => {
    assert.match((await uoaProxy('ctl', '--help')).stdout, /^Exit codes: 0 it is done; 1 it is not/m);
  });

  for (const args of [['ctl', 'services'], ['top']]) {
    it(`of ${args.join(' ')} explains columns, states, rates and exit codes`, async () => {
      const stdout = (await uoaProxy(...args, '--help')).stdout.replaceAll('\n', ' ');
      for (const word of ['WEIGHT:', 'STATE: up; down', 'ACTIVE, INACTIVE:', 'IN/s, OUT/s:', 'Exit codes: 0'])
        assert.ok(stdout.includes(word), word);
    });
  }
});
