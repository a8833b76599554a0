// One process goes on where another one stops, both with rings for the same packets: each packet is of one of
// them, whichever ring it comes by and whenever that is read for the last time.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DealtWithIndex, fromText, joined, stampOf, toText } from '../../src/io/dealt-with.ts';
import { startEndpoint } from '../host/endpoint.ts';
import { join as joinNamespaces, namespace, startProgram } from './namespaces.ts';

const [CIP, LIP] = ['10.1.0.2', '10.1.0.1'];
/** By the worker before that a port of LIP belongs to. */
const PORT = [6000, 6001];

const stamp = (seconds: number, nanoseconds: number) => ({
  stamp: stampOf(seconds, nanoseconds),
  us: seconds * 1e6 + nanoseconds / 1e3,
});

describe('a process that goes on after another', () => {
  it('takes what came to one worker after its last look, though another one looked later', async (t) => {
    const [client, lb] = [namespace(t, 'c'), namespace(t, 'l')];
    joinNamespaces(
      { ns: client, device: 'c0', addresses: [`${CIP}/24`] },
      { ns: lb, device: 'wan0', addresses: [`${LIP}/24`] },
    );
    const rings = startProgram(t, lb, 'io/cut-program.ts', { lip: LIP });
    await rings.next('ready');
    const endpoint = await startEndpoint(t, client, { ip: CIP });
    const send = async (worker: number, payload: string) => {
      endpoint.write({ send: { hex: Buffer.from(payload).toString('hex'), ip: LIP, port: PORT[worker] } });
      await endpoint.next('answer');
      rings.write({ came: 1 });
      await rings.next('came');
    };
    const drain = async (worker: number) => {
      rings.write({ drain: worker });
      return await rings.next('drained');
    };
    await send(1, 'first of 1');
    assert.deepEqual(await drain(1), ['first of 1']);
    await send(1, 'second of 1');
    await send(0, 'first of 0');
    await send(0, 'second of 0');
    assert.deepEqual(await drain(0), ['first of 0', 'second of 0']);
    await send(0, 'third of 0');
    rings.write({ cut: true });
    assert.deepEqual(await rings.next('went'), { taken: ['second of 1', 'third of 0'], foreign: 3 });
    await rings.stop();
  });

  it('knows a packet by the nanosecond in which it came in, each of several with the same one once', () => {
    const [first, second, third] = [stamp(1e9, 1), stamp(1e9, 2), stamp(1e9, 3)];
    const stamps = (of: readonly { stamp: number }[]) => Float64Array.from(of, ({ stamp }) => stamp);
    const worker0 = { untilUs: first.us - 1, stamps: stamps([first, first]), lastUs: first.us };
    const worker1 = { untilUs: first.us - 1, stamps: stamps([third]), lastUs: third.us };
    const index = new DealtWithIndex(fromText(toText(joined([worker0, worker1]))));
    const take = (one: typeof first) => index.take(one.us, one.stamp);
    assert.deepEqual([first, second, first, third, first].map(take), [true, false, true, true, false]);
  });

  it('goes by the time alone where that says enough, or a packet has no stamp', () => {
    const at = (us: number) => ({ us, stamp: undefined });
    const index = new DealtWithIndex({ untilUs: 1000, stamps: new Float64Array(0), lastUs: 2000 });
    assert.equal(index.take(1000, 5), true);
    assert.equal(index.take(1001, 5), false);
    assert.deepEqual(
      [at(2000), at(2001)].map(({ us, stamp }) => index.take(us, stamp)),
      [true, false],
    );
  });
});
