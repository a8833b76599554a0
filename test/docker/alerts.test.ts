// docker/prometheus: promtool judges config and rules, and carries out a story for each alert: when it fires
// and when not.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { createScratch, removeScratch } from '../../src/lab/namespace.ts';
import { ROOT } from './dockerfile.ts';
import { ALERTS, dashboardQueries, readRules } from './observed.ts';

const scratch = createScratch();
after(() => removeScratch(scratch));

function promtool(...args: string[]): void {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { encoding: 'utf8' });
  if (error) throw new Error('this test needs the program promtool (Debian package prometheus)');
  assert.equal(status, 0, `promtool ${args.join(' ')}\n${stdout}${stderr}`);
}

interface Story {
  alert: string;
  /** What happens, and what the alert does then. */
  tells: string;
  fires: boolean;
  /** Series by metric and labels, one value per 15 s; `job` and `instance` are added. */
  series: Record<string, string>;
}

const RISING = '0+1500x80'; // 100 per second
const STILL = '5000x80';
const ONE = '1x80';
const ZERO = '0x80';
const inbound = '{service="game",direction="inbound"}';
const game = '{service="game"}';
const firstAnswers = (to: string) => `{service="game",rs="10.2.0.11:6000",to="${to}"}`;
const rs = (n: number) => `{service="game",rs="10.2.0.1${n}:6000"}`;
/**
 * The series of real server n: whether it works, its weight now, and what holds of down, drained, removed,
 * fallback.
 */
const server = (n: number, up: string, weight: string, ...holds: string[]): Record<string, string> => ({
  [`uoa_proxy_server_up${rs(n)}`]: up,
  [`uoa_proxy_server_weight${rs(n)}`]: weight,
  ...Object.fromEntries(
    ['down', 'drained', 'removed', 'fallback'].map((state) => [
      `uoa_proxy_server_state{service="game",rs="10.2.0.1${n}:6000",state="${state}"}`,
      holds.includes(state) ? ONE : ZERO,
    ]),
  ),
});

const fastPathInfo = (kind: string, wanted: string): string =>
  `uoa_proxy_fast_path_info{kind="${kind}",wanted="${wanted}",why=""}`;

