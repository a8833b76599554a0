// The size that the documents allow, all at once: 400 services, 4,096 real servers, 61,440 pairs of LIP and
// real server, of which 2,000 have the sessions, 1,000,000 sessions. Each step is done by the real program,
// under live clients, and what it took is printed; that is not asserted, because it is the machine's.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { ADMIN, type ProxyProcess } from '../../../src/lab/programs.ts';
import type { Topology } from '../../../src/lab/topology.ts';
import { IO, type PythonProgram, type Rig, startPython, startRig, until } from '../harness.ts';
import { type Listed, listedIn, mappingsOf } from '../listed.ts';
import {
  ADDED_SERVER,
  DEAD_SERVERS,
  LEGS_WITH_SESSIONS,
  LIPS,
  MORE_VIPS,
  moreServices,
  SAVED_CLIENT,
  SERVERS,
  SERVICES,
  SESSIONS,
  writeState,
} from './size.ts';

const WORKERS = 1;
const HOSTS = 20;
const PORTS = 10;
/** Of each of the two services that are alive. */
const LIVE = HOSTS * PORTS;
const ALL = SESSIONS + 2 * LIVE;
const MAX = 1_200_000;
const FIRST_PORT = 20_000;
const MIB = 1 << 20;

const PAIRS = LIPS.length * SERVERS;
/**
 * A worker: a small one's 80 MiB, 1 KiB for each pair of LIP and real server, 2 KiB more for each that has
 * sessions, and 200 bytes for each session's place in the index and in the order of use.
 */
const WORKER_MIB = 80 + (1024 * PAIRS + 2048 * LEGS_WITH_SESSIONS + 200 * MAX) / MIB;
/**
 * The control plane: 200 MiB, and 2 KiB for each pair, of the plans before and after a reload, and as much
 * that is garbage.
 */
const CONTROL_MIB = 200 + (4 * 2048 * PAIRS) / MIB;
/** What they share: the records, and counters, persistence and the like. */
const SHARED_MIB = 40 + (64 * MAX) / MIB;

/** Steps, what each took, and how long the admin server let a question wait meanwhile at most. */
class Steps {
  readonly #t: TestContext;
  #longestMs = 0;

  constructor(t: TestContext) {
    this.#t = t;
  }

  /** Asks /healthz all the time: a control plane that does one thing for long answers late. */
  watch(topology: Topology): void {
    const script = `const ask = async () => {
        const start = performance.now();
        await fetch('http://${ADMIN}/healthz').then((answer) => answer.text()).catch(() => {});
        console.log(String(performance.now() - start));
        setTimeout(ask, 20);
      };
      ask();`;
    const child = topology.spawn('lb', [process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#t.after(() => child.kill('SIGKILL'));
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.#longestMs = Math.max(this.#longestMs, Number(line));
    });
  }

  async time<T>(name: string, step: () => Promise<T>, detail: (result: T) => string = () => ''): Promise<T> {
    this.#longestMs = 0;
    const start = performance.now();
    const result = await step();
    const took = ((performance.now() - start) / 1000).toFixed(2);
    const late = this.#longestMs === 0 ? '' : `; /healthz within ${Math.round(this.#longestMs)} ms`;
    this.#t.diagnostic(`${name}: ${took} s${detail(result)}${late}`);
    return result;
  }
}

/** GET from inside the load balancer's namespace, with the milliseconds that it took there. */
async function timedGet(topology: Topology, path: string): Promise<{ ms: number; body: string }> {
  const script = `const start = performance.now();
    const answer = await fetch('http://${ADMIN}${path}');
    const body = await answer.text();
    process.stdout.write(answer.status + ' ' + Math.round(performance.now() - start) + '\\n' + body);`;
  const argv = [process.execPath, '--input-type=module', '-e', script];
  const child = topology.spawn('lb', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(child, 'close');
  const [first = '', ...lines] = Buffer.concat(chunks).toString().split('\n');
  assert.match(first, /^200 /, `${path} answers`);
  return { ms: Number(first.slice(4)), body: lines.join('\n') };
}

const seriesOf = (body: string): string[] =>
  body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
const sumOf = (series: readonly string[], name: string): number =>
  series
    .filter((line) => line.startsWith(`uoa_proxy_${name}{`))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);

/** Its own memory and what it shares, in MiB. */
function memoryOf(pid: number): { own: number; shared: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const kib = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { own: Math.round(kib('RssAnon') / 1024), shared: Math.round(kib('RssShmem') / 1024) };
}

