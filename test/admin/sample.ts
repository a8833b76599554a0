// A running admin server over typed arrays that a test fills as the datapath would.
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import {
  type AdminOptions,
  type AdminServer,
  type AdminSources,
  startAdmin,
} from '../../src/admin/server.ts';
import { OperationError, type ProbeReport, type ServerState } from '../../src/admin/sources.ts';
import { parseConfig } from '../../src/config/load.ts';
import { ServerStates } from '../../src/control/server-states.ts';
import { COUNTER_COLUMNS, counterCells } from '../../src/datapath/counters.ts';
import type { CommonMemory } from '../../src/datapath/memory.ts';
import { SERVER_COLUMNS } from '../../src/datapath/server-cells.ts';
import { IO_COUNTERS } from '../../src/io/packet-io.ts';
import { numberServices } from '../../src/service/numbering.ts';
import { planService } from '../../src/service/plan.ts';
import type { SessionTuple } from '../../src/session/find-session.ts';
import type { SessionFilter, SessionSnapshot } from '../../src/session/snapshot.ts';
import { formatEndpoint } from '../../src/wire/address.ts';

const CONFIG = `
sessions: { max: 5000 }
services:
  - { name: game, vip: ["fd00:1::100", 10.1.0.100], vport: 6000, lips: [10.2.0.200], realServers: [{ ip: 10.2.0.11, port: 6000 }], fallback: "10.2.0.9:6000" }
  - vip: 10.1.0.100
    vport: 6001
    lips: [10.2.0.200, "fd00:2::200"]
    limits: { sessions: 4000 }
    uoa: { dialect: opp, onUnsupported: unified, unifiedType: 30 }
    realServers: [{ ip: 10.2.0.12, port: 6000 }, { ip: "fd00:2::12", port: 6000, dialect: elb }]
`;

const UP: ServerState = {
  state: 'up',
  isDown: false,
  isDrained: false,
  isRemoved: false,
  reason: 'not checked',
  since: new Date(1_700_000_000_000),
  weightSetTo: undefined,
};

export const SESSION: SessionSnapshot = {
  service: 'game',
  client: '10.1.0.2',
  clientPort: 5000,
  vip: '10.1.0.100',
  vport: 6000,
  lip: '10.2.0.200',
  lport: 1031,
  rs: '10.2.0.11',
  rsPort: 6000,
  state: 'normal',
  idleMs: 12,
  uoa: { state: 'acked', sent: 1 },
  fastPath: null,
};

export const PROBED: ProbeReport = {
  service: 'game',
  from: '10.2.0.200',
  to: '10.2.0.11:6000',
  dialect: 'ipo',
  payloadBytes: 4,
  timeoutMs: 1000,
  plain: { result: 'answered', afterMs: 0.412, bytes: 4, icmp: null, isAcked: false },
  uoa: { result: 'silent', afterMs: null, bytes: null, icmp: null, isAcked: false, isCarrier: false },
  verdict: 'uoa_dropped',
  text: 'Only the plain one is answered.',
};

export interface SampleAdmin {
  sources: AdminSources;
  /** By the index of the real server: game's 0, and its fallback 1; the other service's 2 and 3. */
  states: ServerState[];
  /** What the last /sessions request asked for. */
  asked: SessionFilter[];
  /** What /session requests asked for. */
  found: SessionTuple[];
  /** What was asked of the operations, one line each. */
  done: string[];
  url(path: string): string;
  /** Path of its admin socket. */
  socket: string;
  /** Over TCP. */
  get(path: string): Promise<{ status: number; json: Record<string, unknown> }>;
  /** By the admin socket. */
  post(path: string, init?: Sent): Promise<{ status: number; json: Record<string, unknown> }>;
  metrics(): Promise<string>;
}

export interface Sent {
  headers?: Record<string, string>;
  body?: string;
}

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/**
 * A request with headers as given, which fetch does not let one choose; `at` is a URL, or the path of a
 * socket and one.
 */
export function askRaw(
  at: { url: string; socketPath?: string },
  method: string,
  { headers = {}, body = '' }: Sent = {},
): Promise<RawAnswer> {
  const { url, ...others } = at;
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers, agent: false, ...others }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: text }),
      );
    });
    asked.on('error', reject).end(body);
  });
}

/** What there is in place of no fast path. */
export const FAST_AT_TC: Pick<AdminSources, 'fastPath' | 'fastPathPassed'> = {
  fastPath: () => ({
    kind: 'tc',
    wanted: 'auto',
    why: 'no card stands behind wan0, lan0',
    interfaces: [
      { name: 'wan0', how: 'tcx' },
      { name: 'lan0', how: 'tcx' },
    ],
    switchedOff: { all: false, services: [] },
  }),
  fastPathPassed: () => ({ not_hot: 12_345, confirm: 12, ttl: 0 }),
};

