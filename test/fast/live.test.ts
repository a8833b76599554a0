// The fast path between namespaces: a client and a real server with UDP sockets, and between them nothing but
// the program. What one sends arrives whole and with a right checksum, at tc with all offloads on and super
// packets, at XDP natively; it outlives its process where it is pinned, and ends where nobody comes back.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Program, sh, startProgram, threeInARow } from '../io/namespaces.ts';
import { concat, hex, unhex } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import { mountBpffs } from '../sys/bpffs.ts';
import type { FastPathProgramOptions } from './fast-path-program.ts';
import { frameOf, sessionOf, type TestSession, withEnds } from './rig.ts';

const SESSIONS: readonly TestSession[] = [
  sessionOf(['10.1.0.2', 4000], ['10.1.0.1', 6000], ['10.2.0.1', 5000], ['10.2.0.2', 7000]),
  sessionOf(['fd00:1::2', 4000], ['fd00:1::1', 6000], ['fd00:2::1', 5000], ['fd00:2::2', 7000]),
];
const HEADERS_LEN = [28, 48];
const WAN_LAN = [
  { device: 'wan0', facesClients: true, facesRealServers: false },
  { device: 'lan0', facesClients: false, facesRealServers: true },
];

type Network = ReturnType<typeof threeInARow>;
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

const linkOf = (ns: string, device: string): LinkState =>
  JSON.parse(sh(`ip -n ${ns} -j -d link show ${device}`))[0];
const macOf = (ns: string, device: string) => linkOf(ns, device).address;

function run<T>(ns: string, program: string, argument: unknown): T {
  const argv = ['netns', 'exec', ns, 'python3', file(program), JSON.stringify(argument)];
  const printed = execFileSync('ip', argv, { encoding: 'utf8' });
  return (printed === '' ? undefined : JSON.parse(printed)) as T;
}

const setOffloads = (ns: string, device: string, values: { tx?: number; gro?: number }) =>
  run<void>(ns, 'offloads.py', { device, ...values });

