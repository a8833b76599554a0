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
// A destination options header as it is received: next header 17 (UDP), 24 bytes long, option 31 with 20
// bytes of data.
const UOA6 = Uint8Array.from([
  ...[0x11, 0x02, 0x1f, 0x14, 0x9c, 0x40],
  ...[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
  ...[0x01, 0x00],
]);

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
  assert.equal(await receiver.wait(60_000), true);
  assert.deepEqual(receiver.receive(), {
    payload: new Uint8Array(0),
    options: UOA,
    srcIp: ADDRESS,
    srcPort: sender.port,
  });
  await ended;
  const packet = [...seen.matchAll(/^\t0x[0-9a-f]+:\s+(.*)$/gm)]
    .map(([, hex]) => hex.replaceAll(' ', ''))
    .join('');
  assert.equal(packet.slice(0, 2), '47', 'a header of 28 bytes');
  assert.equal(packet.slice(40, 56), '1f089c40c6336407');
  assert.equal(packet.length, 2 * (28 + 8), 'no payload');
});

test('a datagram over IPv6 carries its destination options header, and can be echoed with it', async (t) => {
  const sender = openOptionSocket({ ip: '::1', port: 0 });
  const receiver = openOptionSocket({ ip: '::', port: 0, family: 6 });
  t.after(() => {
    sender.close();
    receiver.close();
  });
  sender.send(Uint8Array.of(1, 2), '::1', receiver.port, UOA6);
  sender.send(new Uint8Array(0), '::1', receiver.port);
  assert.equal(await receiver.wait(60_000), true);
  const datagram = receiver.receive()!;
  assert.deepEqual(datagram, {
    payload: Uint8Array.of(1, 2),
    options: UOA6,
    srcIp: '::1',
    srcPort: sender.port,
  });
  assert.deepEqual(receiver.receive()!.options, new Uint8Array(0));
  receiver.send(new Uint8Array(0), datagram.srcIp, datagram.srcPort, datagram.options);
  assert.equal(await sender.wait(60_000), true);
  assert.deepEqual(sender.receive()!.options, UOA6);
});

test('one port can be served for each family by a socket of its own', (t) => {
  const v4 = openOptionSocket({ ip: '0.0.0.0', port: 0 });
  const v6 = openOptionSocket({ ip: '::', port: v4.port });
  t.after(() => {
    v4.close();
    v6.close();
  });
  assert.equal(v6.port, v4.port);
});

test('a datagram without options has none, and none is left from the one before', async (t) => {
  const socket = openOptionSocket({ ip: ADDRESS, port: 0 });
  t.after(() => socket.close());
  socket.send(Uint8Array.of(1), ADDRESS, socket.port, UOA);
  socket.send(Uint8Array.of(2, 3), ADDRESS, socket.port);
  assert.equal(await socket.wait(60_000), true);
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
  assert.equal(await socket.wait(60_000), true);
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
  assert.equal(await socket.wait(60_000), true);
  const packet = socket.receive()!;
  assert.equal(packet[9], 248);
  assert.deepEqual([...packet.subarray(12, 20)], [127, 77, 0, 1, 127, 77, 0, 1]);
  assert.deepEqual([...packet.subarray(20)], [1, 2, 3, 4]);
});

test('a raw receiver over IPv6 gets its packets with a header of their addresses, extension headers left out', async (t) => {
  const socket = openRawReceiver(248, '::1');
  t.after(() => socket.close());
  socket.send(Uint8Array.of(1, 2, 3, 4), '::1');
  assert.equal(await socket.wait(60_000), true);
  const packet = socket.receive()!;
  const loopback = `${'00'.repeat(15)}01`;
  assert.equal(Buffer.from(packet).toString('hex'), `600000000004f840${loopback}${loopback}01020304`);
  assert.equal(socket.receive(), undefined);
});
