// Checks by UDP against sockets on loopback.
import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { check, failure, SUCCESS } from './sample.ts';

type Answer = (server: Socket, from: RemoteInfo, payload: Buffer) => void;

/** A server that does `answer` for each datagram. */
async function serve(
  t: TestContext,
  answer: Answer,
  ip = '127.0.0.1',
): Promise<{ ip: string; port: number }> {
  const server = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
  t.after(() => server.close());
  server.on('message', (payload, from) => answer(server, from, payload));
  server.bind(0, ip);
  await once(server, 'listening');
  return { ip, port: server.address().port };
}

const say =
  (...replies: (string | Uint8Array)[]): Answer =>
  (server, from) => {
    for (const reply of replies) server.send(reply, from.port, from.address);
  };
const SILENT: Answer = () => {};
const SHORT = { type: 'udp', timeout: '300ms' };

for (const ip of ['127.0.0.1', '::1']) {
  const right: [string, object, Answer][] = [
    ['any reply is right when none is expected', {}, say('what?')],
    ['silence is right when no reply is expected', { timeout: '100ms' }, SILENT],
    ['an empty reply counts as one', {}, say('')],
    [
      'what is sent reaches the server as it is, and a reply of the same bytes is right',
      { send: 'hex:00ff10', expect: 'hex:00ff10' },
      (server, from, payload) => server.send(payload, from.port, from.address),
    ],
    [
      'without `send` the datagram is empty',
      { expect: 'empty' },
      (server, from, payload) => server.send(payload.length === 0 ? 'empty' : 'not', from.port, from.address),
    ],
    [
      'a pattern is searched in the reply, over its lines',
      { expect: '/^pong.+now/' },
      say('pong\nright now!'),
    ],
    ['a pattern reads bytes as Latin-1', { expect: '/^\\xff\\x00$/' }, say(Uint8Array.of(0xff, 0))],
    ['a right reply after wrong ones counts', { expect: 'pong' }, say('ping', 'pong!', '', 'pong')],
  ];
  for (const [name, settings, answer] of right)
    test(`${name} (${ip})`, async (t) => {
      assert.deepEqual(await check({ type: 'udp', ...settings }, await serve(t, answer, ip)), SUCCESS);
    });

  test(`a real server of dialect proxy-v2 is asked behind a header without addresses (${ip})`, async (t) => {
    const header = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');
    const answer: Answer = (server, from, payload) => server.send(payload, from.port, from.address);
    const at = await serve(t, answer, ip);
    const ask = (target: object, health: object) =>
      check({ type: 'udp', send: 'ping', ...health }, { ...at, ...target });
    const expect = `hex:${header.toString('hex')}${Buffer.from('ping').toString('hex')}`;
    assert.deepEqual(await ask({ isProxied: true }, { expect }), SUCCESS);
    assert.deepEqual(await ask({ isProxied: true }, { expect, port: at.port }), SUCCESS);
    assert.deepEqual(await ask({ isProxied: false }, { expect: 'ping' }), SUCCESS);
    // Who serves another port may not know the header.
    assert.deepEqual(await ask({ isProxied: true, port: 1 }, { expect: 'ping', port: at.port }), SUCCESS);
  });

  test(`a closed port is a failure at once, whether a reply is expected or not (${ip})`, async () => {
    const closed = createSocket(ip.includes(':') ? 'udp6' : 'udp4').bind(0, ip);
    await once(closed, 'listening');
    const target = { ip, port: closed.address().port };
    closed.close();
    await once(closed, 'close');
    assert.deepEqual(await check({ type: 'udp' }, target), failure('port unreachable'));
    assert.deepEqual(await check({ type: 'udp', expect: 'pong' }, target), failure('port unreachable'));
  });
}

test('a reply that is expected and does not come is a failure', async (t) => {
  const target = await serve(t, SILENT);
  assert.deepEqual(await check({ ...SHORT, expect: 'pong' }, target), failure('no reply within 300ms'));
});

test('a wrong reply is named once the time is over, cut and without control characters', async (t) => {
  const target = await serve(t, say(`no\x1b[31m\n${'x'.repeat(60_000)}`));
  assert.deepEqual(
    await check({ ...SHORT, expect: '/^pong/' }, target),
    failure(`reply of 60008 bytes is not what is expected: "no [31m ${'x'.repeat(32)}"`),
  );
});

test('a reply that comes too late does not count, and disturbs nothing', async (t) => {
  let ask: (() => void) | undefined;
  const asked = new Promise<void>((resolve) => {
    ask = resolve;
  });
  let reply = () => {};
  const target = await serve(t, (server, from) => {
    reply = () => server.send('pong', from.port, from.address);
    ask?.();
  });
  const checked = check({ ...SHORT, expect: 'pong' }, target);
  await asked;
  assert.deepEqual(await checked, failure('no reply within 300ms'));
  reply();
});

test('a reply from another address or port is not taken', async (t) => {
  const other = createSocket('udp4').bind(0, '127.0.0.2');
  const neighbor = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => {
    other.close();
    neighbor.close();
  });
  const target = await serve(t, (_, from) => {
    other.send('pong', from.port, from.address);
    neighbor.send('pong', from.port, from.address);
  });
  assert.deepEqual(await check({ ...SHORT, expect: 'pong' }, target), failure('no reply within 300ms'));
});

test('a server that floods the check with wrong replies fails before the time is over', async (t) => {
  const target = await serve(t, (server, from) => {
    const again = (left: number) => {
      if (left > 0) server.send('nonsense', from.port, from.address, () => again(left - 1));
    };
    again(10_000);
  });
  const result = await check({ type: 'udp', timeout: '60s', expect: 'pong' }, target);
  assert.deepEqual(result, failure('reply of 8 bytes is not what is expected: "nonsense"'));
});

test('another port than that of the real server is asked where the settings say so', async (t) => {
  const { port } = await serve(t, say('pong'));
  assert.deepEqual(await check({ type: 'udp', port, expect: 'pong' }, { port: 9 }), SUCCESS);
});

test('hundreds of checks at a time each have a port of their own', async (t) => {
  const ports = new Set<number>();
  const target = await serve(t, (server, from) => {
    ports.add(from.port);
    server.send('pong', from.port, from.address);
  });
  const results = await Promise.all(
    Array.from({ length: 200 }, () => check({ type: 'udp', expect: 'pong' }, target)),
  );
  assert.ok(results.every(({ ok }) => ok));
  assert.equal(ports.size, 200);
});

test('a check that is given up ends', async (t) => {
  const target = await serve(t, SILENT);
  const control = new AbortController();
  const checked = check({ type: 'udp', expect: 'pong' }, target, control.signal);
  control.abort();
  assert.deepEqual(await checked, failure('given up'));
});
