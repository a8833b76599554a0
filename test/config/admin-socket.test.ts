// The names of admin sockets.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adminSockets } from '../../src/config/admin-socket.ts';

test('a config of /etc/uoa-proxy has the socket of its name, and else one beside it', () => {
  assert.deepEqual(adminSockets(undefined, '/etc/uoa-proxy/edge-1.example.yaml'), [
    '/run/uoa-proxy/edge-1.example.sock',
    '/etc/uoa-proxy/edge-1.example.sock',
  ]);
});

test('configs of one name in other folders have sockets of their own, whatever the path is written like', () => {
  const [first, beside] = adminSockets(undefined, '/srv/a/proxy.yaml');
  assert.match(first, /^\/run\/uoa-proxy\/proxy-[0-9a-f]{8}\.sock$/);
  assert.equal(beside, '/srv/a/proxy.sock');
  assert.notEqual(adminSockets(undefined, '/srv/b/proxy.yaml')[0], first);
  assert.equal(adminSockets(undefined, '/srv/b/../a//proxy.yaml')[0], first);
});

test('a long name of a config is shortened in /run, so that it fits into an address', () => {
  const [first] = adminSockets(undefined, `/srv/${'ä'.repeat(120)}.yaml`);
  assert.match(first, /^\/run\/uoa-proxy\/[0-9a-f]{8}-[0-9a-f]{8}\.sock$/);
});

test('what the config says is the only place', () => {
  assert.deepEqual(adminSockets('/srv/x.sock', '/etc/uoa-proxy/proxy.yaml'), ['/srv/x.sock']);
});
