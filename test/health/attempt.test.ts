// What all checks have in common: that they end once, and whose fault an end is.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { type Attempt, attempt, CannotCheck, inWords, quotable } from '../../src/health/attempt.ts';
import { failure, SUCCESS } from './sample.ts';

const { signal } = new AbortController();

function block(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('the first end counts, and undoes once', async () => {
  let undone = 0;
  const ends = await attempt({ timeoutMs: 10_000, signal }, ({ fail, succeed, error }) => {
    setImmediate(() => {
      fail('first');
      succeed();
      error(new Error('third'));
    });
    return () => undone++;
  });
  assert.deepEqual([ends, undone], [failure('first'), 1]);
});

test('an end before there is something to undo undoes too', async () => {
  let undone = 0;
  const ends = await attempt({ timeoutMs: 10_000, signal }, ({ succeed }) => {
    succeed();
    return () => undone++;
  });
  assert.deepEqual([ends, undone], [SUCCESS, 1]);
});

test('errors of the network are failures of the server, those of this host and mistakes are not', async () => {
  const withError = (error: Error) =>
    attempt({ timeoutMs: 10_000, signal }, (given: Attempt) => {
      given.error(error);
      return () => {};
    });
  const coded = (code: string) => Object.assign(new Error(`connect ${code}`), { code });
  assert.deepEqual(await withError(coded('EHOSTUNREACH')), failure('host unreachable'));
  assert.deepEqual(await withError(coded('ECONNREFUSED')), failure('refused'));
  assert.deepEqual(await withError(coded('EPIPE')), failure('connect EPIPE'));
  for (const code of ['EMFILE', 'EADDRNOTAVAIL', 'EPERM'])
    await assert.rejects(withError(coded(code)), new CannotCheck(`connect ${code}`));
  const mistake = new TypeError('undefined is not a function');
  await assert.rejects(withError(mistake), mistake);
  await assert.rejects(
    attempt({ timeoutMs: 10_000, signal }, () => {
      throw mistake;
    }),
    mistake,
  );
});

test('what arrived while this process was busy counts, and a time that it overslept is no failure of the server', async (t) => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => socket.close());
  await once(socket, 'listening');
  const listen = ({ succeed }: Attempt) => {
    socket.once('message', succeed);
    return () => socket.off('message', succeed);
  };
  const sender = createSocket('udp4');
  t.after(() => sender.close());
  sender.bind(0);
  await once(sender, 'listening');
  const heard = attempt({ timeoutMs: 20, signal }, listen);
  sender.send('pong', socket.address().port, '127.0.0.1');
  block(200);
  assert.deepEqual(await heard, SUCCESS);
  const unheard = attempt({ timeoutMs: 20, signal }, listen);
  block(200);
  await assert.rejects(
    unheard,
    /CannotCheck: this process was too busy: it looked \d+ms after the 20ms of the check/,
  );
});

test('times are written as an operator writes them, and quotes fit into a line', () => {
  assert.deepEqual([10, 1000, 1500, 60_000].map(inWords), ['10ms', '1s', '1500ms', '60s']);
  assert.equal(quotable(' a\u0000b\nc\u00e9 '), 'a b c');
  assert.equal(quotable('x'.repeat(201)), `${'x'.repeat(200)}...`);
});
