// Programs bound to what is the proxy's: those of its own user are in the way, others are told of, a server
// on 0.0.0.0 is neither.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import { boundSockets, checkBoundSockets } from '../../src/host/ownership.ts';
import { namespace, startProgram } from '../io/namespaces.ts';

/** A UDP socket of this process on a free port of `address`. */
async function bind(t: TestContext, address: string): Promise<number> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address);
  t.after(() => socket.close());
  await once(socket, 'listening');
  return socket.address().port;
}

const check = (ip: string, port: number) => checkBoundSockets([{ ip, port }], []);

test('a VIP:vport to which a program of the same user is bound is refused', async (t) => {
  const port = await bind(t, '127.0.0.9');
  await assert.rejects(check('127.0.0.9', port), {
    name: 'IoError',
    message: new RegExp(`a program on this host is bound to UDP 127\\.0\\.0\\.9:${port}`),
  });
  assert.deepEqual(await check('127.0.0.8', port), []);
});

test('the same holds for IPv6, also for an IPv6 socket that is bound to an IPv4 address', async (t) => {
  const port = await bind(t, '::1');
  await assert.rejects(check('::1', port), {
    message: new RegExp(`a program on this host is bound to UDP \\[::1\\]:${port}`),
    hint: /as ::1$/,
  });
  const mapped = await bind(t, '::ffff:127.0.0.9');
  await assert.rejects(check('127.0.0.9', mapped), /bound to UDP 127\.0\.0\.9:/);
});

test('a server on :: or 0.0.0.0 does not stand in the way', async (t) => {
  const port = await bind(t, '::');
  assert.deepEqual([...(await check('127.0.0.9', port)), ...(await check('::1', port))], []);
  assert.deepEqual(await check('127.0.0.9', await bind(t, '0.0.0.0')), []);
});

test('one of another user is told of, and keeps no proxy from starting', async (t) => {
  const ns = namespace(t, 'o');
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  const holder = startProgram(t, ns, 'host/bind-program.ts', { ip: '127.0.0.9', port: 6000 }, nobody);
  await holder.next('bound');
  const vips = [{ ip: '127.0.0.9', port: 6000 }];
  const checker = startProgram(t, ns, 'host/bind-program.ts', { check: { vips, lips: [] } });
  assert.deepEqual(await checker.next('said'), [
    "a program of user 65534 is bound to UDP 127.0.0.9:6000, which is the proxy's: it gets nothing there",
  ]);
});

test('one bound to an lport of a LIP is told of, whoever has it', async (t) => {
  const port = await bind(t, '127.0.0.9');
  const lip = { ip: '127.0.0.9', first: port - 1, last: port };
  assert.match(
    (await checkBoundSockets([], [lip])).join(),
    new RegExp(`bound to UDP 127\\.0\\.0\\.9:${port}, which`),
  );
  assert.deepEqual(await checkBoundSockets([], [{ ...lip, last: port - 1 }]), []);
});

test('a connected socket is no server', () => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '  100: 0100007F:1770 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 1 2 0 0',
    '  101: 6400010A:1F41 0200010A:0035 01 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0',
  ].join('\n');
  assert.deepEqual(boundSockets(table), [{ ip: '127.0.0.1', port: 6000, uid: 1000 }]);
  const table6 = [
    '  sl  local_address                         remote_address                        st tx_queue rx_queue',
    '  100: 0100A0FD000000000000000002000000:1770 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0',
    '  101: 000000FD000000000000000002000000:1770 000000FD000000000000000003000000:0035 01 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0',
  ].join('\n');
  assert.deepEqual(boundSockets(table6), [{ ip: 'fda0:1::2', port: 6000, uid: 0 }]);
});
