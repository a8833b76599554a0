// The bench's programs, packet by packet, as their head comments say (bench/bpf/*.bpf.c): what becomes of it,
// what it counts and what it is made into. What they do in a network: network.test.ts.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CONTROL, CONTROL_LEN, HISTOGRAM_BUCKETS, STAMP_LEN } from '../../bench/bpf/control.ts';
import { emptyFrame, loadSinks, loadSource, XDP } from '../../bench/bpf/programs.ts';
import { testRun } from '../../src/sys/libbpf.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { udp4 } from '../packets/builder.ts';
import { concat, hex, unhex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';

const PORT = 6000;
const PAYLOAD_LEN = 16;
const [CLIENT_MAC, RS_MAC] = ['02000000000a', '02000000000b'];

type Words = Record<keyof typeof CONTROL, number>;

/** The words of a network's memory, by name. */
function wordsOf(controlFd: number): Words {
  const memory = new BigUint64Array(mapSharedMemory(controlFd, CONTROL_LEN), 0, CONTROL_LEN / 8);
  return new Proxy(CONTROL, {
    get: (offsets, name) => Number(memory[offsets[name as keyof Words] / 8]),
    set: (offsets, name, value: number) => {
      memory[offsets[name as keyof Words] / 8] = BigInt(value);
      return true;
    },
  });
}

const link = (to: string, from: string, type = '0800') => unhex(`${to} ${from} ${type}`);
const load = (fields: Partial<Parameters<typeof udp4>[0]> = {}) =>
  concat(
    link(RS_MAC, CLIENT_MAC),
    udp4({
      src: '11.0.0.1',
      dst: '10.2.0.11',
      sport: PORT,
      dport: PORT,
      payload: new Uint8Array(PAYLOAD_LEN),
      ...fields,
    }),
  );

describe('at the ends of the way', () => {
  const { programFd, controlFd } = loadSinks(PORT);
  const words = wordsOf(controlFd);
  words.payloadLen = PAYLOAD_LEN;
  const verdictAt = (name: string, data: Uint8Array) => testRun(programFd(name), { data }).result;

  const rows: [what: string, frame: Uint8Array, verdict: number, counted: number][] = [
    ['a datagram of the load', load(), XDP.drop, 1],
    ['one with IP options', load({ options: unhex('01010101 01010101') }), XDP.drop, 1],
    ['one with another length of payload', load({ payload: new Uint8Array(0) }), XDP.drop, 0],
    ['one from and to other ports', load({ sport: 1, dport: 2 }), XDP.pass, 0],
    ['one that ends before its payload', load().subarray(0, 42), XDP.drop, 0],
    ['one that ends before its UDP header', load().subarray(0, 41), XDP.pass, 0],
    ['another protocol than UDP', load().fill(6, 23, 24), XDP.pass, 0],
    ['what is not IPv4', concat(link(RS_MAC, CLIENT_MAC, '0806'), load().subarray(14)), XDP.pass, 0],
  ];
  for (const [what, frame, verdict, counted] of rows) {
    test(`${what} ${verdict === XDP.pass ? 'passes' : 'ends'}, ${counted ? 'counted' : 'uncounted'}`, () => {
      for (const [name, word] of [
        ['real_server', 'delivered'],
        ['client', 'answered'],
      ] as const) {
        const before = words[word];
        assert.deepEqual([verdictAt(name, frame), words[word] - before], [verdict, counted], name);
      }
    });
  }

  test('the real server looks at the destination port, the client at the source port', () => {
    assert.equal(verdictAt('real_server', load({ dport: 1 })), XDP.pass);
    assert.equal(verdictAt('client', load({ sport: 1 })), XDP.pass);
    assert.equal(verdictAt('real_server', load({ sport: 1 })), XDP.drop);
    assert.equal(verdictAt('client', load({ dport: 1 })), XDP.drop);
  });

  test('with echo the real server sends back what it got, without a checksum', () => {
    words.echo = 1;
    const data = load({ sport: 10_000, payload: unhex('01020304 05060708 090a0b0c 0d0e0f10') });
    const answer = testRun(programFd('real_server'), { data, room: data.length });
    words.echo = 0;
    assert.equal(answer.result, XDP.tx);
    assert.equal(hex(answer.data.subarray(0, 14)), hex(link(CLIENT_MAC, RS_MAC)));
    const seen = dissect(answer.data.subarray(14));
    assert.deepEqual(
      [seen.src, seen.sport, seen.dst, seen.dport, seen.ipChecksumOk, seen.udpChecksum, seen.payload],
      ['10.2.0.11', PORT, '11.0.0.1', 10_000, true, 0, '0102030405060708090a0b0c0d0e0f10'],
    );
  });

  test('an answer that took longer than the histogram reaches is in its last bucket', () => {
    const memory = new BigUint64Array(mapSharedMemory(controlFd, CONTROL_LEN));
    const last = CONTROL.histogram / 8 + HISTOGRAM_BUCKETS - 1;
    const before = memory[last];
    verdictAt('client', load());
    assert.equal(memory[last] - before, 1n, 'its stamp is 0');
  });

  test('at the forwarder all passes, and is counted on the side that the load comes from', () => {
    for (const [name, counted] of [
      ['wan', 1],
      ['lan', 0],
    ] as const) {
      const before = words.arrived;
      assert.deepEqual([verdictAt(name, load()), words.arrived - before], [XDP.pass, counted]);
    }
  });
});

describe('the source', () => {
  const fields = {
    srcMac: '02:00:00:00:00:0a',
    dstMac: '02:00:00:00:00:0b',
    dst: '10.2.0.11',
    dport: PORT,
    payloadLen: 65,
  };
  const open = (options?: Parameters<typeof loadSource>[1]) => {
    const { program, controlFd } = loadSource(fields, options);
    const words = wordsOf(controlFd);
    const make = () => testRun(program, { data: emptyFrame(65), room: 200 });
    return { words, make };
  };

  test('makes a datagram of each flow in turn, with right checksums', () => {
    const { words, make } = open();
    // Flow 16,383 has the last port of the first address.
    Object.assign(words, { durationNs: 3600e9, flows: 3, firstFlow: 16_382 });
    const sources = [1, 2, 3, 4].map(() => {
      const { result, data } = make();
      assert.equal(result, XDP.tx);
      assert.equal(hex(data.subarray(0, 14)), hex(link(RS_MAC, CLIENT_MAC)));
      const seen = dissect(data.subarray(14));
      assert.ok(seen.ipChecksumOk && seen.udpChecksumOk && seen.udpChecksum !== 0);
      assert.deepEqual([seen.dst, seen.dport, seen.payload.length / 2], ['10.2.0.11', PORT, 65]);
      const stamp = BigInt(`0x${seen.payload.slice(0, 2 * STAMP_LEN)}`);
      assert.ok(stamp > 0n && stamp <= process.hrtime.bigint(), 'nanoseconds since boot');
      return `${seen.src}:${seen.sport}`;
    });
    const turn = ['11.0.0.1:26382', '11.0.0.1:26383', '11.0.0.2:10000'];
    assert.deepEqual([sources, words.sent], [[...turn, turn[0]], 4]);
  });

  test('lets frames go as it is told', () => {
    const { words, make } = open({ verdict: XDP.pass });
    Object.assign(words, { durationNs: 3600e9, flows: 1 });
    assert.equal(make().result, XDP.pass);
  });

  test('sends nothing while nothing is due', () => {
    const { words, make } = open();
    Object.assign(words, { intervalNs: 3600e9, durationNs: 7200e9, flows: 1 });
    assert.deepEqual([make().result, make().result, words.sent], [XDP.tx, XDP.drop, 1]);
  });

  test('notes what has arrived when its time is over, once', () => {
    const { words, make } = open();
    Object.assign(words, { durationNs: 0, flows: 1, arrived: 3, delivered: 2, answered: 1 });
    assert.equal(make().result, XDP.drop);
    Object.assign(words, { arrived: 9 });
    make();
    const { ended, sent, arrivedAtEnd, deliveredAtEnd, answeredAtEnd } = words;
    assert.deepEqual([ended, sent, arrivedAtEnd, deliveredAtEnd, answeredAtEnd], [1, 0, 3, 2, 1]);
  });
});