export async function startSample(
  context: TestContext,
  overrides: Partial<AdminSources> = {},
  options: Partial<AdminOptions> = {},
): Promise<SampleAdmin> {
  const config = parseConfig(CONFIG, 'sample.yaml');
  const asked: SessionFilter[] = [];
  const found: SessionTuple[] = [];
  const done: string[] = [];
  const states = [0, 1, 2, 3].map(() => UP);
  const reach = { mtu: 1500, unreachable: '' };
  const services = numberServices(config.services.map((service) => planService(service, () => reach)));
  const serverIndex = (service: string, rs: string): number =>
    services
      .find(({ name }) => name === service)!
      .realServers.find(({ ip, port }) => rs.includes(ip) && rs.endsWith(`:${port}`))!.index;
  // What an operator may change, and how a real server is then, is up to the real thing.
  const cells = { control: new Int32Array(8), weights: new Int32Array(4) } as unknown as CommonMemory;
  const serverStates = new ServerStates(cells, pino({ level: 'silent' }));
  serverStates.update(services);
  const counters = new Float64Array(counterCells(2));
  const switchedOff = new Set<string>();
  const counterSums = new Float64Array(COUNTER_COLUMNS);
  const sources: AdminSources = {
    version: '1.2.3',
    startedAt: new Date(1_700_000_000_000),
    config: () => config,
    services: () => services,
    legs: () => [
      { index: 0, lip: '10.2.0.200', capacity: 100 },
      { index: 1, lip: '10.2.0.200', capacity: 50 },
      { index: 2, lip: '10.2.0.201', capacity: 7 },
    ],
    serverState: (index) => states[index],
    legsInUse: new Float64Array([3, 4, 5]),
    counters,
    counterSums,
    servers: new Float64Array(4 * SERVER_COLUMNS),
    ports: [{ name: 'wan0' }, { name: 'lan0' }],
    io: new Float64Array(5 * IO_COUNTERS.length),
    refresh: () => {
      counterSums.fill(0);
      for (const [cell, count] of counters.entries()) counterSums[cell % COUNTER_COLUMNS] += count;
    },
    fastPath: () => ({
      kind: 'off',
      wanted: 'off',
      why: 'io.fastPath is off',
      interfaces: [],
      switchedOff: { all: false, services: [...switchedOff] },
    }),
    isFastPathOff: (service) => switchedOff.has(service),
    fastPathPassed: () => ({}),
    fastPathMissed: () => 0,
    fastPathUncounted: () => 0,
    ioMode: 'pcap',
    readiness: () => ({ ready: true, reason: 'serving 2 services' }),
    clientsUncounted: () => 0,
    logLinesLost: () => 0,
    isDraining: () => false,
    reloads: () => ({ succeeded: 0, failed: 0, last: undefined }),
    hostChanges: () => ({ succeeded: 0, failed: 0 }),
    workers: () => [
      { pid: process.pid, restarts: 0 },
      { pid: process.ppid, restarts: 2 },
    ],
    sessions: {
      async list(query) {
        asked.push(query);
        return { total: 1, sessions: [{ client: '10.1.0.2:5000' }] };
      },
      find(tuple) {
        found.push(tuple);
        const server = formatEndpoint(tuple.rs, tuple.rsPort);
        if (tuple.lport !== 1031)
          throw new OperationError(
            404,
            `no session of ${formatEndpoint(tuple.lip, tuple.lport)} with ${server}`,
          );
        return SESSION;
      },
    },
    operations: {
      async reload() {
        done.push('reload');
        return { ok: true, lines: ['service game: real server 10.2.0.13:6000 added'] };
      },
      drain: (timeoutMs) => {
        done.push(`drain ${timeoutMs ?? 'as before'}`);
        return timeoutMs ?? 12_345;
      },
      cancelDrain: () => {
        done.push('cancel drain');
        return true;
      },
      drainServer(service, rs) {
        const index = serverIndex(service, rs);
        serverStates.drain(index);
        states[index] = serverStates.stateOf(index);
        done.push(`drain ${service} ${rs}`);
      },
      enableServer(service, rs) {
        const index = serverIndex(service, rs);
        serverStates.enable(index);
        states[index] = serverStates.stateOf(index);
        done.push(`enable ${service} ${rs}`);
      },
      async probe(service, rs, { payload, timeoutMs }) {
        const sent = payload === undefined ? 'as ever' : Buffer.from(payload).toString('hex');
        done.push(`probe ${service} ${rs} ${sent} ${timeoutMs ?? 'as ever'}`);
        return PROBED;
      },
      announceServer(service, rs) {
        serverIndex(service, rs);
        done.push(`announce ${service} ${rs}`);
      },
      switchFastPath(isOn, service = 'all') {
        done.push(`fast path ${isOn ? 'on' : 'off'} ${service}`);
        if (isOn) switchedOff.delete(service);
        else switchedOff.add(service);
      },
      setWeight(service, rs, weight) {
        const index = serverIndex(service, rs);
        serverStates.setWeight(index, weight);
        states[index] = serverStates.stateOf(index);
        done.push(`weight ${service} ${rs} ${weight}`);
      },
    },
    ...overrides,
  };
  const folder = mkdtempSync(join(tmpdir(), 'uoa-admin-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'admin.sock');
  const admin: AdminServer = await startAdmin(sources, {
    host: '127.0.0.1',
    port: 0,
    sockets: [socketPath],
    ...options,
  });
  context.after(() => admin.close());
  const url = (path: string) => `http://127.0.0.1:${admin.address.port}${path}`;
  const ask = async (path: string) => {
    const response = await fetch(url(path));
    return { status: response.status, json: (await response.json()) as Record<string, unknown> };
  };
  return {
    sources,
    states,
    asked,
    found,
    done,
    url,
    socket: socketPath,
    get: (path) => ask(path),
    async post(path, init) {
      const { status, body } = await askRaw({ url: url(path), socketPath }, 'POST', init);
      return { status, json: JSON.parse(body) as Record<string, unknown> };
    },
    metrics: async () => (await fetch(url('/metrics'))).text(),
  };
}
