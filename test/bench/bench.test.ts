// The bench's own arithmetic, without a clock or a network: what it would print of a forwarder whose capacity is known,
// the frames that it sends, and the series that it reads.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { busyTicks } from '../../bench/foreign-cpu.ts';
import { readLosses } from '../../bench/losses.ts';
import { BATCH, Pacing } from '../../bench/pacing.ts';
import { findPeak, type Step } from '../../bench/peak.ts';
import { LAN, SessionLoad, WAN } from '../../bench/session-load.ts';
import { formatTable, formatTarget } from '../../bench/table.ts';
import { udpFrame } from '../../bench/udp-frame.ts';
import { DROP, VERDICT } from '../../src/datapath/verdict.ts';
import { dissect } from '../packets/dissect.ts';

/** One second with a forwarder of this capacity, and a generator that can make at most `most`. */
function offerTo(capacity: number, most = Number.POSITIVE_INFINITY): (rate: number) => Promise<Step> {
  return async (rate) => {
    const offered = Math.min(rate, most);
    const delivered = Math.min(offered, capacity);
    return { asked: rate, offered, delivered, sent: offered, lost: offered - delivered };
  };
}

describe('the search for the peak', () => {
  test('comes within a few percent of the capacity', async () => {
    const peak = await findPeak(offerTo(137_000), { refinements: 5 });
    assert.equal(peak.limitedBy, 'forwarder');
    assert.ok(peak.step.delivered > 133_000 && peak.step.delivered <= 137_000, `${peak.step.delivered}`);
    assert.equal(peak.most, 137_000);
  });

  test('says so when the generator is the limit', async () => {
    const peak = await findPeak(offerTo(900_000, 440_000));
    assert.equal(peak.limitedBy, 'generator');
    assert.equal(peak.step.delivered, 440_000);
  });

  test('tries a lossy rate once more, because the loss may be somebody else’s doing', async () => {
    const offer = offerTo(150_000);
    const disturbed = new Set([50_000]);
    const peak = await findPeak(async (rate) => {
      const step = await offer(rate);
      return disturbed.delete(rate) ? { ...step, delivered: rate / 2, lost: rate / 2 } : step;
    });
    assert.ok(peak.step.delivered > 140_000, `${peak.step.delivered}`);
  });

  test('fails when nothing is ever delivered', async () => {
    await assert.rejects(findPeak(offerTo(0)), /nothing was delivered/);
  });
});

describe('pacing', () => {
  test('sends the rate, in groups of at most a batch', () => {
    const pacing = new Pacing(100_000, 0);
    let sent = 0;
    for (let nowMs = 0; nowMs <= 1000; nowMs += 0.01) {
      const count = pacing.take(nowMs);
      assert.ok(count <= BATCH);
      sent += count;
    }
    assert.ok(Math.abs(sent - 100_000) <= BATCH, `${sent}`);
  });

  test('forgives the debt of a sender that was held up', () => {
    const pacing = new Pacing(10_000, 0);
    let burst = 0;
    for (let count = pacing.take(5000); count > 0; count = pacing.take(5000)) burst += count;
    assert.ok(burst <= BATCH, `${burst}`);
  });
});

test('a frame of the generator is a UDP datagram with right checksums', () => {
  for (const payloadLen of [0, 1, 64, 1200]) {
    const frame = udpFrame({
      srcMac: '02:00:00:00:00:01',
      dstMac: '02:00:00:00:00:02',
      src: '10.1.0.2',
      dst: '10.1.0.100',
      sport: 10_000,
      dport: 6000,
      payloadLen,
    });
    assert.equal(Buffer.from(frame.subarray(0, 14)).toString('hex'), '0200000000020200000000010800');
    const seen = dissect(frame.slice(14));
    assert.deepEqual([seen.src, seen.sport, seen.dst, seen.dport], ['10.1.0.2', 10_000, '10.1.0.100', 6000]);
    assert.ok(seen.ipChecksumOk && seen.udpChecksumOk && seen.udpChecksum !== 0);
  }
});

test('each walk that the datapath bench drives takes the way that its name says', () => {
  const load = new SessionLoad({ sessions: 100, payloadLen: 65, maxTrials: 1, idleRefreshMs: 0 });
  load.openAll();
  assert.equal(load.datapath.sessionCount, 100);
  for (const session of [0, 1, 99]) {
    load.stampInbound(session);
    assert.equal(load.receive(WAN), VERDICT.forward);
    load.stampEchoAck(session);
    assert.equal(load.receive(LAN), VERDICT.consumed);
    load.stampOutbound(session);
    assert.equal(load.receive(LAN), VERDICT.forward);
    load.stampStray(session);
    assert.equal(load.receive(LAN), DROP.no_session);
  }
  load.stampInbound(100);
  assert.equal(load.receive(WAN), VERDICT.forward);
  assert.equal(load.datapath.sessionCount, 100, 'a newcomer takes the place of another');
});

test('losses are read from the metrics', () => {
  const text = `# HELP uoa_proxy_io_lost_total x
uoa_proxy_io_lost_total{interface="wan0",where="kernel"} 5
uoa_proxy_io_lost_total{interface="lan0",where="kernel"} 2
uoa_proxy_io_lost_total{interface="wan0",where="backlog"} 3
uoa_proxy_drops_total{service="bench",reason="no_session"} 11
uoa_proxy_io_send_errors_total{error="no_buffer"} 13
`;
  assert.deepEqual(readLosses(text), { kernel: 7, backlog: 3, dropped: 11, sendErrors: 13 });
});

test('processor time is read from /proc/stat', () => {
  assert.deepEqual(busyTicks('cpu  10 20 30 40 50 60\ncpu0 1 2 3 4\n'), [10, 20, 30]);
});

test('tables and targets are plain text', () => {
  assert.deepEqual(formatTable(['a', 'bb'], [['long', '1']]), ['a     bb', 'long   1']);
  assert.equal(
    formatTarget({ what: 'memory', measured: '150 bytes', wanted: 'under 400', met: true }),
    'target: memory: 150 bytes, wanted under 400: met',
  );
});
