import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { COUNTER, counterCells, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import {
  SERVER_COUNTER,
  SERVER_COUNTERS,
  type ServerCounterName,
  serverRow,
} from '../../src/datapath/server-cells.ts';
import { DROP, DROP_REASONS } from '../../src/datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS } from '../../src/io/packet-io.ts';
import { FAST_AT_TC, type SampleAdmin, startSample } from './sample.ts';

/** The value of each series, by its text. */
function seriesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [
      line.slice(0, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' ') + 1)),
    ]),
  );
}

describe('/metrics', () => {
  it('passes promtool check metrics without a remark', async (t) => {
    const admin = await startSample(t);
    const promtool = spawnSync('promtool', ['check', 'metrics'], {
      input: await admin.metrics(),
      encoding: 'utf8',
    });
    assert.equal(promtool.error, undefined, 'promtool is missing: install the Debian package prometheus');
    assert.equal(promtool.status, 0, promtool.stderr);
    assert.equal(promtool.stdout + promtool.stderr, '');
  });

  it('passes promtool also while there is no datapath', async (t) => {
    const admin = await startSample(t, { workers: () => [{ pid: undefined, restarts: 1 }] });
    const text = await admin.metrics();
    const promtool = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    assert.equal(promtool.status, 0, promtool.stderr);
    assert.ok(!text.includes('uoa_proxy_datapath_cpu_seconds_total{'));
  });

  it('exports every counter of every row exactly once', async (t) => {
    const admin = await startSample(t);
    const { counters } = admin.sources;
    for (let index = 0; index < counters.length; index++) counters[index] = 1_000_000 + index;
    const values = [...seriesOf(await admin.metrics()).values()];
    for (let service = -1; service < 2; service++) {
      const columns = [
        ...Object.entries(COUNTER),
        ...DROP_REASONS.map((reason) => [reason, dropColumn(DROP[reason])]),
      ];
      for (const [name, column] of columns as [string, number][]) {
        const value = 1_000_000 + counterRow(service) + column;
        assert.equal(values.filter((one) => one === value).length, 1, `${name} of row ${service}`);
      }
    }
  });

  it('exports every counter of every real server exactly once', async (t) => {
    const admin = await startSample(t);
    const { servers } = admin.sources;
    for (let index = 0; index < servers.length; index++) servers[index] = 1_000_000 + index;
    const series = seriesOf(await admin.metrics());
    for (let index = 0; index < 4; index++) {
      for (const name of SERVER_COUNTERS) {
        const value = 1_000_000 + serverRow(index) + SERVER_COUNTER[name];
        const found = [...series].filter(([, one]) => one === value);
        assert.equal(found.length, 1, `${name} of real server ${index}`);
        assert.match(found[0][0], /\{service="[^"]+",rs="[^"]+"/);
      }
    }
  });

  it('follows a reload: services, real servers and LIPs are read anew', async (t) => {
    let shown = 1;
    const admin = await startSample(t);
    const all = admin.sources.services();
    admin.sources.services = () => all.slice(0, shown);
    assert.doesNotMatch(await admin.metrics(), /service="10\.1\.0\.100:6001"/);
    shown = 2;
    assert.match(await admin.metrics(), /service="10\.1\.0\.100:6001"/);
  });

  const states: [name: string, set: (admin: SampleAdmin) => void, expected: Record<string, number>][] = [
    [
      'a real server that is down has no weight, and the fallback steps in',
      ({ states }) => {
        states[0] = { ...states[0], state: 'down', isDown: true, reason: 'no reply' };
      },
      { 'server_up{1}': 0, 'server_weight{1}': 0, 'server_up{9}': 1, 'server_weight{9}': 1 },
    ],
    [
      'a real server that is drained or removed is up, without weight',
      ({ states }) => {
        states[0] = { ...states[0], state: 'drained', isDrained: true };
        states[1] = { ...states[1], state: 'removed', isRemoved: true };
      },
      { 'server_up{1}': 1, 'server_weight{1}': 0, 'server_up{9}': 1, 'server_weight{9}': 0 },
    ],
    [
      'a weight that an operator set counts',
      ({ states }) => {
        states[0] = { ...states[0], weightSetTo: 7 };
      },
      { 'server_up{1}': 1, 'server_weight{1}': 7, 'server_weight{9}': 0 },
    ],
    [
      'a weight of 0 lets the fallback step in',
      ({ states }) => {
        states[0] = { ...states[0], weightSetTo: 0 };
      },
      { 'server_up{1}': 1, 'server_weight{1}': 0, 'server_weight{9}': 1 },
    ],
  ];
  for (const [name, set, expected] of states) {
    it(name, async (t) => {
      const admin = await startSample(t);
      set(admin);
      const series = seriesOf(await admin.metrics());
      for (const [short, value] of Object.entries(expected)) {
        const rs = short.includes('{1}') ? '10.2.0.11:6000' : '10.2.0.9:6000';
        const full = `uoa_proxy_${short.replace(/\{.*/, '')}{service="game",rs="${rs}"}`;
        assert.equal(series.get(full), value, full);
      }
    });
  }

  it('each real server has every state that holds', async (t) => {
    const admin = await startSample(t);
    const up = admin.states[0];
    admin.states[1] = { ...up, state: 'down', isDown: true, isDrained: true };
    admin.states[2] = { ...up, state: 'removed', isRemoved: true };
    const series = seriesOf(await admin.metrics());
    const statesOf = (service: string, rs: string) =>
      ['down', 'drained', 'removed', 'fallback'].filter((state) => {
        const name = `uoa_proxy_server_state{service="${service}",rs="${rs}",state="${state}"}`;
        assert.ok(series.has(name), name);
        return series.get(name) === 1;
      });
    assert.deepEqual(statesOf('game', '10.2.0.11:6000'), []);
    assert.deepEqual(statesOf('game', '10.2.0.9:6000'), ['down', 'drained', 'fallback']);
    assert.deepEqual(statesOf('10.1.0.100:6001', '10.2.0.12:6000'), ['removed']);
  });

  const reloads: [last: { ok: boolean; at: Date } | undefined, successful: number, at: number][] = [
    [undefined, 1, 1_700_000_000],
    [{ ok: true, at: new Date(1_700_000_100_000) }, 1, 1_700_000_100],
    [{ ok: false, at: new Date(1_700_000_200_000) }, 0, 1_700_000_200],
  ];
  for (const [last, successful, at] of reloads) {
    const when =
      last === undefined ? 'before a reload' : `after one that ${last.ok ? 'succeeded' : 'failed'}`;
    it(`says how the last reload went ${when}`, async (t) => {
      const admin = await startSample(t, { reloads: () => ({ succeeded: 3, failed: 2, last }) });
      const series = seriesOf(await admin.metrics());
      assert.equal(series.get('uoa_proxy_config_last_reload_successful'), successful);
      assert.equal(series.get('uoa_proxy_config_last_reload_timestamp_seconds'), at);
      assert.equal(series.get('uoa_proxy_config_reloads_total{result="ok"}'), 3);
      assert.equal(series.get('uoa_proxy_config_reloads_total{result="failed"}'), 2);
    });
  }

  it('exports every I/O counter of every row', async (t) => {
    const admin = await startSample(t);
    for (const name of IO_COUNTERS) {
      for (let row = 0; row < 5; row++) {
        admin.sources.io.fill(0);
        admin.sources.io[row * IO_COUNTERS.length + IO_COLUMN[name]] = 777_777;
        const values = [...seriesOf(await admin.metrics()).values()];
        assert.equal(values.filter((one) => one === 777_777).length, 1, `${name} of row ${row}`);
      }
    }
  });

  it('the CPU time of a worker does not go back when another process takes its place', async (t) => {
    let pid = process.pid;
    const admin = await startSample(t, { workers: () => [{ pid, restarts: 0 }] });
    const read = async () =>
      seriesOf(await admin.metrics()).get('uoa_proxy_datapath_cpu_seconds_total{worker="0"}')!;
    const before = await read();
    assert.ok(before > 0);
    const child = spawn('sleep', ['60']);
    t.after(() => child.kill('SIGKILL'));
    pid = child.pid!;
    assert.ok((await read()) >= before);
    assert.ok((await read()) < before + 5, 'once');
  });

  it('names its series as documented', async (t) => {
    const switchedOff = { all: false, services: ['game'] };
    const admin = await startSample(t, {
      ...FAST_AT_TC,
      fastPath: () => ({ ...FAST_AT_TC.fastPath(), switchedOff }),
    });
    const { counters, io } = admin.sources;
    const game = counterRow(0);
    counters[game + COUNTER.inboundPackets] = 11;
    counters[game + COUNTER.outboundBytes] = 12;
    counters[game + COUNTER.inboundForwarded] = 13;
    counters[game + COUNTER.sessionsOneway] = 14;
    counters[game + COUNTER.uoaCarrier] = 15;
    counters[counterRow(1) + COUNTER.uoaAcked] = 16;
    counters[counterRow(-1) + dropColumn(DROP.no_session)] = 17;
    counters[game + COUNTER.fragmentsReceived] = 22;
    counters[game + COUNTER.datagramsReassembled] = 23;
    counters[game + COUNTER.datagramsFragmented] = 24;
    counters[game + COUNTER.sessionsMoved] = 29;
    const server = (index: number, name: ServerCounterName) => serverRow(index) + SERVER_COUNTER[name];
    admin.sources.servers[server(0, 'refusals')] = 25;
    admin.sources.servers[server(1, 'inboundPackets')] = 26;
    admin.sources.servers[server(3, 'sessionsNormal')] = 27;
    admin.sources.servers[server(3, 'onewayEnded')] = 28;
    admin.sources.servers[server(0, 'sessionsAnswered')] = 31;
    io[IO_COLUMN.lostKernel] = 18;
    io[4 * IO_COUNTERS.length + IO_COLUMN.lostKernel] = 30;
    io[IO_COUNTERS.length + IO_COLUMN.sent] = 19;
    io[2 * IO_COUNTERS.length + IO_COLUMN.sent] = 1;
    io[2 * IO_COUNTERS.length + IO_COLUMN.sentByIp] = 32;
    io[2 * IO_COUNTERS.length + IO_COLUMN.sendTooBig] = 21;
    const series = seriesOf(await admin.metrics());
    const expected: [string, number][] = [
      ['packets_total{service="game",direction="inbound"}', 11],
      ['bytes_total{service="game",direction="outbound"}', 12],
      ['forwarded_packets_total{service="game",direction="inbound"}', 13],
      ['sessions{service="game",state="oneway"}', 14],
      ['uoa_sent_total{service="game",carriage="carrier"}', 15],
      ['uoa_acked_total{service="10.1.0.100:6001"}', 16],
      ['drops_total{service="",reason="no_session"}', 17],
      ['fragments_received_total{service="game"}', 22],
      ['datagrams_reassembled_total{service="game"}', 23],
      ['datagrams_fragmented_total{service="game"}', 24],
      ['uoa_refusals_total{service="game",rs="10.2.0.11:6000"}', 25],
      ['server_packets_total{service="game",rs="10.2.0.9:6000",direction="inbound"}', 26],
      ['server_sessions{service="10.1.0.100:6001",rs="[fd00:2::12]:6000",state="normal"}', 27],
      ['server_sessions_unanswered_total{service="10.1.0.100:6001",rs="[fd00:2::12]:6000"}', 28],
      ['server_sessions_answered_total{service="game",rs="10.2.0.11:6000"}', 31],
      ['server_up{service="game",rs="10.2.0.11:6000"}', 1],
      ['server_weight{service="game",rs="10.2.0.11:6000"}', 100],
      ['server_weight{service="game",rs="10.2.0.9:6000"}', 0],
      ['sessions_moved_total{service="game"}', 29],
      ['worker_restarts_total{worker="1"}', 2],
      ['draining', 0],
      ['io_lost_total{interface="wan0",sources="any",where="kernel"}', 18],
      ['io_lost_total{interface="lan0",sources="known",where="kernel"}', 30],
      ['io_sent_total', 20],
      ['io_sent_by_ip_total', 32],
      ['io_send_errors_total{error="too_big"}', 21],
      ['lports_in_use{lip="10.2.0.200"}', 7],
      ['lports_capacity{lip="10.2.0.200"}', 150],
      ['lports_in_use{lip="10.2.0.201"}', 5],
      ['sessions_max', 5000],
      ['start_time_seconds', 1_700_000_000],
      ['ready', 1],
      ['fast_path_info{kind="tc",wanted="auto",why="no card stands behind wan0, lan0"}', 1],
      ['fast_path_attached{interface="wan0",how="tcx"}', 1],
      ['fast_path_switched_off{service="game"}', 1],
      ['fast_path_passed_total{reason="not_hot"}', 12_345],
      [`build_info{version="1.2.3",node="${process.version}",io_mode="pcap"}`, 1],
    ];
    for (const [name, value] of expected) assert.equal(series.get(`uoa_proxy_${name}`), value, name);
    for (const name of series.keys()) assert.match(name, /^uoa_proxy_/);
  });

  it('leaves out what never counted, and keeps what tells that nothing is forwarded', async (t) => {
    const admin = await startSample(t);
    const text = await admin.metrics();
    const counters = [...text.matchAll(/^# TYPE uoa_proxy_(\S+) counter$/gm)].map(([, name]) => name);
    const withService = new Set(
      [...seriesOf(text).keys()]
        .filter((name) => /[{,](service|rs)="/.test(name))
        .map((name) => /^uoa_proxy_(\w+)/.exec(name)![1])
        .filter((name) => counters.includes(name)),
    );
    assert.deepEqual(withService, new Set(['packets_total', 'bytes_total', 'forwarded_packets_total']));
    const packets = [...seriesOf(text).keys()].filter((name) => name.startsWith('uoa_proxy_packets_total'));
    assert.deepEqual(
      new Set(packets.map((name) => /service="(.*)",direction="(.*)"/.exec(name)!.slice(1).join())),
      new Set([
        ',',
        ...['game', '10.1.0.100:6001'].flatMap((name) => [`${name},inbound`, `${name},outbound`]),
      ]),
    );
    admin.sources.counters[counterRow(1) + dropColumn(DROP.no_session)] = 1;
    const drops = [...seriesOf(await admin.metrics())].filter(([name]) => name.includes('drops_total'));
    assert.deepEqual(drops, [['uoa_proxy_drops_total{service="10.1.0.100:6001",reason="no_session"}', 1]]);
  });

  it('declares counters as counters and gauges as gauges', async (t) => {
    const text = await (await startSample(t)).metrics();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)];
    assert.ok(types.length > 30);
    for (const [, name, type] of types)
      assert.equal(type, name.endsWith('_total') ? 'counter' : 'gauge', name);
  });

  it('has the counters of all workers added up before it reads them', async (t) => {
    const counters = new Float64Array(counterCells(2));
    const refresh = () => {
      counters[counterRow(-1) + COUNTER.handedOver] = 7;
    };
    const admin = await startSample(t, { counters, refresh });
    const series = seriesOf(await admin.metrics());
    assert.equal(series.get('uoa_proxy_handed_over_total{service=""}'), 7);
  });

  it('reads counters anew at each scrape', async (t) => {
    const admin = await startSample(t);
    const cell = counterRow(0) + COUNTER.sessionsCreated;
    for (const value of [5, 9, 2 ** 40]) {
      admin.sources.counters[cell] = value;
      const series = seriesOf(await admin.metrics());
      assert.equal(series.get('uoa_proxy_sessions_created_total{service="game"}'), value);
    }
  });

  it('shows the CPU time and memory of each datapath process', async (t) => {
    const series = seriesOf(await (await startSample(t)).metrics());
    assert.ok(series.has('uoa_proxy_datapath_cpu_seconds_total{worker="1"}'));
    const cpu = series.get('uoa_proxy_datapath_cpu_seconds_total{worker="0"}')!;
    const resident = series.get('uoa_proxy_datapath_resident_memory_bytes{worker="0"}')!;
    const { user, system } = process.cpuUsage();
    assert.ok(Math.abs(cpu - (user + system) / 1e6) < 0.5, String(cpu));
    assert.ok(Math.abs(resident / process.memoryUsage.rss() - 1) < 0.2, String(resident));
  });

  it('omits the figures of a datapath that is gone', async (t) => {
    const gone = spawnSync('true').pid;
    const admin = await startSample(t, {
      workers: () => [process.pid, gone, undefined].map((pid) => ({ pid, restarts: 0 })),
    });
    const series = seriesOf(await admin.metrics());
    const workers = [0, 1, 2].filter((worker) =>
      series.has(`uoa_proxy_datapath_resident_memory_bytes{worker="${worker}"}`),
    );
    assert.deepEqual(workers, [0]);
  });

  it('counts lost lines of the log', async (t) => {
    const series = seriesOf(await (await startSample(t, { logLinesLost: () => 33 })).metrics());
    assert.equal(series.get('uoa_proxy_log_lines_lost_total'), 33);
  });

  it('says 0 in uoa_proxy_ready while not ready', async (t) => {
    const admin = await startSample(t, { readiness: () => ({ ready: false, reason: 'starting' }) });
    assert.equal(seriesOf(await admin.metrics()).get('uoa_proxy_ready'), 0);
  });

  it('holds no address of a client', async (t) => {
    const admin = await startSample(t);
    admin.sources.counters.fill(1);
    admin.sources.servers.fill(1);
    const text = await admin.metrics();
    const labels = new Set([...text.matchAll(/[{,](\w+)="/g)].map(([, name]) => name));
    const allowed = [
      'service',
      'direction',
      'state',
      'carriage',
      'reason',
      'kind',
      'lip',
      'rs',
      'interface',
      'sources',
      'where',
      'error',
      'worker',
      'result',
      'to',
    ];
    assert.deepEqual([...labels].sort(), [...allowed, 'version', 'node', 'io_mode', 'wanted', 'why'].sort());
  });
});
