// Who serves VIP:vport: a second proxy and a bound program are refused, a server on 0.0.0.0 is not.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import { boundSockets, claimPorts } from '../../src/io/ownership.ts';

/** A UDP socket of this process on a free port of `address`. */
async function bind(t: TestContext, address: string): Promise<number> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').bind(0, address);
  t.after(() => socket.close());
  await once(socket, 'listening');
  return socket.address().port;
}

test('a VIP:vport is claimed once, and can be claimed again when released', async (t) => {
  const vips = [
    { ip: '127.0.0.9', port: 6000 },
    { ip: '127.0.0.9', port: 6001 },
  ];
  const first = await claimPorts(vips);
  t.after(() => first.release());
  await assert.rejects(claimPorts([{ ip: '127.0.0.9', port: 6002 }, ...vips.slice(1)]), {
    name: 'IoError',
    message: /another uoa-proxy serves UDP 127\.0\.0\.9:6001/,
  });
  const other = await claimPorts([{ ip: '127.0.0.9', port: 6002 }]);
  await other.release();
  await first.release();
  await (await claimPorts(vips)).release();
});

test('an address and port to which a program is bound cannot be claimed', async (t) => {
  const port = await bind(t, '127.0.0.9');
  await assert.rejects(claimPorts([{ ip: '127.0.0.9', port }]), {
    name: 'IoError',
    message: new RegExp(`a program on this host is bound to UDP 127\\.0\\.0\\.9:${port}`),
  });
  await (await claimPorts([{ ip: '127.0.0.8', port }])).release();
});

test('the same holds for IPv6, also for an IPv6 socket that is bound to an IPv4 address', async (t) => {
  const vip = '::1';
  const first = await claimPorts([{ ip: vip, port: 6000 }]);
  t.after(() => first.release());
  await assert.rejects(claimPorts([{ ip: vip, port: 6000 }]), /another uoa-proxy serves UDP \[::1\]:6000/);
  const port = await bind(t, vip);
  await assert.rejects(claimPorts([{ ip: vip, port }]), {
    message: new RegExp(`a program on this host is bound to UDP \\[::1\\]:${port}`),
    hint: /as ::1$/,
  });
  const mapped = await bind(t, '::ffff:127.0.0.9');
  await assert.rejects(claimPorts([{ ip: '127.0.0.9', port: mapped }]), /bound to UDP 127\.0\.0\.9:/);
});

test('a server on :: does not stand in the way, of either family', async (t) => {
  const port = await bind(t, '::');
  const claim = await claimPorts([
    { ip: '127.0.0.9', port },
    { ip: '::1', port },
  ]);
  await claim.release();
});

test('a server on 0.0.0.0 does not stand in the way', async (t) => {
  const port = await bind(t, '0.0.0.0');
  await (await claimPorts([{ ip: '127.0.0.9', port }])).release();
});

test('a connected socket is no server', () => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue',
    '  100: 0100007F:1770 00000000:0000 07 00000000:00000000',
    '  101: 6400010A:1F41 0200010A:0035 01 00000000:00000000',
  ].join('\n');
  assert.deepEqual([...boundSockets(table)], ['127.0.0.1:6000']);
  const table6 = [
    '  sl  local_address                         remote_address                        st tx_queue rx_queue',
    '  100: 0100A0FD000000000000000002000000:1770 00000000000000000000000000000000:0000 07 00000000:00000000',
    '  101: 000000FD000000000000000002000000:1770 000000FD000000000000000003000000:0035 01 00000000:00000000',
  ].join('\n');
  assert.deepEqual([...boundSockets(table6)], ['[fda0:1::2]:6000']);
});
