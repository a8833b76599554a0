// Ring I/O and a device that takes no more packets: a TAP device whose reader does not read.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { startEndpoint } from '../host/endpoint.ts';
import {
  assertPass,
  CIP,
  flood,
  LIP,
  RING,
  RIP,
  report,
  reportOnce,
  startRelay,
  VIP,
  VPORT,
} from '../steer/relay.ts';
import { sh, threeInARow } from './namespaces.ts';

const QUEUE = 16;
const FULL_VIP = '10.1.0.66';
const TAP_RIP = '10.9.0.2';
const BURST = { port: VPORT, payloadLen: 64, rate: 0, durationMs: 60_000 };

/**
 * Opens tap0. For each line of input reads frames until one ends with these bytes, and prints how many these
 * were; "slowly": reads from then on, QUEUE frames a millisecond.
 */
const TAP = `
import fcntl, os, struct, sys, time
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
print("ready", flush=True)
for line in sys.stdin:
    while line == "slowly\\n":
        time.sleep(0.001)
        for _ in range(${QUEUE}): os.read(tap, 65536)
    count = 1
    while not os.read(tap, 65536).endswith(bytes.fromhex(line)): count += 1
    print(count, flush=True)
`;

/** A way to 10.9.0.0/24 that ends at whoever reads. */
async function startTap(t: TestContext, ns: string) {
  sh(`ip -n ${ns} tuntap add mode tap tap0 && ip -n ${ns} link set tap0 txqueuelen ${QUEUE}`);
  sh(`ip netns exec ${ns} sysctl -qw net.ipv6.conf.tap0.disable_ipv6=1`);
  const child = spawn('ip', ['netns', 'exec', ns, 'python3', '-c', TAP], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => {
    child.kill('SIGKILL');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  sh(`ip -n ${ns} link set tap0 up && ip -n ${ns} address add 10.9.0.1/24 dev tap0`);
  sh(`ip -n ${ns} neighbor add ${TAP_RIP} lladdr 02:00:00:00:09:02 dev tap0 nud permanent`);
  return {
    readSlowly() {
      child.stdin.write('slowly\n');
    },
    /** Reads until the packet with this payload. */
    async readUntil(hex: string): Promise<number> {
      child.stdin.write(`${hex}\n`);
      return Number((await lines.next()).value);
    },
  };
}

/** A relay whose packets to VIP are echoed, while those to FULL_VIP go to the TAP device. */
async function startFork(t: TestContext) {
  const { client, lb, server } = threeInARow(t);
  sh(`ip -n ${lb} address add ${FULL_VIP}/32 dev wan0`);
  const tap = await startTap(t, lb);
  const relay = await startRelay(t, lb, {
    ...RING,
    lan: 'lan0',
    vips: [...RING.vips, { ip: FULL_VIP, port: VPORT }],
    rewrite: { ...RING.rewrite, [FULL_VIP]: { src: LIP, dst: TAP_RIP } },
  });
  await startEndpoint(t, server, { ip: RIP, port: VPORT, echo: true });
  const endpoint = await startEndpoint(t, client, { ip: CIP });
  return { client, tap, relay, endpoint };
}

test('what a full device does not take is counted, and it is used again once there is room', async (t) => {
  const { client, tap, relay, endpoint } = await startFork(t);
  const count = 1000;
  await flood(t, client, { ...BURST, ip: FULL_VIP, count });
  const full = await reportOnce(relay, ({ counters }) => counters[0].received === count);
  assert.deepEqual([full.counters[2].sent, full.counters[2].sendNoBuffer], [QUEUE, count - QUEUE]);
  assert.equal(full.relayed[0], count);

  await assertPass(endpoint, VIP, [64, 1400]);

  const send = async (hex: string) => {
    endpoint.write({ send: { hex, ip: FULL_VIP, port: VPORT } });
    await endpoint.next('answer');
  };
  assert.equal(await tap.readUntil('00'), 1);
  await send('aaaa01');
  assert.equal(await tap.readUntil('aaaa01'), QUEUE);
  await send('aaaa02');
  assert.equal(await tap.readUntil('aaaa02'), 1);
  const { counters } = await reportOnce(relay, (r) => r.counters[2].sent === QUEUE + 6);
  assert.equal(counters[2].sendNoBuffer, count - QUEUE);
  await relay.stop();
});

test('a full device keeps no packets of others waiting', async (t) => {
  const { client, relay } = await startFork(t);
  const sent = await Promise.all(
    [FULL_VIP, VIP].map((ip) => flood(t, client, { ...BURST, ip, rate: 1000, durationMs: 4_000 })),
  );
  const all = sent[0] + sent[1];
  const { counters } = await reportOnce(
    relay,
    ({ counters: [wan] }) => wan.received + wan.lostKernel === all,
  );
  assert.equal(counters[0].lostKernel, 0);
  assert.equal(counters[2].sendNoBuffer, sent[0] - QUEUE);
  await relay.stop();
});

test('a burst of more than a device takes at once waits until it takes the rest', async (t) => {
  const { client, tap, relay } = await startFork(t);
  tap.readSlowly();
  const count = 3 * QUEUE;
  const lost: number[] = [];
  // It waits for a few milliseconds only, in which the reader may not get a processor.
  while (lost.filter((packets) => packets === 0).length < 3) {
    assert.ok(lost.length < 20, `of bursts of ${count} were lost: ${lost}`);
    const before = await report(relay);
    await flood(t, client, { ...BURST, ip: FULL_VIP, count });
    const after = await reportOnce(
      relay,
      (r) => r.counters[0].received === before.counters[0].received + count,
    );
    lost.push(after.counters[2].sendNoBuffer - before.counters[2].sendNoBuffer);
  }
  await relay.stop();
});
