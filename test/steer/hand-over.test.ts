// How workers pass packets on to one another, over real sockets.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { HandOver } from '../../src/steer/hand-over.ts';
import { closeSocketPair, openSocketPair } from '../../src/sys/socket-pair.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { pattern } from '../packets/bytes.ts';

interface Arrived {
  packet: string;
  portIndex: number;
  largestFragment: number;
}

/** Workers as the control plane joins them; `queueBytes` may wait for each. */
function join(t: TestContext, workers: number, queueBytes = 4 << 20): HandOver[] {
  const pairs = Array.from({ length: workers }, () => openSocketPair(queueBytes));
  t.after(() => pairs.forEach(closeSocketPair));
  const sendFds = pairs.map(({ sendFd }) => sendFd);
  return pairs.map(({ receiveFd }, self) => new HandOver(self, receiveFd, sendFds));
}

function handOver(
  from: HandOver,
  to: number,
  packet: Uint8Array,
  portIndex = 0,
  largestFragment = 0,
): boolean {
  const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 16).fill(0xa5));
  frame.bytes.set(packet, HEADROOM);
  return from.handOver(to, frame, HEADROOM, HEADROOM + packet.length, portIndex, largestFragment);
}

function take(from: HandOver): Arrived[] {
  const arrived: Arrived[] = [];
  for (;;) {
    const taken = from.receive((frame, off, end, portIndex, largestFragment) => {
      assert.ok(off >= HEADROOM);
      const packet = Buffer.from(frame.bytes.subarray(off, end)).toString('hex');
      arrived.push({ packet, portIndex, largestFragment });
      frame.bytes.fill(0xa5, off - HEADROOM, end); // its user may write to all of it
    });
    if (taken === 0) return arrived;
  }
}

test('packets of every size reach the worker that they were handed to, whole, in order and with what was said of them', (t) => {
  const [first, second, third] = join(t, 3);
  const sizes = [20, 28, 1500, 9000, 65_535, 65_575, 21];
  for (const size of sizes) assert.ok(handOver(first, 1, pattern(size), size % 2, size));
  assert.ok(handOver(third, 0, pattern(40), 1, 0));
  const expected = sizes.map((size) => ({
    packet: Buffer.from(pattern(size)).toString('hex'),
    portIndex: size % 2,
    largestFragment: size,
  }));
  assert.deepEqual(take(second), expected);
  assert.deepEqual(
    take(first).map(({ portIndex, largestFragment }) => [portIndex, largestFragment]),
    [[1, 0]],
  );
  assert.deepEqual([take(first), take(second), take(third)], [[], [], []]);
});

test('one turn takes in a bounded number of packets, and the others wait', (t) => {
  const [first, second] = join(t, 2);
  for (let n = 0; n < 150; n++) assert.ok(handOver(first, 1, pattern(100)));
  const counts = [1, 2, 3, 4].map(() => second.receive(() => {}));
  assert.deepEqual(counts, [64, 64, 22, 0]);
});

test('a full queue refuses a packet, keeps what it has, and takes more once there is room', (t) => {
  const [first, second] = join(t, 2, 1 << 20);
  let sent = 0;
  while (handOver(first, 1, pattern(60_000))) assert.ok(++sent < 1000, 'the queue has an end');
  assert.ok(sent >= 8, `${sent} of the largest datagrams wait`);
  assert.equal(take(second).length, sent);
  assert.ok(handOver(first, 1, pattern(60_000)));
  assert.equal(take(second).length, 1);
});
