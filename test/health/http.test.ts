// Checks by HTTP against programs on loopback that say what no HTTP library would.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { check, failure, SUCCESS } from './sample.ts';

type Answer = (socket: Socket) => void;

/** A server that does `answer` when a request is there, which `asked` resolves with. */
async function serve(t: TestContext, answer: Answer, ip = '127.0.0.1') {
  const sockets = new Set<Socket>();
  let give: (request: string) => void = () => {};
  const asked = new Promise<string>((resolve) => {
    give = resolve;
  });
  const server = createServer((socket) => {
    sockets.add(socket);
    let request = '';
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      request += chunk;
      if (!request.endsWith('\r\n\r\n')) return;
      give(request);
      answer(socket);
    });
  }).listen(0, ip);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server, 'listening');
  return { target: { ip, port: (server.address() as AddressInfo).port }, asked };
}

const say =
  (text: string): Answer =>
  (socket) =>
    void socket.end(text);

/** Writes `text` again and again, as long as it is read. */
const repeat =
  (first: string, text: string): Answer =>
  (socket) => {
    socket.write(first);
    const more = () => {
      if (!socket.destroyed) socket.write(text, more);
    };
    more();
  };

const OK = 'HTTP/1.1 200 OK\r\n';
const EMPTY = 'Content-Length: 0\r\n\r\n';

const rows: [string, object, Answer, ReturnType<typeof failure>][] = [
  ['status 200 is a success', {}, say(`${OK}${EMPTY}`), SUCCESS],
  ['a body is read to its end', {}, say(`${OK}Content-Length: 5\r\n\r\nhello`), SUCCESS],
  ['a body without length ends with the connection', {}, say('HTTP/1.0 200 OK\r\n\r\nhello'), SUCCESS],
  [
    'a redirect is not followed',
    {},
    say(`HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n${EMPTY}`),
    SUCCESS,
  ],
  [
    'status 503 is a failure',
    {},
    say(`HTTP/1.1 503 No\r\n${EMPTY}`),
    failure('status 503, expected 200-399'),
  ],
  [
    'one status can be asked for',
    { status: '204' },
    say(`${OK}${EMPTY}`),
    failure('status 200, expected 204'),
  ],
  ['an answer ahead of the real one is skipped', {}, say(`HTTP/1.1 103 Early\r\n\r\n${OK}${EMPTY}`), SUCCESS],
  [
    'another protocol is judged by its status',
    {},
    say('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: game\r\n\r\nbytes'),
    failure('status 101, expected 200-399'),
  ],
  [
    'no status line is a failure',
    {},
    say('220 smtp ready\r\n'),
    failure('no valid HTTP answer (HPE_INVALID_CONSTANT)'),
  ],
  ['no answer is a failure', {}, say(''), failure('connection ended early')],
  [
    'an answer that breaks off is a failure',
    {},
    say(`${OK}Content-Length: 50\r\n\r\nhello`),
    failure('connection ended early'),
  ],
  ['silence is a failure', { timeout: '300ms' }, () => {}, failure('no answer within 300ms')],
  [
    'an answer that does not end is a failure',
    { timeout: '300ms' },
    (socket) => void socket.write(`${OK}Content-Length: 5\r\n\r\nhell`),
    failure('answer not complete within 300ms'),
  ],
  ['a body without end is cut and its status counts', {}, repeat(`${OK}\r\n`, 'x'.repeat(65_536)), SUCCESS],
  [
    'the status counts for a body without end too',
    {},
    repeat('HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n', `1000\r\n${'x'.repeat(4096)}\r\n`),
    failure('status 500, expected 200-399'),
  ],
  [
    'a header without end is a failure',
    {},
    repeat(OK, `X-Long: ${'x'.repeat(1000)}\r\n`),
    failure('no valid HTTP answer (HPE_HEADER_OVERFLOW)'),
  ],
  [
    'one header line without end is a failure',
    {},
    repeat(`${OK}X-Long: `, 'x'.repeat(1000)),
    failure('no valid HTTP answer (HPE_HEADER_OVERFLOW)'),
  ],
  [
    'early answers without end are a failure',
    {},
    repeat('', 'HTTP/1.1 102 Processing\r\n\r\n'),
    failure('too many answers 1xx'),
  ],
];

for (const [name, settings, answer, expected] of rows)
  test(name, async (t) => {
    const { target } = await serve(t, answer);
    assert.deepEqual(await check({ type: 'http', ...settings }, target), expected);
  });

for (const [ip, host] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '[::1]'],
] as const) {
  test(`the request names path and host, and a closed port is a failure (${ip})`, async (t) => {
    const { target, asked } = await serve(t, say(`${OK}${EMPTY}`), ip);
    assert.deepEqual(await check({ type: 'http', path: '/up?of=game' }, target), SUCCESS);
    assert.deepEqual((await asked).split('\r\n'), [
      'GET /up?of=game HTTP/1.1',
      `Host: ${host}:${target.port}`,
      'User-Agent: uoa-proxy',
      'Connection: close',
      '',
      '',
    ]);
  });

  test(`a refused connection is a failure (${ip})`, async () => {
    const server = createServer().listen(0, ip);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    assert.deepEqual(await check({ type: 'http' }, { ip, port }), failure('connection refused'));
  });
}
