// Hot sessions for end-to-end tests of the fast path: clients that are told step by step what to send, and
// what the proxy says of it. Each of these tests runs over XDP and tc.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type Role, type Topology, VPORT } from '../../src/lab/topology.ts';
import { hex } from '../packets/bytes.ts';
import { balanced } from './books.ts';
import { lostInSending } from './flooding.ts';
import {
  type Answer,
  type IoUnderTest,
  type PythonProgram,
  type Rig,
  type RigOptions,
  startPython,
  startRig,
  until,
} from './harness.ts';
import { PAIRS, type Pair } from './pairs.ts';

export type Kind = 'xdp' | 'tc';
export const KINDS: readonly Kind[] = ['xdp', 'tc'];
export const SAME_FAMILY: readonly Pair[] = [PAIRS[4], PAIRS[6]];

export const ioOf = (fastPath: Kind, workers = 1): IoUnderTest => ({ mode: 'ring', workers, fastPath });

/** A test for each kind of fast path. */
export function overBoth(name: string, run: (t: TestContext, kind: Kind) => Promise<void>): void {
  for (const kind of KINDS) test(`${kind}: ${name}`, (t) => run(t, kind));
}

/** A test for each kind and family. */
export function overAll(name: string, run: (t: TestContext, kind: Kind, pair: Pair) => Promise<void>): void {
  for (const pair of SAME_FAMILY) overBoth(`${pair.name}: ${name}`, (t, kind) => run(t, kind, pair));
}

/** What a command of session.py counted; what is not there is 0. */
export type Counted = Partial<Record<string, number>>;

export interface ExchangeOptions {
  size?: number;
  pauseMs?: number;
  noChecksum?: boolean;
  options?: string;
}

/** programs/session.py: a client with one socket. */
export class Client {
  readonly ip: string;
  readonly port: number;
  readonly #topology: Topology;
  readonly #program: PythonProgram;
  readonly #answers: AsyncIterator<string>;
  /** Datagrams that were answered as they should, over all exchanges. */
  answered = 0;

  private constructor(
    topology: Topology,
    program: PythonProgram,
    answers: AsyncIterator<string>,
    { ip, port }: Answer,
  ) {
    this.#topology = topology;
    this.#program = program;
    this.#answers = answers;
    this.ip = ip as string;
    this.port = port as number;
  }

  static async start(rig: Rig, options: object = {}, role: Role = 'client'): Promise<Client> {
    const given = { bind: rig.clientIps[0], to: [rig.vip, VPORT], ...options };
    const program = startPython(rig.topology, role, 'session.py', given);
    const answers = createInterface({ input: program.child.stdout! })[Symbol.asyncIterator]();
    const { value } = await answers.next();
    return new Client(rig.topology, program, answers, JSON.parse(value) as Answer);
  }

  async tell(command: object): Promise<Counted> {
    this.#program.child.stdin!.write(`${JSON.stringify(command)}\n`);
    const { value, done } = await this.#answers.next();
    assert.ok(!done, 'the client goes on');
    const { event: _, ...counted } = JSON.parse(value) as Answer;
    return counted as Counted;
  }

  /** Each of so many datagrams comes back as it was, once; nothing else comes. */
  async exchange(count: number, options: ExchangeOptions = {}): Promise<void> {
    this.#assertAll(await this.tell({ do: 'exchange', count, ...options }), count);
    this.answered += count;
  }

  /** The same of super packets. */
  async segment(count: number, segments: number, size: number): Promise<void> {
    const all = count * segments;
    this.#assertAll(await this.tell({ do: 'segment', count, segments, size }), all);
    this.answered += all;
  }

  /** Says what links lost, too: others on the machine may have filled their queue, the processor's. */
  #assertAll(counted: Counted, count: number): void {
    const isAll = Object.keys(counted).length === 1 && counted.same === count;
    if (isAll) return;
    const byLinks = lostInSending(this.#topology);
    assert.fail(`${JSON.stringify(counted)} of ${count}; links lost ${byLinks}`);
  }

