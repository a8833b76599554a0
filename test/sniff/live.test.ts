// `uoa-proxy sniff` beside the real proxy: what it shows on the real server's interface while sessions begin,
// with room for the UOA and without, and a real server that sends echo ACKs.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import type { LabDialect } from '../../src/lab/family.ts';
import { nodeArgv, startRealServer } from '../../src/lab/programs.ts';
import { LIPS, type Role, VPORT } from '../../src/lab/topology.ts';
import { MAIN, type Rig, startRig } from '../e2e/harness.ts';
import { PAIRS, type Pair } from '../e2e/pairs.ts';
import { type Line, parseLines } from './sniffed.ts';

const SEEN_WITHIN_MS = 60_000;

class Sniffer {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  readonly #listening: Promise<unknown>;
  readonly #closed: Promise<unknown[]>;
  #said = '';

  constructor(rig: Rig, role: Role, ...options: string[]) {
    const argv = nodeArgv(MAIN, 'sniff', '--json', ...options);
    this.#child = rig.topology.spawn(role, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface({ input: this.#child.stdout! }).on('line', (line) =>
      this.lines.push(...parseLines(line)),
    );
    this.#closed = once(this.#child, 'close');
    this.#listening = new Promise((resolve, reject) => {
      this.#child.stderr?.on('data', (chunk) => {
        this.#said += chunk;
        if (this.#said.includes('listening on')) resolve(undefined);
      });
      this.#child.once('exit', () => reject(new Error(`sniff ended: ${this.#said}`)));
    });
  }

  async listening(): Promise<void> {
    await this.#listening;
  }

  /** Waits until `isThere` is true of the lines so far. */
  async until(isThere: (lines: readonly Line[]) => boolean): Promise<void> {
    const signal = AbortSignal.timeout(SEEN_WITHIN_MS);
    while (!isThere(this.lines)) {
      await once(this.#child.stdout!, 'data', { signal }).catch(() => {
        throw new Error(`not seen; so far: ${this.lines.map((line) => JSON.stringify(line)).join('\n')}`);
      });
    }
  }

  /** As Ctrl-C does, then as `ended`. */
  async end(): Promise<{ code: unknown; said: string }> {
    this.#child.kill('SIGINT');
    return await this.ended();
  }

  /** Resolves with the exit code and what it printed beside the lines. */
  async ended(): Promise<{ code: unknown; said: string }> {
    const [code] = await this.#closed;
    return { code, said: this.#said };
  }
}

async function startSniffer(rig: Rig, role: Role, ...options: string[]): Promise<Sniffer> {
  const sniffer = new Sniffer(rig, role, ...options);
  await sniffer.listening();
  return sniffer;
}

async function startEchoing(rig: Rig): Promise<void> {
  for (const { ip, port } of rig.realServers) {
    const server = startRealServer(rig.topology, { ip, port });
    await once(server.stdout!, 'data');
    server.stdout!.resume();
  }
}

