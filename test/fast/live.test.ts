// The fast path between namespaces: what one sends arrives whole and with a right checksum, at tc with all
// offloads on and super packets, at XDP natively.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sh, startProgram, threeInARow } from '../io/namespaces.ts';
import { concat, unhex } from '../packets/bytes.ts';
import { udp } from '../packets/uoa-builder.ts';
import {
  type Asking,
  ask,
  assertForwardsAll,
  HEADERS_LEN,
  linkOf,
  macOf,
  type Network,
  optionsFor,
  reportOf,
  SESSIONS,
  sendFrames,
  setOffloads,
  start,
  startServers,
  WAN_LAN,
} from './live.ts';
import { frameOf, sessionOf, withEnds } from './rig.ts';

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
