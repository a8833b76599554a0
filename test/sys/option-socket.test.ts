// Sockets that see and send IP options, with tcpdump as witness of what is on the wire.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { SysError } from '../../src/sys/libc.ts';
import { openOptionSocket, openRawReceiver } from '../../src/sys/option-socket.ts';

// 31, length 8, port 40000, 198.51.100.7: the option as public receivers read it.
const UOA = Uint8Array.from([0x1f, 0x08, 0x9c, 0x40, 0xc6, 0x33, 0x64, 0x07]);
const ADDRESS = '127.77.0.1';

test('an empty datagram carries option 31 on the wire and to the receiver', async (t) => {
  const sender = openOptionSocket({ ip: ADDRESS, port: 0 });
  const receiver = openOptionSocket({ ip: ADDRESS, port: 0 });
  t.after(() => {
    sender.close();
    receiver.close();
  });
  const tcpdump = spawn('tcpdump', [
    '-l',
    '-n',
    '-i',
    'lo',
    '-x',
    '-c',
    '1',
    `udp dst port ${receiver.port}`,
  ]);
  t.after(() => tcpdump.kill('SIGKILL'));
  let seen = '';
  tcpdump.stdout.on('data', (chunk) => {
    seen += chunk;
  });
  await once(tcpdump.stderr, 'data'); // it listens
  const ended = once(tcpdump, 'close');

  sender.send(new Uint8Array(0), ADDRESS, receiver.port, UOA);
  assert.equal(await receiver.wait(5_000), true);
  assert.deepEqual(receiver.receive(), {
    payload: new Uint8Array(0),
    options: UOA,
    srcIp: ADDRESS,
    srcPort: sender.port,
  });
  await ended;
  const packet = [...seen.matchAll(/^\t0x[0-9a-f]+:\s+(.*)$/gm)]
    .map(([, hex]) => hex!.replaceAll(' ', ''))
    .join('');
  assert.equal(packet.slice(0, 2), '47', 'a header of 28 bytes');
  assert.equal(packet.slice(40, 56), '1f089c40c6336407');
  assert.equal(packet.length, 2 * (28 + 8), 'no payload');
});

test('a datagram without options has none, and none is left from the one before', async (t) => {
  const socket = openOptionSocket({ ip: ADDRESS, port: 0 });
  t.after(() => socket.close());
  socket.send(Uint8Array.of(1), ADDRESS, socket.port, UOA);
  socket.send(Uint8Array.of(2, 3), ADDRESS, socket.port);
  assert.equal(await socket.wait(5_000), true);
  const first = socket.receive()!;
  const second = socket.receive()!;
  assert.deepEqual([first.payload, first.options], [Uint8Array.of(1), UOA]);
  assert.deepEqual([second.payload, second.options], [Uint8Array.of(2, 3), new Uint8Array(0)]);
  assert.equal(socket.receive(), undefined);
});

test('the largest datagram passes unchanged', async (t) => {
  const socket = openOptionSocket({ ip: ADDRESS, port: 0 });
  t.after(() => socket.close());
  const payload = Uint8Array.from({ length: 65_507 }, (_, index) => index * 7);
  socket.send(payload, ADDRESS, socket.port);
  assert.equal(await socket.wait(5_000), true);
  assert.deepEqual(socket.receive()!.payload, payload);
});

test('waiting ends without a datagram when the time is over or the socket is closed', async () => {
  const socket = openOptionSocket({ ip: ADDRESS, port: 0 });
  assert.equal(await socket.wait(1), false);
  const waiting = socket.wait(60_000);
  socket.close();
  assert.equal(await waiting, false);
  assert.equal(await socket.wait(60_000), false);
});

test('a port in use is an error with its name', (t) => {
  const socket = openOptionSocket({ ip: ADDRESS, port: 0 });
  t.after(() => socket.close());
  assert.throws(
    () => openOptionSocket({ ip: ADDRESS, port: socket.port }),
    (error) => error instanceof SysError && error.code === 'EADDRINUSE' && error.syscall === 'bind',
  );
});

test('a raw receiver gets whole packets of its protocol and sends from the address it is bound to', async (t) => {
  const socket = openRawReceiver(248, ADDRESS);
  t.after(() => socket.close());
  socket.send(Uint8Array.of(1, 2, 3, 4), '127.77.0.1');
  assert.equal(await socket.wait(5_000), true);
  const packet = socket.receive()!;
  assert.equal(packet[9], 248);
  assert.deepEqual([...packet.subarray(12, 20)], [127, 77, 0, 1, 127, 77, 0, 1]);
  assert.deepEqual([...packet.subarray(20)], [1, 2, 3, 4]);
});
