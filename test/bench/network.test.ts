// The bench's network and load, small: the frames that its XDP program makes are right, every packet is
// counted where it passes, a whole bench run works and leaves nothing behind, also when it is interrupted.
// Nothing is said about speed.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeArgv } from '../../bench/child.ts';
import { routing } from '../../bench/forwarders/kernel.ts';
import { Load } from '../../bench/load.ts';
import { Network, RIP } from '../../bench/network.ts';
import { spawnIn } from '../../src/lab/namespace.ts';
import { dissect } from '../packets/dissect.ts';

const SHOT = { payloadLen: 64, flows: 3, rate: 1000, seconds: 0.05, dst: RIP };

describe('the load', () => {
  let network: Network;
  let load: Load;
  before(async () => {
    network = new Network('test');
    load = new Load();
    await load.attach(network);
    await routing(network);
  });
  after(() => {
    load.stop();
    network.remove();
  });

  test('arrives whole, and is counted at the forwarder and at the real server', async () => {
    const { sent, arrived, deliveredInAll, answeredInAll } = await load.shoot(network, SHOT);
    assert.ok(sent > 0);
    assert.deepEqual([deliveredInAll, answeredInAll], [sent, 0]);
    // Whatever else is said on the link arrives at the forwarder too: neighbors are looked for.
    assert.ok(arrived >= sent && arrived < sent + 10, `${arrived} of ${sent}`);
  });

  test('comes back with echo, and the time that it took is known', async () => {
    for (const payloadLen of [16, 1400]) {
      const outcome = await load.shoot(network, { ...SHOT, payloadLen, echo: true });
      assert.ok(outcome.sent > 0);
      assert.deepEqual([outcome.deliveredInAll, outcome.answeredInAll], [outcome.sent, outcome.sent]);
      assert.ok(outcome.p50 > 0 && outcome.p50 <= outcome.p99 && outcome.p99 <= outcome.p999);
    }
  });

  test('consists of UDP datagrams with right checksums, from as many sources as asked for', async () => {
    const capture = spawnIn(
      network.lb,
      ['tcpdump', '-i', 'wan0', '-s', '0', '-U', '--immediate-mode', '-c', '6', '-w', '-', 'udp and inbound'],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let listening = '';
    capture.stderr?.on('data', (chunk: Buffer) => {
      listening += chunk.toString();
    });
    const chunks: Buffer[] = [];
    capture.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    while (!listening.includes('listening on')) await sleep(10);
    // Flow 16,383 has the last port of the first address.
    const aim = { ...SHOT, firstFlow: 16_382, payloadLen: 65 };
    const closed = once(capture, 'close');
    while (capture.exitCode === null) await load.shoot(network, aim);
    await closed;
    const sources = new Set<string>();
    for (const packet of packetsOf(Buffer.concat(chunks))) {
      const seen = dissect(packet.subarray(14));
      assert.ok(seen.ipChecksumOk && seen.udpChecksumOk && seen.udpChecksum !== 0);
      const payload = Buffer.from(seen.payload, 'hex');
      assert.deepEqual([seen.dst, seen.dport, payload.length], [RIP, 6000, 65]);
      assert.deepEqual([...payload.subarray(8, 11), payload[64]], [8, 9, 10, 64]);
      sources.add(`${seen.src}:${seen.sport}`);
    }
    assert.deepEqual([...sources].sort(), ['11.0.0.1:26382', '11.0.0.1:26383', '11.0.0.2:10000']);
  });
});

describe('a run of the bench', () => {
  const tiny = ['--quick', '--seconds', '0.05', '--rounds', '1', '--rate', '500', '--sources', '1000'];

  test('measures every part, prints the targets and leaves nothing behind', async () => {
    const { output, code, pid } = await bench([
      ...tiny,
      '--sessions',
      '1000,100000',
      '--flows',
      '64,1000',
      '--forwarder',
      'xdp,tc,ring,kernel',
    ]);
    assert.equal(code, 0, output);
    const rowOf: Record<string, RegExp> = {
      throughput: /^64 B, 64 flows +[\d.]+ k/m,
      super: /^uoa-proxy ring +[\d.]+ k/m,
      overload: /^uoa-proxy ring( +[\d.]+ k)( +[\d.]+ k +[\d.]+ k +[\d.]+%){3}$/m,
      latency: /^uoa-proxy ring( +-?[\d.]+){6}( +[\d.]+%){2}$/m,
      restarts: /^kill -9 and start +[\d,]+ +[\d,]+$/m,
      sessions: /^uoa-proxy ring +[\d.]+ k +\d+ k$/m,
      memory: /^100,000( +\d+){5}$/m,
      // A machine that is busy may not make enough of them hot.
      'hot-memory': /^(1,000( +-?\d+){3}|not measured: .* became hot)$/m,
      lookup: /^1,000( +\d+){3}$/m,
      receiver: /^with it, clients named +\d+ +\d+ +[\d,]+$/m,
      datapath: /^outbound( +\d+ +[\d.]+){2}$/m,
    };
    const parts = output.split('\n=== ').slice(1);
    assert.deepEqual(
      parts.map((text) => text.split(':')[0]),
      Object.keys(rowOf),
    );
    for (const [index, row] of Object.values(rowOf).entries()) assert.match(parts[index], row);
    const [, targets] = output.split('\ntargets ');
    const verdictOf = (what: string) =>
      targets?.split('\n').find((line) => line.startsWith(`${what} `)) ?? `no ${what}`;
    for (const what of ['memory at 100,000 sessions', 'ring, new sessions'])
      assert.match(verdictOf(what), / (kept|missed by [\d.]+%)$/);
    assert.match(verdictOf('xdp by kernel DNAT+SNAT, 64 flows'), / (kept|missed by [\d.]+%|-)$/);
    assert.match(verdictOf('datagrams of hot sessions lost by reload, at 10,000/s'), / (kept|missed)$/);
    for (const what of ['xdp by nginx, 64 flows', 'xdp by itself at 64, 1,000,000 flows'])
      assert.match(verdictOf(what), / not measured: .* -$/);
    assert.deepEqual(leftovers(pid), []);
  });

  test('goes on when a part fails, prints the targets, and fails at the end', async () => {
    const parts = ['--only', 'sessions,memory,lookup', '--forwarder', 'ring'];
    const { output, code } = await bench([...tiny, ...parts, '--sessions', '1000']);
    assert.equal(code, 1, output);
    assert.match(output, /^1,000( +\d+){3}$/m, 'lookup was measured');
    assert.match(
      output,
      /^ring, new sessions .*\n\nmemory failed: --sessions: memory needs 100,000 at least\n$/ms,
    );
  });

  test('leaves nothing behind when it is interrupted', async () => {
    const { code, pid } = await bench(
      [...tiny, '--only', 'overload', '--forwarder', 'ring'],
      /io\.mode ring/,
    );
    assert.equal(code, 130);
    assert.deepEqual(leftovers(pid), []);
  });

  test('says which parts and forwarders there are', async () => {
    assert.match((await bench(['--only', 'everything'])).output, /--only everything: there is throughput, /);
    assert.match((await bench(['--forwarder', 'haproxy'])).output, /--forwarder haproxy: there is ring, /);
  });
});

/** Runs the bench; interrupts it when its output matches. */
async function bench(
  argv: readonly string[],
  interruptAt?: RegExp,
): Promise<{ output: string; code: number | null; pid: number }> {
  const [command = '', ...rest] = nodeArgv('./main.ts');
  const child = spawn(command, [...rest, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (interruptAt?.test(output)) child.kill('SIGINT');
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { output, code, pid: child.pid ?? 0 };
}

/** Namespaces of that run, and processes of it that still live. */
function leftovers(pid: number): string[] {
  const namespaces = readdirSync('/run/netns').filter((name) => name.startsWith(`uoa-${pid}-`));
  const listed = spawnSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).stdout;
  const processes = listed.split('\n').filter((line) => line.includes(`uoa-${pid}-`));
  return [...namespaces, ...processes];
}

/** The frames in a capture file (pcap-savefile(5)). */
function packetsOf(file: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const length = file.readUInt32LE(at + 8);
    packets.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return packets;
}