const STORIES: Story[] = [
  { alert: 'UoaProxyGone', tells: 'nobody answers', fires: true, series: { up: ZERO } },
  { alert: 'UoaProxyGone', tells: 'it answers', fires: false, series: { up: ONE } },
  {
    alert: 'UoaProxyNotReady',
    tells: 'an interface is down',
    fires: true,
    series: { uoa_proxy_ready: ZERO, uoa_proxy_draining: ZERO },
  },
  {
    alert: 'UoaProxyNotReady',
    tells: 'not ready, of a version that cannot drain',
    fires: true,
    series: { uoa_proxy_ready: ZERO },
  },
  {
    alert: 'UoaProxyNotReady',
    tells: 'it is drained on purpose',
    fires: false,
    series: { uoa_proxy_ready: ZERO, uoa_proxy_draining: ONE },
  },
  {
    alert: 'UoaProxyForwardsNothing',
    tells: 'packets come and none goes',
    fires: true,
    series: {
      [`uoa_proxy_packets_total${inbound}`]: RISING,
      [`uoa_proxy_forwarded_packets_total${inbound}`]: STILL,
    },
  },
  {
    alert: 'UoaProxyForwardsNothing',
    tells: 'packets come and go',
    fires: false,
    series: {
      [`uoa_proxy_packets_total${inbound}`]: RISING,
      [`uoa_proxy_forwarded_packets_total${inbound}`]: RISING,
    },
  },
  {
    alert: 'UoaProxyForwardsNothing',
    tells: 'nothing comes',
    fires: false,
    series: {
      [`uoa_proxy_packets_total${inbound}`]: STILL,
      [`uoa_proxy_forwarded_packets_total${inbound}`]: STILL,
    },
  },
  {
    alert: 'UoaProxyDrops',
    tells: 'half of the packets are dropped',
    fires: true,
    series: {
      'uoa_proxy_drops_total{service="game",reason="bad_udp_checksum"}': '0+750x80',
      [`uoa_proxy_packets_total${inbound}`]: RISING,
    },
  },
  {
    alert: 'UoaProxyDrops',
    tells: 'one packet in a hundred is dropped',
    fires: false,
    series: {
      'uoa_proxy_drops_total{service="game",reason="no_session"}': '0+1500x80',
      [`uoa_proxy_packets_total${inbound}`]: '0+150000x80',
    },
  },
  {
    alert: 'UoaProxyNoFastPath',
    tells: 'it is wanted, and another XDP program is there',
    fires: true,
    series: { [fastPathInfo('off', 'xdp')]: ONE },
  },
  {
    alert: 'UoaProxyNoFastPath',
    tells: 'nobody wants one',
    fires: false,
    series: { [fastPathInfo('off', 'off')]: ONE },
  },
  {
    alert: 'UoaProxyNoFastPath',
    tells: 'there may be one, and cannot be on this host',
    fires: false,
    series: { [fastPathInfo('off', 'auto')]: ONE },
  },
  {
    alert: 'UoaProxyNoFastPath',
    tells: 'it is there',
    fires: false,
    series: { [fastPathInfo('tc', 'auto')]: ONE },
  },
  {
    alert: 'UoaProxyFastPathDead',
    tells: 'programs find it dead',
    fires: true,
    series: { 'uoa_proxy_fast_path_passed_total{reason="dead"}': RISING },
  },
  {
    alert: 'UoaProxyFastPathDead',
    tells: 'they found one dead before',
    fires: false,
    series: { 'uoa_proxy_fast_path_passed_total{reason="dead"}': STILL },
  },
  {
    alert: 'UoaProxyFastPathSwitchedOff',
    tells: 'it is off for all services since the beginning',
    fires: true,
    series: { 'uoa_proxy_fast_path_switched_off{service=""}': ONE },
  },
  {
    alert: 'UoaProxyFastPathSwitchedOff',
    tells: 'it was off for a while',
    fires: false,
    series: { 'uoa_proxy_fast_path_switched_off{service="game"}': '1x29 _x50' },
  },
  {
    alert: 'UoaProxyLportsLow',
    tells: '90 % of the lports of a LIP are in use',
    fires: true,
    series: {
      'uoa_proxy_lports_in_use{lip="10.2.0.200"}': '900x80',
      'uoa_proxy_lports_capacity{lip="10.2.0.200"}': '1000x80',
    },
  },
  {
    alert: 'UoaProxyLportsLow',
    tells: 'half of them are in use',
    fires: false,
    series: {
      'uoa_proxy_lports_in_use{lip="10.2.0.200"}': '500x80',
      'uoa_proxy_lports_capacity{lip="10.2.0.200"}': '1000x80',
    },
  },
  {
    alert: 'UoaProxyLportsExhausted',
    tells: 'new clients are refused',
    fires: true,
    series: { 'uoa_proxy_drops_total{service="game",reason="lports_exhausted"}': '0+15x80' },
  },
  {
    alert: 'UoaProxyLportsExhausted',
    tells: 'all but those kept for known clients are in use',
    fires: true,
    series: { 'uoa_proxy_drops_total{service="game",reason="lports_reserved"}': '0+15x80' },
  },
  {
    alert: 'UoaProxyLportsExhausted',
    tells: 'packets are dropped for another reason',
    fires: false,
    series: {
      'uoa_proxy_drops_total{service="game",reason="lports_exhausted"}': STILL,
      'uoa_proxy_drops_total{service="game",reason="no_session"}': RISING,
    },
  },
  {
    alert: 'UoaProxySessionTableFull',
    tells: 'both states together come to 95 % of sessions.max',
    fires: true,
    series: {
      'uoa_proxy_sessions{service="game",state="oneway"}': '500x80',
      'uoa_proxy_sessions{service="game",state="normal"}': '450x80',
      uoa_proxy_sessions_max: '1000x80',
    },
  },
  {
    alert: 'UoaProxySessionTableFull',
    tells: 'half of it is free',
    fires: false,
    series: {
      'uoa_proxy_sessions{service="game",state="normal"}': '500x80',
      uoa_proxy_sessions_max: '1000x80',
    },
  },
  {
    alert: 'UoaProxySessionsEvicted',
    tells: 'sessions end early',
    fires: true,
    series: { [`uoa_proxy_sessions_evicted_total${game}`]: RISING },
  },
  {
    alert: 'UoaProxySessionsEvicted',
    tells: 'they once did',
    fires: false,
    series: { [`uoa_proxy_sessions_evicted_total${game}`]: STILL },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'one of two real servers is down',
    fires: true,
    series: { ...server(1, ONE, ONE), ...server(2, ZERO, ZERO, 'down') },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'the fallback is down',
    fires: true,
    series: { ...server(1, ONE, ONE), ...server(2, ZERO, ZERO, 'down', 'fallback') },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'it was down for one scrape',
    fires: false,
    series: { [`uoa_proxy_server_up${rs(1)}`]: '1x75 0 1x10' },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'it is drained, and works',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ONE, ZERO, 'drained') },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'it was drained before it was taken down',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ZERO, ZERO, 'down', 'drained') },
  },
  {
    alert: 'UoaProxyServerDown',
    tells: 'the config names it no more, and it is down',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ZERO, ZERO, 'down', 'removed') },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'all real servers are down',
    fires: true,
    series: { ...server(1, ZERO, ZERO, 'down'), ...server(2, ZERO, ZERO, 'down') },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'one is drained and the other has weight 0',
    fires: true,
    series: { ...server(1, ONE, ZERO, 'drained'), ...server(2, ONE, ZERO) },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'the fallback is down too',
    fires: true,
    series: { ...server(1, ZERO, ZERO, 'down'), ...server(2, ZERO, ZERO, 'down', 'fallback') },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'one is left',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ZERO, ZERO, 'down') },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'one of two is drained',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ONE, ZERO, 'drained') },
  },
  {
    alert: 'UoaProxyServiceDown',
    tells: 'the fallback is at work',
    fires: false,
    series: { ...server(1, ZERO, ZERO, 'down'), ...server(2, ONE, ONE, 'fallback') },
  },
  {
    alert: 'UoaProxyOnlyFallback',
    tells: 'all others are down',
    fires: true,
    series: { ...server(1, ZERO, ZERO, 'down'), ...server(2, ONE, ONE, 'fallback') },
  },
  {
    alert: 'UoaProxyOnlyFallback',
    tells: 'all others are drained',
    fires: true,
    series: { ...server(1, ONE, ZERO, 'drained'), ...server(2, ONE, ONE, 'fallback') },
  },
  {
    alert: 'UoaProxyOnlyFallback',
    tells: 'it is not needed',
    fires: false,
    series: { ...server(1, ONE, ONE), ...server(2, ONE, ZERO, 'fallback') },
  },
  {
    alert: 'UoaProxyNoAcknowledgements',
    tells: 'ACKs used to come and no longer do',
    fires: true,
    series: { [`uoa_proxy_uoa_exhausted_total${game}`]: RISING, [`uoa_proxy_uoa_acked_total${game}`]: STILL },
  },
  {
    alert: 'UoaProxyNoAcknowledgements',
    tells: 'the receiver never acknowledges',
    fires: false,
    series: { [`uoa_proxy_uoa_exhausted_total${game}`]: RISING, [`uoa_proxy_uoa_acked_total${game}`]: ZERO },
  },
  {
    alert: 'UoaProxyNoAcknowledgements',
    tells: 'most rounds are acknowledged',
    fires: false,
    series: {
      [`uoa_proxy_uoa_exhausted_total${game}`]: '0+15x80',
      [`uoa_proxy_uoa_acked_total${game}`]: RISING,
    },
  },
  {
    alert: 'UoaProxyRefusedByServer',
    tells: 'a real server cannot read its dialect',
    fires: true,
    series: { [`uoa_proxy_uoa_refusals_total${rs(1)}`]: '0+1x80' },
  },
  {
    alert: 'UoaProxyRefusedByServer',
    tells: 'all can',
    fires: false,
    series: { [`uoa_proxy_uoa_refusals_total${rs(1)}`]: ZERO },
  },
  {
    alert: 'UoaProxyUoaUnanswered',
    tells: 'a real server answers only packets without UOA',
    fires: true,
    series: { [`uoa_proxy_uoa_first_answers_total${firstAnswers('plain')}`]: '0+1x80' },
  },
  {
    alert: 'UoaProxyUoaUnanswered',
    tells: 'some are answered with it',
    fires: false,
    series: {
      [`uoa_proxy_uoa_first_answers_total${firstAnswers('plain')}`]: '0+5x80',
      [`uoa_proxy_uoa_first_answers_total${firstAnswers('uoa')}`]: '0+1x80',
    },
  },
  {
    alert: 'UoaProxyUoaNotSent',
    tells: 'UOAs are due and cannot be sent',
    fires: true,
    series: { [`uoa_proxy_uoa_failed_total${game}`]: RISING },
  },
  {
    alert: 'UoaProxyUoaNotSent',
    tells: 'all are sent',
    fires: false,
    series: { [`uoa_proxy_uoa_failed_total${game}`]: ZERO },
  },
  {
    alert: 'UoaProxyLosesPackets',
    tells: "the kernel's buffer is full",
    fires: true,
    series: { 'uoa_proxy_io_lost_total{interface="eth0",sources="any",where="kernel"}': RISING },
  },
  {
    alert: 'UoaProxyLosesPackets',
    tells: 'nothing is lost',
    fires: false,
    series: { 'uoa_proxy_io_lost_total{interface="eth0",sources="any",where="kernel"}': ZERO },
  },
  {
    alert: 'UoaProxyCannotSend',
    tells: 'there is no route',
    fires: true,
    series: { 'uoa_proxy_io_send_errors_total{error="unreachable"}': RISING },
  },
  {
    alert: 'UoaProxyCannotSend',
    tells: 'everything is sent',
    fires: false,
    series: { 'uoa_proxy_io_send_errors_total{error="unreachable"}': ZERO },
  },
  {
    alert: 'UoaProxyWorkerBusy',
    tells: 'a worker uses all of a processor',
    fires: true,
    series: { 'uoa_proxy_datapath_cpu_seconds_total{worker="0"}': '0+15x120' },
  },
  {
    alert: 'UoaProxyWorkerBusy',
    tells: 'it uses half of it',
    fires: false,
    series: { 'uoa_proxy_datapath_cpu_seconds_total{worker="0"}': '0+7.5x120' },
  },
  {
    alert: 'UoaProxyWorkerRestarted',
    tells: 'a worker ended a minute ago',
    fires: true,
    series: { 'uoa_proxy_worker_restarts_total{worker="0"}': '0x75 1x10' },
  },
  {
    alert: 'UoaProxyWorkerRestarted',
    tells: 'one ended long ago',
    fires: false,
    series: { 'uoa_proxy_worker_restarts_total{worker="0"}': ONE },
  },
  {
    alert: 'UoaProxyReloadFailed',
    tells: 'the changed config has a problem',
    fires: true,
    series: { uoa_proxy_config_last_reload_successful: '1x70 0x10' },
  },
  {
    alert: 'UoaProxyReloadFailed',
    tells: 'it was loaded',
    fires: false,
    series: { uoa_proxy_config_last_reload_successful: ONE },
  },
];

