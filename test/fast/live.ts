// A client and a real server with UDP sockets in namespaces, and between them nothing but the fast path's
// program (fast-path-program.ts): what the one sends, and what becomes of it.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Program, sh, startProgram, type threeInARow } from '../io/namespaces.ts';
import { hex } from '../packets/bytes.ts';
import type { FastPathProgramOptions } from './fast-path-program.ts';
import { sessionOf, type TestSession } from './rig.ts';

export const SESSIONS: readonly TestSession[] = [
  sessionOf(['10.1.0.2', 4000], ['10.1.0.1', 6000], ['10.2.0.1', 5000], ['10.2.0.2', 7000]),
  sessionOf(['fd00:1::2', 4000], ['fd00:1::1', 6000], ['fd00:2::1', 5000], ['fd00:2::2', 7000]),
];
export const HEADERS_LEN = [28, 48];
export const WAN_LAN = [
  { device: 'wan0', facesClients: true, facesRealServers: false },
  { device: 'lan0', facesClients: false, facesRealServers: true },
];

export type Network = ReturnType<typeof threeInARow>;
interface Report {
  passed: Record<string, number>;
  /** Per session, per direction: packets, bytes. */
  activity: number[][][];
}

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
interface LinkState {
  ifindex: number;
  address: string;
  xdp?: { mode: number; prog: { id: number } };
}

export const linkOf = (ns: string, device: string): LinkState =>
  JSON.parse(sh(`ip -n ${ns} -j -d link show ${device}`))[0];
export const macOf = (ns: string, device: string) => linkOf(ns, device).address;

function run<T>(ns: string, program: string, argument: unknown): T {
  const argv = ['netns', 'exec', ns, 'python3', file(program), JSON.stringify(argument)];
  const printed = execFileSync('ip', argv, { encoding: 'utf8' });
  return (printed === '' ? undefined : JSON.parse(printed)) as T;
}

export const setOffloads = (ns: string, device: string, values: { tx?: number; gro?: number }) =>
  run<void>(ns, 'offloads.py', { device, ...values });

/** The real servers of both sessions, as programs; `stop` tells what they got. */
export async function startServers(t: TestContext, ns: string, copies: number, sessions = SESSIONS) {
  const servers = await Promise.all(
    sessions.map(async ({ from: [, { src, sport }] }) => {
      const argument = JSON.stringify({ ip: src, port: sport, copies });
      const child: ChildProcess = spawn('ip', ['netns', 'exec', ns, 'python3', file('answer.py'), argument], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      t.after(() => void child.kill('SIGKILL'));
      const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
      await lines.next();
      return {
        async stop(): Promise<{ received: number; sources: string[] }> {
          child.stdin!.end();
          const { value } = await lines.next();
          return JSON.parse(value);
        },
      };
    }),
  );
  return { stop: () => Promise.all(servers.map((server) => server.stop())) };
}

export interface Asking {
  rounds: number;
  length: number;
  segments?: number;
  copies: number;
  waitMs?: number;
}

/** A session's client asks; says how many answers came in each round. */
export function ask(ns: string, { from: [client] }: TestSession, asking: Asking): number[] {
  const { src, sport, dst, dport } = client;
  const ends = { ip: src, port: sport, to: [dst, dport] };
  return run<{ answers: number[] }>(ns, 'ask.py', { segments: 1, waitMs: 20_000, ...ends, ...asking })
    .answers;
}

/** A session's client that asks on and on, each time when it has its answer. */
export function keepAsking(t: TestContext, ns: string, { from: [client] }: TestSession) {
  const { src, sport, dst, dport } = client;
  const ends = { ip: src, port: sport, to: [dst, dport] };
  const asking = { ...ends, rounds: 0, length: 64, segments: 1, copies: 1, waitMs: 20_000 };
  const argv = ['netns', 'exec', ns, 'python3', file('ask.py'), JSON.stringify(asking)];
  const child = spawn('ip', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => void child.kill('SIGKILL'));
  return {
    async stop(): Promise<{ rounds: number; short: number }> {
      child.stdin.end();
      const [line] = await once(createInterface({ input: child.stdout }), 'line');
      return JSON.parse(line);
    },
  };
}

export function optionsFor({ client, server }: Network, change: Partial<FastPathProgramOptions> = {}) {
  const options: FastPathProgramOptions = {
    kind: 'tc',
    ports: WAN_LAN,
    hops: [
      { device: 'lan0', destination: macOf(server, 's0') },
      { device: 'wan0', destination: macOf(client, 'c0') },
    ],
    sessions: [...SESSIONS],
    ...change,
  };
  return options;
}

export const start = (t: TestContext, { lb }: Network, options: FastPathProgramOptions): Program =>
  startProgram(t, lb, 'fast/fast-path-program.ts', options);

const SEND_FRAMES = `import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: sock.send(bytes.fromhex(frame))`;

export const sendFrames = (ns: string, device: string, frames: readonly Uint8Array[]) =>
  execFileSync('ip', ['netns', 'exec', ns, 'python3', '-c', SEND_FRAMES, device, ...frames.map(hex)]);

export async function reportOf(program: Program): Promise<Report> {
  program.write('report');
  return await program.next<Report>('report');
}

/** UDP datagrams with a wrong checksum that a namespace received. */
const checksumErrors = (ns: string): number =>
  ['/proc/net/snmp', '/proc/net/snmp6']
    .flatMap((path) => sh(`ip netns exec ${ns} cat ${path}`).split('\n'))
    .reduce((sum, line, index, lines) => {
      const old = /^Udp: \D*InCsumErrors/.test(line) && lines[index + 1].split(' ');
      if (old) return sum + Number(old[line.split(' ').indexOf('InCsumErrors')]);
      return sum + Number(/^Udp6InCsumErrors\s+(\d+)/.exec(line)?.[1] ?? 0);
    }, 0);

/** Both sessions, asked in several ways; each answer arrives, and the fast path counts exactly that. */
export async function assertForwardsAll(t: TestContext, network: Network, program: Program, ways: Asking[]) {
  for (const way of ways) {
    const { rounds, length, segments = 1, copies } = way;
    const servers = await startServers(t, network.server, copies);
    const before = await reportOf(program);
    for (const session of SESSIONS)
      assert.deepEqual(
        ask(network.client, session, way),
        new Array(rounds).fill(segments * copies),
        JSON.stringify(way),
      );
    const got = await servers.stop();
    assert.deepEqual(
      got.map(({ received }) => received),
      [rounds * segments, rounds * segments],
    );
    assert.deepEqual(
      got.map(({ sources }) => sources),
      SESSIONS.map(({ to: [{ src, sport }] }) => [`${src} ${sport}`]),
    );
    const report = await reportOf(program);
    const packets = rounds * segments;
    assert.deepEqual(
      report.activity,
      HEADERS_LEN.map((headersLen) => [
        [packets, packets * (headersLen + length)],
        [packets * copies, packets * copies * (headersLen + length)],
      ]),
    );
    for (const reason of [
      'unfinished',
      'bad_length',
      'too_long',
      'not_ours',
      'wrong_side',
      'ended',
      'no_hop',
    ])
      assert.equal(report.passed[reason], before.passed[reason], reason);
  }
  assert.deepEqual([network.client, network.server].map(checksumErrors), [0, 0]);
}
