// Checks by TCP against sockets on loopback.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { check, failure, SUCCESS } from './sample.ts';

for (const ip of ['127.0.0.1', '::1']) {
  test(`a connection that is accepted is a success and is closed, and a closed port is a failure (${ip})`, async () => {
    const server = createServer().listen(0, ip);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    assert.deepEqual(await check({ type: 'tcp' }, { ip, port }), SUCCESS);
    const [socket] = await accepted;
    let received = 0;
    socket.on('data', (chunk) => {
      received += chunk.length;
    });
    await once(socket, 'close');
    assert.equal(received, 0);
    server.close();
    await once(server, 'close');
    assert.deepEqual(await check({ type: 'tcp' }, { ip, port }), failure('connection refused'));
  });
}

test('a check that is given up before it began makes no connection', async (t) => {
  const server = createServer(() => assert.fail('a connection')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const control = new AbortController();
  control.abort();
  assert.deepEqual(await check({ type: 'tcp' }, { port }, control.signal), failure('given up'));
});