/** The real servers of both sessions, as programs; `stop` tells what they got. */
async function startServers(t: TestContext, ns: string, copies: number, sessions = SESSIONS) {
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

interface Asking {
  rounds: number;
  length: number;
  segments?: number;
  copies: number;
  waitMs?: number;
}

/** A session's client asks; says how many answers came in each round. */
function ask(ns: string, { from: [client] }: TestSession, asking: Asking): number[] {
  const { src, sport, dst, dport } = client;
  const ends = { ip: src, port: sport, to: [dst, dport] };
  return run<{ answers: number[] }>(ns, 'ask.py', { segments: 1, waitMs: 20_000, ...ends, ...asking })
    .answers;
}

/** A session's client that asks on and on, each time when it has its answer. */
function keepAsking(t: TestContext, ns: string, { from: [client] }: TestSession) {
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

function optionsFor({ client, server }: Network, change: Partial<FastPathProgramOptions> = {}) {
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

const start = (t: TestContext, { lb }: Network, options: FastPathProgramOptions): Program =>
  startProgram(t, lb, 'fast/fast-path-program.ts', options);

const SEND_FRAMES = `import socket, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: sock.send(bytes.fromhex(frame))`;

const sendFrames = (ns: string, device: string, frames: readonly Uint8Array[]) =>
  execFileSync('ip', ['netns', 'exec', ns, 'python3', '-c', SEND_FRAMES, device, ...frames.map(hex)]);

async function reportOf(program: Program): Promise<Report> {
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
async function assertForwardsAll(t: TestContext, network: Network, program: Program, ways: Asking[]) {
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

const SUPER_PACKETS: Asking[] = [
  { rounds: 20, length: 64, copies: 1 },
  { rounds: 20, length: 1201, copies: 3 },
  { rounds: 20, length: 1200, segments: 16, copies: 1 },
  { rounds: 5, length: 901, segments: 40, copies: 2 },
];

describe('at tc', () => {
  for (const how of ['tcx', 'clsact'] as const) {
    test(`by ${how}, datagrams and super packets pass with all offloads on`, async (t) => {
      const network = threeInARow(t);
      const program = start(t, network, optionsFor(network, { withoutTcx: how === 'clsact' }));
      const attached = await program.next<{ how: string; wasThere: boolean }[]>('attached');
      if (how === 'tcx' && attached[0].how === 'clsact') return t.skip('this kernel has no tcx (Linux 6.6)');
      assert.deepEqual(attached, [
        { how, wasThere: false },
        { how, wasThere: false },
      ]);
      await assertForwardsAll(t, network, program, SUPER_PACKETS);
      await program.stop();
      const filters = sh(`ip netns exec ${network.lb} tc filter show dev wan0 ingress 2>/dev/null || true`);
      assert.equal(filters.trim(), '', 'nothing is left');
      assert.deepEqual(
        ask(network.client, SESSIONS[0], { rounds: 1, length: 64, copies: 1, waitMs: 500 }),
        [0],
      );
    });
  }

  for (const how of ['tcx', 'clsact'] as const) {
    test(`two proxies have each a program at the same interfaces, by ${how}`, async (t) => {
      const network = threeInARow(t);
      const proxies = SESSIONS.map((session, index) =>
        start(
          t,
          network,
          optionsFor(network, {
            sessions: [session],
            withoutTcx: how === 'clsact',
            filterHandle: index + 1,
          }),
        ),
      );
      for (const proxy of proxies) await proxy.next('attached');
      await startServers(t, network.server, 1);
      const asking = { rounds: 3, length: 64, copies: 1 };
      for (const session of SESSIONS) assert.deepEqual(ask(network.client, session, asking), [1, 1, 1]);
      await proxies[0].stop();
      assert.deepEqual(ask(network.client, SESSIONS[1], asking), [1, 1, 1]);
      assert.deepEqual(
        (await reportOf(proxies[1])).activity[0].map(([packets]) => packets),
        [6, 6],
      );
      await proxies[1].stop();
    });
  }

  test('checksums that the card would finish are right where the kernel finishes them', async (t) => {
    const network = threeInARow(t);
    const program = start(t, network, optionsFor(network));
    await program.next('attached');
    for (const device of ['wan0', 'lan0']) setOffloads(network.lb, device, { tx: 0 });
    await assertForwardsAll(t, network, program, SUPER_PACKETS);
    // And those that came finished; kernels before 6.11 then send no super packets.
    setOffloads(network.client, 'c0', { tx: 0 });
    setOffloads(network.server, 's0', { tx: 0 });
    await assertForwardsAll(t, network, program, [
      { rounds: 20, length: 64, copies: 1 },
      { rounds: 20, length: 1201, copies: 1 },
    ]);
    await program.stop();
  });

  test('a packet with the tag of a VLAN, which its device keeps beside it, is left to the slow path', async (t) => {
    const network = threeInARow(t);
    const program = start(t, network, optionsFor(network));
    await program.next('attached');
    const packet = udp(withEnds(SESSIONS[0].from[0], { payload: new Uint8Array(64) }));
    const frame = frameOf(packet, macOf(network.lb, 'wan0'));
    // The receiver's kernel takes the tag out before tc sees it.
    const tagged = concat(frame.subarray(0, 12), unhex('81000005'), frame.subarray(12));
    sendFrames(network.client, 'c0', [tagged, tagged, tagged]);
    const { passed, activity } = await reportOf(program);
    assert.equal(passed.vlan, 3);
    assert.deepEqual(activity[0], [
      [0, 0],
      [0, 0],
    ]);
    await program.stop();
  });

  test('between an interface and programs of this host, by the loopback interface', async (t) => {
    const network = threeInARow(t);
    const local = [
      sessionOf(['10.1.0.2', 4000], ['10.1.0.1', 6000], ['10.2.0.1', 5000], ['10.1.0.1', 7000]),
      sessionOf(['fd00:1::2', 4000], ['fd00:1::1', 6000], ['fd00:2::1', 5000], ['fd00:1::1', 7000]),
    ];
    // The kernel takes no packet from an own IPv4 address otherwise that it did not send.
    sh(`ip netns exec ${network.lb} sysctl -qw net.ipv4.conf.lo.accept_local=1`);
    const program = start(
      t,
      network,
      optionsFor(network, {
        ports: [WAN_LAN[0], { device: 'lo', facesClients: false, facesRealServers: true }],
        hops: [
          { device: 'lo', destination: '00:00:00:00:00:00' },
          { device: 'wan0', destination: macOf(network.client, 'c0') },
        ],
        sessions: local,
      }),
    );
    await program.next('attached');
    const servers = await startServers(t, network.lb, 3, local);
    for (const session of local) {
      const asking = { rounds: 10, length: 1200, segments: 8, copies: 3 };
      assert.deepEqual(ask(network.client, session, asking), new Array(10).fill(24));
    }
    assert.deepEqual(
      (await servers.stop()).map(({ received, sources }) => [received, sources]),
      local.map(({ to: [{ src, sport }] }) => [80, [`${src} ${sport}`]]),
    );
    const { activity } = await reportOf(program);
    assert.deepEqual(
      activity.map((directions) => directions.map(([packets]) => packets)),
      [
        [80, 240],
        [80, 240],
      ],
    );
    await program.stop();
  });
});

describe('at XDP', () => {
  /** Peers that take what was redirected to them, and send finished checksums. */
  const prepare = ({ client, server }: Network) => {
    setOffloads(client, 'c0', { gro: 1, tx: 0 });
    setOffloads(server, 's0', { gro: 1, tx: 0 });
  };

  test('natively, datagrams pass', async (t) => {
    const network = threeInARow(t);
    prepare(network);
    const program = start(t, network, optionsFor(network, { kind: 'xdp' }));
    assert.deepEqual(await program.next('attached'), [
      { how: 'xdp', wasThere: false },
      { how: 'xdp', wasThere: false },
    ]);
    assert.equal(linkOf(network.lb, 'wan0').xdp?.mode, 1, 'native');
    await assertForwardsAll(t, network, program, [
      { rounds: 30, length: 64, copies: 1 },
      { rounds: 10, length: 1201, copies: 1 },
    ]);
    await program.stop();
    assert.equal(linkOf(network.lb, 'wan0').xdp, undefined);
  });

  test('unfinished checksums are left to the slow path', async (t) => {
    const network = threeInARow(t);
    prepare(network);
    setOffloads(network.client, 'c0', { tx: 1 });
    const program = start(t, network, optionsFor(network, { kind: 'xdp' }));
    await program.next('attached');
    const asking = { rounds: 3, length: 64, copies: 1, waitMs: 300 };
    for (const session of SESSIONS) assert.deepEqual(ask(network.client, session, asking), [0, 0, 0]);
    assert.equal((await reportOf(program)).passed.unfinished, 6);
    await program.stop();
  });

  test('never generically: a driver without native XDP keeps the slow path', async (t) => {
    const network = threeInARow(t);
    const ports = [{ ...WAN_LAN[0], device: 'lo' }];
    const program = start(t, network, optionsFor(network, { kind: 'xdp', ports }));
    assert.deepEqual(await program.next('refused'), {
      why: 'no_native_xdp',
      message: 'the driver of interface 1 has no native XDP',
    });
    await program.stop();
    assert.equal(linkOf(network.lb, 'lo').xdp, undefined);
  });

  test('the program of another keeps its interface', async (t) => {
    const network = threeInARow(t);
    const owner = start(t, network, optionsFor(network, { kind: 'xdp', ports: [WAN_LAN[0]] }));
    await owner.next('attached');
    const id = () => linkOf(network.lb, 'wan0').xdp?.prog.id;
    const before = id();
    const program = start(t, network, optionsFor(network, { kind: 'xdp' }));
    const { why, message } = await program.next<{ why: string; message: string }>('refused');
    assert.equal(why, 'other_program');
    assert.match(
      message,
      new RegExp(`^interface \\d+ has another XDP program \\(id ${before}\\), which keeps it$`),
    );
    await program.stop();
    assert.equal(id(), before);
    await owner.stop();
  });
});

for (const kind of ['tc', 'xdp'] as const) {
  test(`at ${kind}, out by the interface that packets came in by, which has both sides`, async (t) => {
    const network = threeInARow(t);
    const { client } = network;
    if (kind === 'xdp') {
      setOffloads(client, 'c0', { tx: 0 });
      // A veth gets what its peer sends back only if it has an XDP program itself: one that passes
      // everything.
      const passing = { kind, ports: [{ ...WAN_LAN[0], device: 'c0' }], hops: [], sessions: [] };
      await startProgram(t, client, 'fast/fast-path-program.ts', passing).next('attached');
    }
    sh(`ip -n ${client} address add 10.1.0.3/24 dev c0
        ip -n ${client} address add fd00:1::3/64 dev c0 nodad`);
    const sessions = [
      sessionOf(['10.1.0.2', 4000], ['10.1.0.1', 6000], ['10.1.0.1', 5000], ['10.1.0.3', 7000]),
      sessionOf(['fd00:1::2', 4000], ['fd00:1::1', 6000], ['fd00:1::1', 5000], ['fd00:1::3', 7000]),
    ];
    const hop = { device: 'wan0', destination: macOf(client, 'c0') };
    const ports = [{ device: 'wan0', facesClients: true, facesRealServers: true }];
    const program = start(t, network, optionsFor(network, { kind, ports, hops: [hop, hop], sessions }));
    await program.next('attached');
    await startServers(t, client, 1, sessions);
    for (const session of sessions)
      assert.deepEqual(ask(client, session, { rounds: 5, length: 1000, copies: 1 }), [1, 1, 1, 1, 1]);
    const { activity } = await reportOf(program);
    const direction = (headersLen: number) => [5, 5 * (headersLen + 1000)];
    assert.deepEqual(
      activity,
      HEADERS_LEN.map((headersLen) => [direction(headersLen), direction(headersLen)]),
    );
    await program.stop();
  });
}

describe('where it is pinned', () => {
  const asking = { rounds: 5, length: 64, copies: 1 };
  const five = new Array(5).fill(1);

  for (const [how, change] of [
    ['xdp', { kind: 'xdp' }],
    ['tcx', { kind: 'tc' }],
    ['clsact', { kind: 'tc', withoutTcx: true }],
  ] as const) {
    test(`by ${how}, it goes on without its process, the next one takes it over, and no datagram is lost`, async (t) => {
      const root = join(mountBpffs(t), 'proxy');
      const network = threeInARow(t);
      setOffloads(network.client, 'c0', { gro: 1, tx: 0 });
      setOffloads(network.server, 's0', { gro: 1, tx: 0 });
      const servers = await startServers(t, network.server, 1);
      const first = start(t, network, optionsFor(network, { ...change, root }));
      const attached = await first.next<{ how: string; wasThere: boolean }[]>('attached');
      if (attached[0].how !== how) return t.skip(`this kernel has no ${how}`);
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five);
      const steady = keepAsking(t, network.client, SESSIONS[1]);
      first.child.kill('SIGKILL');
      await once(first.child, 'close');
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five, 'nobody is there');

      const next = start(t, network, optionsFor(network, { ...change, root, sessions: [] }));
      assert.deepEqual(await next.next('attached'), [
        { how, wasThere: true },
        { how, wasThere: true },
      ]);
      assert.deepEqual(ask(network.client, SESSIONS[0], asking), five);
      const { rounds, short } = await steady.stop();
      assert.equal(short, 0, `of ${rounds} datagrams in between`);
      assert.deepEqual(
        (await reportOf(next)).activity.map(([[packets]]) => packets),
        [15, rounds],
        'what nobody folded is not lost',
      );
      next.write('end');
      await next.next('done');
      assert.deepEqual(ask(network.client, SESSIONS[0], { ...asking, waitMs: 300 }), [0, 0, 0, 0, 0]);
      assert.ok((await reportOf(next)).passed.ended >= 5);
      await next.stop();
      assert.deepEqual(
        (await servers.stop()).map(({ received }) => received),
        [15, rounds],
      );
    });
  }

  test('a link that is not wanted any more, as in the other kind, is removed', async (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const network = threeInARow(t);
    const first = start(t, network, optionsFor(network, { root, kind: 'xdp', stays: true }));
    await first.next('attached');
    await first.stop();
    assert.notEqual(linkOf(network.lb, 'wan0').xdp, undefined);
    const ports = [WAN_LAN[0]];
    const next = start(t, network, optionsFor(network, { root, kind: 'tc', ports, sessions: [] }));
    assert.deepEqual(
      (await next.next<string[]>('removed')).sort(),
      ['lan0', 'wan0'].map((device) => `xdp-${linkOf(network.lb, device).ifindex}`).sort(),
    );
    await next.next('attached');
    for (const device of ['lan0', 'wan0']) assert.equal(linkOf(network.lb, device).xdp, undefined);
    await next.stop();
  });

  test('it ends when nobody says for long that he lives', async (t) => {
    const root = join(mountBpffs(t), 'proxy');
    const network = threeInARow(t);
    await startServers(t, network.server, 1);
    // 2.7 s, in which a machine that stands still may hinder the first asking.
    const first = start(t, network, optionsFor(network, { root, aliveTicks: 20 }));
    await first.next('attached');
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    const once1 = { rounds: 1, length: 64, copies: 1, waitMs: 200 };
    const deadline = performance.now() + 60_000;
    while (ask(network.client, SESSIONS[0], once1)[0] > 0)
      assert.ok(performance.now() < deadline, 'it still forwards');
    const next = start(t, network, optionsFor(network, { root, sessions: [] }));
    await next.next('attached');
    assert.ok((await reportOf(next)).passed.dead >= 1);
    assert.deepEqual(ask(network.client, SESSIONS[0], asking), five, 'it is alive again');
    await next.stop();
  });
});