const COMMON = 'job="uoa-proxy",instance="lb:9464"';

/** `name{a="b"}` -> with job and instance. */
function labeled(series: string): string {
  return series.endsWith('}') ? series.replace('{', `{${COMMON},`) : `${series}{${COMMON}}`;
}

/** promtool evaluates the rules every 15 s for 20 minutes and is then asked which alerts fire. */
function storyFile(stories: readonly Story[]): string {
  const tests = stories.map(({ alert, tells, fires, series }) => ({
    name: `${alert}: ${tells}`,
    interval: '15s',
    input_series: Object.entries(series).map(([name, values]) => ({ series: labeled(name), values })),
    promql_expr_test: [
      {
        expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) > bool 0`,
        eval_time: '20m',
        exp_samples: fires ? [{ labels: '{}', value: 1 }] : [],
      },
    ],
  }));
  const path = join(scratch, 'stories.yml');
  writeFileSync(path, stringify({ rule_files: [ALERTS], evaluation_interval: '15s', tests }));
  return path;
}

describe('docker/prometheus', () => {
  test('the config and the rules are valid', () => {
    promtool('check', 'config', join(ROOT, 'docker/prometheus/prometheus.yml'));
    promtool('check', 'rules', ALERTS);
  });

  test('every query of the dashboard is valid', () => {
    const rules = dashboardQueries().map(({ expression }, index) => ({
      record: `query:${index}`,
      expr: expression,
    }));
    const path = join(scratch, 'dashboard.yml');
    writeFileSync(path, stringify({ groups: [{ name: 'dashboard', rules }] }));
    promtool('check', 'rules', path);
  });

  test('every alert says what is the matter and how bad it is', () => {
    for (const { alert, labels, annotations } of readRules()) {
      assert.match(alert, /^UoaProxy[A-Z]/);
      assert.match(labels.severity, /^(warning|critical)$/, alert);
      assert.ok(annotations.summary.length > 10 && /[.?]$/.test(annotations.description), alert);
    }
  });

  test('every alert has a story in which it fires and one in which it does not', () => {
    for (const { alert } of readRules()) {
      const told = new Set(STORIES.filter((story) => story.alert === alert).map(({ fires }) => fires));
      assert.deepEqual([...told].sort(), [false, true], alert);
    }
  });

  for (const story of STORIES) {
    test(`${story.alert} ${story.fires ? 'fires' : 'is silent'}: ${story.tells}`, () => {
      promtool('test', 'rules', storyFile([story]));
    });
  }
});