interface Stats {
  workers: { pid: number; restarts: number }[];
}
const workersOf = async (proxy: ProxyProcess) =>
  (JSON.parse((await proxy.get('/stats')).body) as Stats).workers;

const checkMemory = async (t: TestContext, proxy: ProxyProcess, when: string): Promise<void> => {
  const [worker] = await workersOf(proxy);
  const control = memoryOf(proxy.child.pid!);
  const datapath = memoryOf(worker.pid);
  t.diagnostic(
    `memory ${when}, MiB: control plane ${control.own}, worker ${datapath.own}, shared ${datapath.shared}`,
  );
  assert.ok(control.own > 0 && control.own < CONTROL_MIB, `${control.own} of ${CONTROL_MIB} MiB`);
  assert.ok(datapath.own > 0 && datapath.own < WORKER_MIB, `${datapath.own} of ${WORKER_MIB} MiB`);
  assert.ok(datapath.shared < SHARED_MIB, `${datapath.shared} of ${SHARED_MIB} MiB`);
};

async function listed(proxy: ProxyProcess, service: string): Promise<string[]> {
  const { body } = await proxy.get(`/sessions?limit=1000&service=${service}`);
  return mappingsOf(listedIn(body));
}

/** LIP:lport of every live client. */
const mappings = async (proxy: ProxyProcess, last: string): Promise<string[]> =>
  (await Promise.all(['test', last].map((name) => listed(proxy, name)))).flat();

/** As ProxyProcess.stop, which gives up after 10 s. */
async function stopped({ child }: ProxyProcess): Promise<number | null> {
  child.kill('SIGTERM');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode;
}

const lossless = (answers: readonly Record<string, unknown>[]): void => {
  for (const { sent, answered, altered, missing, unexpected } of answers)
    assert.deepEqual(
      { answered, altered, missing, unexpected },
      { answered: sent, altered: 0, missing: 0, unexpected: 0 },
    );
};

const goOn = (count: number) =>
  new RegExp(`"withoutRoom":0,"gone":0,"expired":0,"msg":"saved sessions: ${count} go on"`);

