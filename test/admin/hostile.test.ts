// Clients that are slow, silent, greedy or too many: whatever they do, another client gets its answer.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { type SampleAdmin, startSample } from './sample.ts';

/** Connections that each sent `text`; ended with the test. */
async function connections(
  t: TestContext,
  admin: SampleAdmin,
  count: number,
  text: string,
): Promise<Socket[]> {
  const port = Number(new URL(admin.url('/')).port);
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => {}));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  for (const socket of sockets) socket.write(text);
  return sockets;
}

async function everything(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  // Not once(): who closes what still sends resets the connection, an error that comes behind the answer.
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

async function assertAnswers(admin: SampleAdmin): Promise<void> {
  const response = await fetch(admin.url('/services'), {
    headers: { connection: 'close', authorization: 'Bearer secret' },
  });
  assert.equal(response.status, 200);
  await response.json();
}

describe('another client gets its answer while', () => {
  const rows: [name: string, count: number, text: string][] = [
    ['300 connections say nothing', 300, ''],
    ['300 connections never end their headers', 300, 'GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: '],
    [
      '300 connections never send the body they announced',
      300,
      'POST /drain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{',
    ],
    [
      '300 connections are kept open after an answer',
      300,
      'GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n',
    ],
    [
      '10 connections do not read their answers',
      10,
      'GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n'.repeat(200),
    ],
  ];
  for (const [name, count, text] of rows) {
    it(name, async (t) => {
      const admin = await startSample(t);
      const sockets = await connections(t, admin, count, text);
      for (const socket of sockets) socket.pause();
      for (let i = 0; i < 5; i++) await assertAnswers(admin);
      assert.deepEqual(admin.done, []);
      assert.equal((await admin.post('/reload')).status, 200);
    });
  }

  it('one connection has sent two thousand requests at once, which are all answered in their order', async (t) => {
    const admin = await startSample(t);
    const count = 2000;
    const [greedy] = await connections(t, admin, 1, '');
    const paths = Array.from({ length: count }, (_, i) => `/sessions?offset=${i}`);
    let text = '';
    let end = '';
    const all = new Promise<void>((resolve) => {
      greedy.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
        end = (end + chunk).slice(-4096);
        if (end.includes(`"offset":${count - 1},`)) resolve();
      });
    });
    greedy.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`).join(''));
    await assertAnswers(admin);
    const before = admin.asked.length;
    await all;
    assert.ok(before < count, `the other client was answered after ${before} of ${count}`);
    const offsets = [...text.matchAll(/"offset":(\d+),/g)].map(([, offset]) => Number(offset));
    assert.deepEqual(
      offsets,
      paths.map((_, i) => i),
    );
  });
});

describe('the admin server refuses', () => {
  const rows: [name: string, text: string, status: number][] = [
    [
      'a header that is too large',
      `GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ${'a'.repeat(100_000)}\r\n\r\n`,
      431,
    ],
    [
      'a body that is too large, without reading it',
      `POST /reload HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n`,
      413,
    ],
    ['what is no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', 400],
    [
      'two lengths of one body',
      'POST /reload HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
      400,
    ],
  ];
  for (const [name, text, status] of rows) {
    it(`${name} with ${status}, and closes the connection`, async (t) => {
      const admin = await startSample(t, {}, { token: { current: 'secret' } });
      const [socket] = await connections(t, admin, 1, text);
      assert.match(await everything(socket), new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.deepEqual(admin.done, []);
      await assertAnswers(admin);
    });
  }
});