const scenarios: { pair: Pair; dialect: LabDialect; seenAs: string; inserted?: false }[] = [
  { pair: PAIRS[4], dialect: 'ipo', seenAs: 'ipo' },
  { pair: PAIRS[4], dialect: 'opp', seenAs: 'opp' },
  { pair: PAIRS[6], dialect: 'elb', seenAs: 'elb' },
  { pair: PAIRS[6], dialect: 'opp', seenAs: 'opp', inserted: false },
  { pair: PAIRS.nat64, dialect: 'unified', seenAs: 'unified' },
  { pair: PAIRS.nat46, dialect: 'elb', seenAs: 'elb' },
];
for (const { pair, dialect, seenAs, inserted = true } of scenarios) {
  test(`${pair.name}, ${dialect}: sniff shows inserted UOA, carriers and echo ACKs as they are`, async (t: TestContext) => {
    const rig = await startRig(t, { pair, clients: 3, servers: 1, uoa: { dialect } });
    await startEchoing(rig);
    const sniffer = await startSniffer(rig, 'rs', '-i', 'eth0');
    const answers = [await sessions(rig, 64), await sessions(rig, pair.full)];
    const wanted = inserted ? { inserted: 3, carrier: 3, ack: 6 } : { carrier: 6, ack: 6 };
    await sniffer.until((lines) =>
      Object.entries(wanted).every(
        ([kind, count]) => lines.filter((line) => line.kind === kind).length >= count,
      ),
    );
    const { code, said } = await sniffer.end();

    assert.equal(code, 0);
    assert.match(said, /^[\d,]+ packets seen, \d+ with UOA$/m);
    assert.ok(answers.every(({ missing }) => missing === 0));
    const server = rig.realServers[0];
    for (const line of sniffer.lines) {
      const { kind, src, sport, lip, lport, rs, rsPort, payloadLength } = line;
      assert.equal(line.malformed, null);
      assert.equal(line.dialect, seenAs);
      assert.equal(line.interface, 'eth0');
      assert.ok(LIPS[pair.server].includes(lip!), `${lip} is a LIP`);
      assert.deepEqual([rs, rsPort], [server.ip, server.port]);
      assert.deepEqual([src, sport], kind === 'ack' ? [rs, rsPort] : [lip, lport], `${kind} from ${src}`);
      assert.equal(payloadLength, kind === 'inserted' ? 64 : 0);
      assert.ok(rig.clientIps.includes(line.client!), `${line.client} is a client`);
      if (dialect === 'unified') assert.deepEqual([line.vip, line.vport], [rig.vip, VPORT]);
    }
    const clientsSeen = new Set(sniffer.lines.map(({ client, clientPort }) => `${client} ${clientPort}`));
    assert.equal(clientsSeen.size, 6, 'each session has a client of its own');
  });
}

for (const pair of [PAIRS[4], PAIRS[6], PAIRS.nat64]) {
  test(`${pair.name}, proxy-v2: sniff shows the header of each datagram`, async (t: TestContext) => {
    const rig = await startRig(t, { pair, clients: 3, servers: 1, uoa: { dialect: 'proxy-v2' } });
    await startEchoing(rig);
    const sniffer = await startSniffer(rig, 'rs', '-i', 'eth0', 'proxy-v2');
    const answers = [await sessions(rig, 64), await sessions(rig, 0)];
    await sniffer.until((lines) => lines.length >= 6);
    await sniffer.end();
    assert.ok(answers.every(({ missing, altered }) => missing === 0 && altered === 0));
    for (const line of sniffer.lines) {
      assert.deepEqual([line.malformed, line.kind, line.dialect], [null, 'inserted', 'proxy-v2']);
      assert.ok(LIPS[pair.server].includes(line.lip!), `${line.lip} is a LIP`);
      assert.ok(rig.clientIps.includes(line.client!), `${line.client} is a client`);
      assert.deepEqual([line.vip, line.vport], [rig.vip, VPORT]);
    }
    assert.deepEqual(sniffer.lines.map(({ payloadLength }) => payloadLength).sort(), [0, 0, 0, 64, 64, 64]);
  });
}

test('filter words and --count work on live packets, over any interface', async (t: TestContext) => {
  const rig = await startRig(t, { clients: 3, servers: 1 });
  await startEchoing(rig);
  const client = rig.clientIps[1];
  const sniffer = await startSniffer(rig, 'rs', '-i', 'any', '--count', '2', 'ack', 'client', client);
  for (let round = 0; round < 2; round++) await sessions(rig, 64);
  const { code } = await sniffer.ended();
  assert.equal(code, 0);
  assert.deepEqual(
    sniffer.lines.map((line) => [line.kind, line.client]),
    [
      ['ack', client],
      ['ack', client],
    ],
  );
});

test('with --lip the load balancer itself tells echo ACKs, also where it cannot see what it sends', async (t: TestContext) => {
  const rig = await startRig(t, { clients: 1, servers: 1 });
  await startEchoing(rig);
  const sniffer = await startSniffer(rig, 'lb', '-i', rig.topology.lan, '--lip', LIPS[4].join());
  await sessions(rig, 64);
  await sniffer.until((lines) => lines.some(({ kind }) => kind === 'ack'));
  await sniffer.end();
  for (const { kind, src } of sniffer.lines) assert.equal(kind === 'ack', src === rig.realServers[0].ip);
});

/** One datagram of a new session for each client address. */
let port = 20_000;

/** New ones each time: no socket has the port of one before. */
async function sessions(rig: Rig, size: number) {
  const count = rig.clientIps.length;
  return await rig.clients({ portsPerAddress: 1, firstPort: port++, count, sizes: [size] });
}