test('400 services, 4,096 real servers and 1,000,000 sessions: start, reload, scrape, end of a worker, restart', async (t) => {
  const steps = new Steps(t);
  const services = moreServices({ ip: '10.2.0.12', port: 6000 });
  const last = services.at(-1)!;
  const config: Record<string, unknown> = { log: { format: 'json' } };
  let started = 0;
  const rig = await startRig(t, {
    io: { ...IO, workers: WORKERS },
    pair: { client: 6, server: 4 },
    clients: HOSTS,
    lips: LIPS,
    realServers: [{ ip: '10.2.0.11', port: 6000 }],
    service: { timeouts: last.timeouts },
    others: services,
    config,
    beforeProxy: (topology) => {
      const stateFile = join(topology.scratch, 'sessions');
      config.sessions = { max: MAX, stateFile };
      writeState(stateFile, services, WORKERS);
      topology.exec('lb', ['ip', 'route', 'add', DEAD_SERVERS, 'dev', 'lan0']);
      topology.exec('lb', ['ip', 'route', 'add', 'local', MORE_VIPS[4], 'dev', 'lo']);
      topology.exec('lb', ['ip', '-6', 'route', 'add', 'local', MORE_VIPS[6], 'dev', 'lo']);
      started = performance.now();
    },
  });
  t.diagnostic(`start to ready: ${((performance.now() - started) / 1000).toFixed(2)} s`);
  const { topology, proxy } = rig;
  steps.watch(topology);
  assert.match(proxy.log, goOn(SESSIONS));

  const servers = await startServers(rig);
  const clients = {
    first: { portsPerAddress: PORTS, firstPort: FIRST_PORT },
    last: {
      portsPerAddress: PORTS,
      firstPort: FIRST_PORT,
      addresses: topology.clientIps[4],
      vip: last.vip[0],
      vport: last.vport,
    },
  };
  const load = [clients.first, clients.last].map((one) =>
    rig.startClients({ ...one, window: 4, sizes: [64, 1000], timeoutMs: 30_000 }),
  );
  await Promise.all(load.map(({ ready }) => ready));
  await until(
    'every client has a session',
    async () => (await mappings(proxy, last.name)).length === 2 * LIVE,
  );
  const before = await mappings(proxy, last.name);
  await checkMemory(t, proxy, 'after the start');

  await steps.time(
    'scrape of /metrics',
    () => timedGet(topology, '/metrics'),
    ({ ms, body }) => {
      const series = seriesOf(body);
      assert.equal(sumOf(series, 'sessions'), ALL);
      assert.equal(sumOf(series, 'server_sessions'), ALL);
      assert.equal(sumOf(series, 'server_up'), SERVERS - 1);
      assert.equal(sumOf(series, 'lports_in_use'), ALL);
      // Eight of each real server, some of each service: what never counted has none.
      assert.ok(series.length < 10 * (SERVERS + SERVICES), `${series.length} series`);
      return ` with a process that asks, ${ms} ms without: ${series.length} series, ${body.length} bytes`;
    },
  );

  await steps.time('reload that adds a real server', async () => {
    rig.rewriteConfig((changed) => {
      changed.services.at(-2)!.realServers.push(ADDED_SERVER);
    });
    await until('it is reloaded', () => /"msg":"(reloaded|reload failed)/.test(proxy.log));
  });
  assert.doesNotMatch(proxy.log, /reload failed/);
  assert.equal(await rig.metric('server_up'), SERVERS);
  lossless(await Promise.all(load.map((one) => one.end())));
  assert.deepEqual(await mappings(proxy, last.name), before, 'over the reload');

  const found = await steps.time(
    '/sessions?client= of an IPv6 client',
    () => timedGet(topology, `/sessions?client=${SAVED_CLIENT}`),
    ({ ms }) => ` with a process that asks, ${ms} ms without`,
  );
  const { total, sessions } = JSON.parse(found.body) as { total: number; sessions: Listed[] };
  assert.deepEqual([total, sessions[0].client], [1, SAVED_CLIENT]);

  const steady = [clients.first, clients.last].map((one) => rig.startSteadyClients({ ...one, rate: 50 }));
  await Promise.all(steady.map(({ ready }) => ready));
  const [killed] = await workersOf(proxy);
  const isBack = async () => {
    const [worker] = await workersOf(proxy);
    return worker.restarts > killed.restarts && (await proxy.get('/readyz')).status === 200;
  };
  await steps.time('kill -9 of the worker to ready again', async () => {
    process.kill(killed.pid, 'SIGKILL');
    await until('the worker is back', isBack);
  });
  const counted = await Promise.all(steady.map((one) => one.end()));
  for (const { sent, answered, longestGapMs, unexpected, lost } of counted) {
    t.diagnostic(`kill -9 of the worker: ${longestGapMs} ms without an answer, ${lost} of ${sent} lost`);
    assert.deepEqual(
      { answered, unexpected },
      { answered: (sent as number) - (lost as number), unexpected: 0 },
    );
  }
  const again = { count: 2 * LIVE, window: 4, sizes: [64, 1000], timeoutMs: 30_000 };
  const askAgain = async () => {
    for (const one of [clients.first, clients.last]) lossless([await rig.clients({ ...one, ...again })]);
  };
  await askAgain();
  assert.deepEqual(await mappings(proxy, last.name), before, 'over the end of a worker');
  assert.equal(await rig.metric('sessions'), ALL);
  await checkMemory(t, proxy, 'after the end of a worker');

  const code = await steps.time('stop, which saves the sessions', () => stopped(proxy));
  assert.equal(code, 0);
  assert.match(proxy.log, new RegExp(`"msg":"${ALL} sessions saved"`));

  const next = await steps.time('start with what was saved', async () => {
    const next = rig.startProxy();
    await next.ready();
    return next;
  });
  assert.match(next.log, goOn(ALL));
  assert.deepEqual(await mappings(next, last.name), before, 'over a restart');
  await askAgain();
  const heard = await Promise.all(servers.map((server) => server.end()));
  for (const { learned, distinctClients, wrong } of heard)
    assert.deepEqual({ learned, distinctClients, wrong }, { learned: LIVE, distinctClients: LIVE, wrong: 0 });
});

async function startServers({ topology }: Rig): Promise<PythonProgram[]> {
  const addresses = ['10.2.0.11', '10.2.0.12'].map((ip) => ({ ip, port: 6000 }));
  const servers = addresses.map((address) => startPython(topology, 'rs', 'server.py', address));
  await Promise.all(servers.map(({ ready }) => ready));
  return servers;
}
