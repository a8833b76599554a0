import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COUNTER, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { DROP } from '../../src/datapath/verdict.ts';
import { IO_COLUMN } from '../../src/io/packet-io.ts';
import { startSample } from '../admin/sample.ts';
import { bashBeside, uoaProxyBeside, uoaProxyOnTerminal } from './ctl-program.ts';
import { PROGRAM } from './program.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface Rates {
  [name: string]: number | null | object;
  drops: Record<string, number>;
}
interface Frame {
  time: string;
  seconds: number;
  uptimeSeconds: number;
  sessions: { normal: number; oneway: number; max: number };
  workers: object[];
  perSecond: Rates;
  services: {
    name: string;
    sessions: object;
    perSecond: Rates;
    realServers: { ip: string; state: string; sessions: object; perSecond: object }[];
  }[];
}

/** `top --json` with a pipe as its standard output. */
function startTop(t: TestContext, url: string, ...args: string[]) {
  const [node, ...program] = PROGRAM;
  const child = spawn(node, [...program, 'top', '--json', '--admin', url, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    ended,
    stderr: () => stderr,
    async next(): Promise<Frame> {
      const { value, done } = await lines.next();
      assert.ok(!done, `ended early: ${stderr}`);
      return JSON.parse(value) as Frame;
    },
  };
}

const IDLE = {
  inboundPackets: 0,
  inboundBits: 0,
  inboundForwarded: 0,
  outboundPackets: 0,
  outboundBits: 0,
  outboundForwarded: 0,
  inboundFast: 0,
  outboundFast: 0,
  sessionsCreated: 0,
  sessionsExpired: 0,
  sessionsEvicted: 0,
  uoaInserted: 0,
  uoaCarrier: 0,
  uoaHeader: 0,
  uoaAcked: 0,
  uoaFailed: 0,
  dropped: 0,
  drops: {},
};
const NONE = { oneway: 0, normal: 0 };
const server = (ip: string, more: object = {}) => ({
  ip,
  port: 6000,
  weight: 100,
  effectiveWeight: 100,
  isFallback: false,
  state: 'up',
  isDrained: false,
  isRemoved: false,
  reason: 'not checked',
  since: '2023-11-14T22:13:20.000Z',
  dialect: 'ipo',
  sessions: NONE,
  perSecond: { inboundPackets: 0, outboundPackets: 0 },
  ...more,
});

const NO_SHARE = { sessions: 0, forwarded: { inbound: 0, outbound: 0 } };

describe('top --json', () => {
  it('prints what the screen shows as an object on one line, names as in /stats and /services', async (t) => {
    const admin = await startSample(t);
    const { code, stdout, stderr } = await uoaProxyBeside(
      t,
      ...['top', '--json', '--once', '--admin', admin.url('')],
    );
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^[^\n]+\n$/);
    const { time, seconds, uptimeSeconds, ...rest } = JSON.parse(stdout) as Frame;
    assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, time);
    assert.ok(seconds >= 1, String(seconds));
    assert.ok(Number.isInteger(uptimeSeconds));
    assert.deepEqual(rest, {
      version: '1.2.3',
      ready: true,
      reason: 'serving 2 services',
      draining: false,
      ioMode: 'pcap',
      fastPath: {
        kind: 'off',
        wanted: 'off',
        why: 'io.fastPath is off',
        interfaces: [],
        switchedOff: { all: false, services: [] },
        ...NO_SHARE,
        passed: {},
      },
      workers: [
        { pid: process.pid, restarts: 0 },
        { pid: process.ppid, restarts: 2 },
      ],
      sessions: { ...NONE, max: 5000 },
      perSecond: { ...IDLE, lost: 0, refused: 0 },
      services: [
        {
          name: 'game',
          vips: ['fd00:1::100', '10.1.0.100'],
          vport: 6000,
          scheduler: 'rr',
          sessions: NONE,
          fastPath: { ...NO_SHARE, isOff: false },
          perSecond: IDLE,
          realServers: [
            server('10.2.0.11'),
            server('10.2.0.9', { weight: 1, effectiveWeight: 0, isFallback: true }),
          ],
        },
        {
          name: '10.1.0.100:6001',
          vips: ['10.1.0.100'],
          vport: 6001,
          scheduler: 'rr',
          sessions: NONE,
          fastPath: { ...NO_SHARE, isOff: false },
          perSecond: IDLE,
          realServers: [server('10.2.0.12', { dialect: 'opp' }), server('fd00:2::12', { dialect: 'elb' })],
        },
      ],
    });
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`prints a line per second with the rates of that second until ${signal}`, async (t) => {
      const admin = await startSample(t);
      const top = startTop(t, admin.url(''));
      await top.next();
      const { counters, servers, io } = admin.sources;
      const game = counterRow(0);
      const traffic = () => {
        counters[game + COUNTER.inboundPackets] += 4000;
        counters[game + COUNTER.inboundBytes] += 400_000;
        counters[game + COUNTER.uoaInserted] += 300;
        counters[game + COUNTER.uoaAcked] += 200;
        counters[game + COUNTER.sessionsNormal] = 12;
        counters[game + dropColumn(DROP.denied)] += 50;
        counters[counterRow(-1) + dropColumn(DROP.no_session)] += 70;
        servers[serverRow(0) + SERVER_COUNTER.inboundPackets] += 3900;
        servers[serverRow(0) + SERVER_COUNTER.sessionsNormal] = 12;
        io[IO_COLUMN.lostKernel] += 5;
      };
      const inboundOf = ({ perSecond: all, services: [one] }: Frame) => [
        all.inboundPackets,
        one.perSecond.inboundPackets,
      ];
      let frame: Frame;
      // /stats and /services are two requests: what comes between them is in the one now, in the other a
      // frame later.
      for (let isWhole = false; !isWhole; ) {
        traffic();
        do frame = await top.next();
        while (inboundOf(frame).every((rate) => rate === 0));
        isWhole = inboundOf(frame).every((rate) => rate !== 0);
        if (!isWhole) await top.next();
      }
      const { seconds, perSecond, sessions, services } = frame!;
      const [of, other] = services;
      const near = (value: unknown, expected: number) =>
        assert.ok(Math.abs((value as number) * seconds - expected) < expected / 100, `${value} ${expected}`);
      assert.equal(sessions.normal, 12);
      for (const rates of [perSecond, of.perSecond]) {
        near(rates.inboundPackets, 4000);
        near(rates.inboundBits, 3_200_000);
        near(rates.uoaInserted, 300);
        near(rates.uoaAcked, 200);
        near(rates.drops.denied, 50);
      }
      near(perSecond.dropped, 120);
      near(perSecond.lost, 5);
      assert.deepEqual(Object.keys(perSecond.drops), ['no_session', 'denied']);
      assert.deepEqual(Object.keys(of.perSecond.drops), ['denied']);
      assert.deepEqual(other.perSecond, IDLE);
      const [first] = of.realServers;
      near((first.perSecond as Rates).inboundPackets, 3900);
      assert.deepEqual(first.sessions, { oneway: 0, normal: 12 });
      top.child.kill(signal);
      assert.deepEqual(await top.ended, { code: 0, signal: null, stderr: '' });
    });
  }

  it('ends when nobody reads any more', async (t) => {
    const admin = await startSample(t);
    const { stdout, stderr } = await bashBeside(
      t,
      `uoa-proxy top --json --admin ${admin.url('')} | head -1; echo "\${PIPESTATUS[0]}"`,
    );
    const [line, code, ...rest] = stdout.split('\n');
    assert.equal((JSON.parse(line) as Frame).workers.length, 2);
    assert.deepEqual([code, rest, stderr], ['0', [''], '']);
  });

  it('says once that the proxy does not answer, and goes on with whole lines when it does', async (t) => {
    const admin = await startSample(t);
    const top = startTop(t, admin.url(''));
    await top.next();
    const { reloads } = admin.sources;
    let asked = 0;
    const again = new Promise<void>((resolve) => {
      admin.sources.reloads = () => {
        if (++asked === 2) resolve();
        throw new Error('cannot answer now');
      };
    });
    await again;
    admin.sources.reloads = reloads;
    // Lines from before may still come.
    let frame = await top.next();
    while (frame.seconds > 2 || top.stderr() === '') frame = await top.next();
    frame = await top.next();
    assert.ok(frame.seconds >= 1);
    assert.equal(frame.perSecond.inboundPackets, 0);
    top.child.kill('SIGTERM');
    const { code, stderr } = await top.ended;
    assert.equal(code, 0);
    assert.match(stderr, /^uoa-proxy: [^\n]*cannot answer now[^\n]*\n$/);
  });

  it('has null for rates that it cannot tell, as when another proxy answers than before', async (t) => {
    const admin = await startSample(t);
    admin.sources.counters[counterRow(0) + COUNTER.inboundPackets] = 4000;
    const top = startTop(t, admin.url(''));
    await top.next();
    admin.sources.counters[counterRow(0) + COUNTER.inboundPackets] = 7;
    let frame = await top.next();
    while (frame.perSecond.inboundPackets !== null) frame = await top.next();
    assert.equal(frame.services[0].perSecond.inboundPackets, null);
    assert.equal(frame.perSecond.outboundPackets, 0);
  });

  it('prints lines on a terminal too, and touches neither screen nor keyboard', async (t) => {
    const admin = await startSample(t);
    const terminal = uoaProxyOnTerminal(t, 'true', 'top', '--json', '--admin', admin.url(''));
    await terminal.shows(/\n\{.*\r\n/);
    terminal.type('\u0003');
    assert.equal(await terminal.ended, 0);
    const shown = terminal.text().replace('^C', '').trim().split('\r\n');
    for (const line of shown) assert.ok((JSON.parse(line) as Frame).time);
  });

  it('ends with 1 and the reason when there is no proxy, or when the lines cannot be written', async (t) => {
    const { code, stdout, stderr } = await uoaProxyBeside(t, 'top', '--json', '--admin', '127.0.0.1:1');
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /^uoa-proxy: cannot reach the proxy at http:\/\/127\.0\.0\.1:1/);
    const admin = await startSample(t);
    const terminal = uoaProxyOnTerminal(t, 'exec >/dev/full', ...['top', '--json', '--admin', admin.url('')]);
    assert.equal(await terminal.ended, 1);
    assert.match(terminal.text(), /^uoa-proxy: cannot write to standard output: ENOSPC/);
  });
});
