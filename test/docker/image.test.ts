// docker/Dockerfile carried out (image.ts), and what comes out run as containers would be: with the
// capabilities that a runtime gives, with too few, and with none to gain.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientTotals } from '../../src/lab/events.ts';
import { createNamespace, removeNamespace, run } from '../../src/lab/namespace.ts';
import { ComposeNetwork } from './compose.ts';
import { buildImage, type ContainerOptions, type Image } from './image.ts';
import { dashboardQueries, metricsOf } from './observed.ts';

const BOTH = ['net_admin', 'net_raw'];
const ALL_THREE = [...BOTH, 'bpf'];
/** Logged at the start where bpf(2) is refused. */
const NO_RINGS_OF_THEIR_OWN = /a flood may cost clients with sessions packets/g;
const CONFIG = '/etc/uoa-proxy/proxy.yaml';
// All on loopback; 192.0.2.1 is there only while the proxy runs.
const ON_LOOPBACK = `
io: { wan: lo, lan: lo, assignAddresses: true, bufferSize: 1MiB, workers: 1 }
log: { format: json }
services:
  - { name: game, vip: 192.0.2.1, vport: 6000, lips: [127.0.0.2], realServers: [{ ip: 127.0.0.1, port: 6000 }] }
`;

describe('docker/Dockerfile, carried out', () => {
  let image: Image;
  let network: string;
  before(async () => {
    image = await buildImage();
    image.mountFile(CONFIG, ON_LOOPBACK);
    network = createNamespace('image');
  });
  after(() => {
    if (network) removeNamespace(network);
    image?.remove();
  });

  const entry = (...args: string[]) => [...image.entrypoint, ...(args.length > 0 ? args : image.command)];

  test('the image has the packages of production and no others, and no compiler output but the two modules', async () => {
    const { text } = await image.output([
      'sh',
      '-c',
      'ls node_modules; find node_modules -name "*.o"; ls cap 2>/dev/null',
    ]);
    assert.match(text, /^fastify$/m);
    assert.match(text, /^cap$/m);
    assert.doesNotMatch(text, /^(typescript|tsx|esbuild)$/m);
    assert.doesNotMatch(text, /\.o$/m);
  });

  test('check and --version need no capability', async () => {
    const check = await image.output(entry('check', '--config', CONFIG));
    assert.deepEqual(check, { code: 0, text: 'OK: 1 service, 1 VIP, 1 LIP, 1 real server\n' });
    const version = await image.output(entry('--version'), { noNewPrivileges: true });
    assert.match(version.text, /^\d+\.\d+\.\d+\n$/);
  });

  const refused: [string, ContainerOptions, RegExp][] = [
    ['without NET_ADMIN', { capabilities: ['net_raw'] }, /--cap-add NET_ADMIN --cap-add NET_RAW/],
    ['without any capability', {}, /--cap-add NET_ADMIN --cap-add NET_RAW/],
    ['with no-new-privileges', { capabilities: BOTH, noNewPrivileges: true }, /allowPrivilegeEscalation/],
    ['as another user', { capabilities: BOTH, user: '4242:4242' }, /run it as 10001:10001/],
  ];
  for (const [how, options, expected] of refused) {
    test(`started ${how} it says what to change and exits with 1`, async () => {
      const { code, text } = await image.output(entry(), { ...options, network });
      assert.equal(code, 1, text);
      assert.match(text, expected);
    });
  }

  const asRoot = { user: '0:0', noNewPrivileges: true };
  // Without CAP_BPF one warning is expected: the kernel here, as Debian's, lets nobody else call bpf(2)
  // (kernel.unprivileged_bpf_disabled is not 0).
  const started: [string, ContainerOptions, { warnings: number }][] = [
    ['its own user and all three capabilities', { capabilities: ALL_THREE }, { warnings: 0 }],
    ['its own user and no CAP_BPF', { capabilities: BOTH }, { warnings: 1 }],
    [
      'root, all three capabilities and no-new-privileges',
      { capabilities: ALL_THREE, ...asRoot },
      { warnings: 0 },
    ],
    ['root, no CAP_BPF and no-new-privileges', { capabilities: BOTH, ...asRoot }, { warnings: 1 }],
  ];
  for (const [how, options, { warnings }] of started) {
    test(`with ${how} it runs on a read-only root, is healthy, and ends in order on SIGTERM`, async (t) => {
      const inNetwork = { ...options, network };
      const unhealthy = await image.output(image.healthcheck, { network });
      assert.equal(unhealthy.code, 1, 'nothing answers yet');
      const proxy = image.start(entry(), inNetwork, { stdio: ['ignore', 'pipe', 'inherit'] });
      let log = '';
      const ready = new Promise<void>((resolve) => {
        proxy.stdout!.on('data', (chunk: Buffer) => {
          log += chunk;
          if (log.includes('"msg":"ready"')) resolve();
        });
      });
      const ended = once(proxy, 'exit');
      // Also when it is not as expected: the next row's proxy needs the network for itself.
      t.after(async () => {
        proxy.kill('SIGTERM');
        await ended;
      });
      await Promise.race([ready, ended]);
      assert.equal(proxy.exitCode, null, log);
      assert.match(log, /"io":"ring"/);
      assert.equal(log.match(NO_RINGS_OF_THEIR_OWN)?.length ?? 0, warnings, log);
      assert.match(run(['ip', '-n', network, '-j', 'address']), /192\.0\.2\.1/, 'assigned');
      assert.match(
        run(['ip', 'netns', 'exec', network, 'nft', 'list', 'ruleset']),
        /uoa_proxy_/,
        'the guard, of a child, nft',
      );
      assert.deepEqual(await image.output(image.healthcheck, { network }), { code: 0, text: '' });
      const denied = await image.output(['sh', '-c', 'echo >/opt/uoa-proxy/x'], { user: '0:0' });
      assert.match(denied.text, /Read-only file system/);
      // The pid is that of the proxy itself: everything before it was replaced by exec.
      proxy.kill('SIGTERM');
      assert.deepEqual(await ended, [0, null], log);
      assert.doesNotMatch(run(['ip', '-n', network, '-j', 'address']), /192\.0\.2\.1/);
    });
  }

  test("with the node's folder mounted, what SIGUSR2 leaves of the fast path is the next container's, and SIGTERM leaves nothing", async () => {
    const pins = image.makePins();
    image.mountFile(
      '/etc/uoa-proxy/fast.yaml',
      ON_LOOPBACK.replace('workers: 1', 'workers: 1, fastPath: tc'),
    );
    const options = { capabilities: ALL_THREE, network, pins };
    const startOne = async () => {
      const argv = entry('run', '--config', '/etc/uoa-proxy/fast.yaml');
      const proxy = image.start(argv, options, { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(proxy, 'exit');
      const nextOf = linesOf(proxy);
      const said = await nextOf(/"msg":"fast path: /);
      await nextOf(/"msg":"ready"/);
      return { said, ended, pid: proxy.pid };
    };
    const first = await startOne();
    assert.match(first.said, /(tcx|clsact) at lo/, 'nothing is said of a place to pin');
    // As the DaemonSet's hook does it: as the image's user, without a capability.
    const hook = await image.output(['sh', '-c', `kill -USR2 ${first.pid}`]);
    assert.deepEqual(hook, { code: 0, text: '' });
    assert.deepEqual(await first.ended, [0, null]);
    assert.notDeepEqual(image.pinned(pins), []);
    const next = await startOne();
    assert.match(next.said, /fast path: 0 sessions go on/);
    process.kill(next.pid!, 'SIGTERM');
    assert.deepEqual(await next.ended, [0, null]);
    assert.deepEqual(image.pinned(pins), []);
  });

  describe('docker/compose.yaml in network namespaces', () => {
    let compose: ComposeNetwork;
    before(() => {
      compose = new ComposeNetwork(image);
    });
    after(async () => await compose?.remove());

    test('clients get their answers through the load balancer, and both real servers learn who they are', async () => {
      const servers = ['real-server-1', 'real-server-2'].map((name) => linesOf(compose.start(name)));
      for (const nextOf of servers) await nextOf(/"event":"ready"/);
      const nextOfLog = linesOf(compose.start('load-balancer'));
      assert.match(await nextOfLog(/"msg":"ready"/), /"io":"ring"/);
      assert.deepEqual(await compose.healthcheck('load-balancer'), { code: 0, text: '' });
      const nextOfClient = linesOf(compose.start('client'));
      // Two seconds later: what has no answer is missing after one.
      const progress = async () => {
        for (let line = 1; line < 4; line++) await nextOfClient(/"event":"progress"/);
        return (JSON.parse(await nextOfClient(/"event":"progress"/)) as { totals: ClientTotals }).totals;
      };
      const faults = ({ missing, unexpected, errors }: ClientTotals) => missing + unexpected + errors;
      // A machine that stands still makes a client give up a datagram: between some two looks there is none.
      let before = await progress();
      for (let left = 10; ; left--) {
        const now = await progress();
        assert.equal(now.altered, 0);
        if (now.received > before.received + 20 && faults(now) === faults(before)) break;
        assert.ok(left > 0, `between each two looks something was lost: ${JSON.stringify(now)}`);
        before = now;
      }
      for (const nextOf of servers) await nextOf(/"event":"learned".*"client":"172\.30\.1\.21:/);
    });

    test('Prometheus scrapes it, and every query of the dashboard has an answer', async () => {
      // Scraped more often than in the file, so that rates, which need two scrapes, come soon.
      const script = `cp -r /etc/prometheus /run/config; sed -i 's/interval: 5s/interval: 1s/' /run/config/prometheus.yml
        exec prometheus --log.level=error --config.file=/run/config/prometheus.yml --storage.tsdb.path=/run/prometheus \\
          --web.listen-address=172.30.3.20:9090`;
      const prometheus = compose.start('prometheus', ['sh', '-ec', script]);
      const ask = (...expressions: string[]): { data: { result: unknown[] } }[] =>
        compose
          .get(
            'prometheus',
            expressions.map(
              (query) => `http://172.30.3.20:9090/api/v1/query?query=${encodeURIComponent(query)}`,
            ),
          )
          .map((text) => JSON.parse(text || '{"data":{"result":[]}}'));
      const scraped = 'count_over_time(uoa_proxy_ready{job="uoa-proxy"}[1m]) > 2';
      while (ask(scraped)[0].data.result.length === 0) {
        assert.equal(prometheus.exitCode, null, 'Prometheus runs');
        await sleep(200);
      }
      // What never counted has no series: its panels stay empty until then.
      const scrape = compose.get('prometheus', ['http://172.30.3.10:9464/metrics'])[0];
      const counted = new Set([...scrape.matchAll(/^(\w+)(?:\{.*\})? /gm)].map(([, name]) => name));
      await sleep(3000); // rates need two scrapes
      const queries = dashboardQueries();
      const answers = ask(...queries.map(({ expression }) => expression.replace(/ > 0$/, '')));
      const isAbsent = (expression: string) => metricsOf(expression).every(({ name }) => !counted.has(name));
      const unanswered = queries.filter(
        ({ expression }, index) => answers[index].data.result.length === 0 && !isAbsent(expression),
      );
      assert.deepEqual(unanswered, []);
    });
  });
});

/**
 * Reads a program's standard output: what is returned resolves with the next line that matches, and rejects
 * with all lines when the program ends before.
 */
function linesOf(program: ChildProcess): (pattern: RegExp) => Promise<string> {
  const lines = createInterface({ input: program.stdout! })[Symbol.asyncIterator]();
  const seen: string[] = [];
  return async (pattern) => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`no line matches ${pattern} in:\n${seen.join('\n')}`);
      seen.push(value);
      if (pattern.test(value)) return value;
    }
  };
}