  /** Exchanges, while nobody else does, until its session is hot: its datagrams go by the fast path. */
  async heat(rig: Rig): Promise<void> {
    const before = await fastCount(rig);
    await until('the session is hot', async () => {
      await this.exchange(20, { pauseMs: 5 });
      return (await fastCount(rig)) - before >= 40;
    });
  }

  /** Nothing came that nobody asked for. */
  async assertQuiet(): Promise<void> {
    assert.deepEqual(await this.tell({ do: 'listen', ms: 300 }), {});
  }
}

/** What the fast path forwarded so far, of both directions. */
export const fastCount = (rig: Rig, labels: Record<string, string> = {}): Promise<number> =>
  rig.metric('fast_path_forwarded_packets_total', labels);

export const passed = (rig: Rig, reason: string): Promise<number> =>
  rig.metric('fast_path_passed_total', { reason });

export const hotCount = (rig: Rig): Promise<number> => rig.metric('fast_path_sessions');

/**
 * Does what is asked, and asserts that the fast path forwarded so many packets meanwhile, at least: all but
 * one per 5 s and hop, by which the kernel confirms the neighbor.
 */
export async function goingFast(rig: Rig, packets: number, act: () => Promise<void>): Promise<void> {
  const before = await fastCount(rig);
  await act();
  await until(
    `${packets} packets went by the fast path`,
    async () => (await fastCount(rig)) - before >= packets,
  );
}

/** A rig with its real servers, over a kind of fast path. */
export async function startHot(
  t: TestContext,
  kind: Kind,
  options: RigOptions = {},
  workers = 1,
): Promise<{ rig: Rig; servers: PythonProgram[] }> {
  const { pair = PAIRS[4] } = options;
  const uoa = { dialect: (pair as Pair).dialect, ...options.uoa };
  const rig = await startRig(t, { servers: 1, clients: 2, ...options, pair, uoa, io: ioOf(kind, workers) });
  return { rig, servers: await rig.startServers() };
}

/**
 * Waits until so many packets of each direction are counted as sent on; there are no more, and all equations
 * of the counters hold.
 */
export async function assertCounted(rig: Rig, inbound: number, outbound = inbound): Promise<void> {
  const of = (books: Awaited<ReturnType<typeof balanced>>) =>
    ['inbound', 'outbound'].map((direction) => books.sum('forwarded_packets', { direction }));
  const books = await balanced(rig, (now) => {
    const [there, back] = of(now);
    return there! >= inbound && back! >= outbound;
  });
  assert.deepEqual(of(books), [inbound, outbound], books.drops());
}

/** Ends the real servers: each datagram that names its client was known to be that one's. */
export async function assertRightClients(servers: readonly PythonProgram[]): Promise<Answer[]> {
  const ended = await Promise.all(servers.map((server) => server.end()));
  for (const { wrong, unattributed } of ended)
    assert.deepEqual({ wrong, unattributed }, { wrong: 0, unattributed: 0 });
  return ended;
}

/** At the end: nothing more comes, each packet was counted, and real servers knew whose each datagram was. */
export async function assertAllRight(
  rig: Rig,
  servers: readonly PythonProgram[],
  client: Client,
  inbound = client.answered,
  outbound = inbound,
): Promise<Answer[]> {
  await client.assertQuiet();
  await assertCounted(rig, inbound, outbound);
  return await assertRightClients(servers);
}

/** Sends IP packets as they are from a role's host. */
export async function sendRaw(
  rig: Rig,
  role: 'client' | 'rs',
  to: string,
  packets: readonly Uint8Array[],
): Promise<void> {
  const program = startPython(rig.topology, role, 'classes.py', {
    packets: [{ count: 1, to, hex: packets.map(hex) }],
  });
  await program.ready;
  await program.end();
}

/** The LIP and lport of a client's session, and its real server. */
export async function sessionOf(
  rig: Rig,
  { port }: Client,
): Promise<{ lip: string; lport: number; rs: string; rsPort: number }> {
  type Listed = { clientPort: number; lip: string; lport: number; rs: string; rsPort: number };
  const { sessions } = JSON.parse((await rig.get('/sessions')).body) as { sessions: Listed[] };
  const found = sessions.find(({ clientPort }) => clientPort === port);
  assert.ok(found, `a session of port ${port}`);
  return found;
}
