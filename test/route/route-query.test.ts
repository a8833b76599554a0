// What the kernel says instead of a route.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import test from 'node:test';
import { RouteQuery } from '../../src/route/route-query.ts';
import { SysError } from '../../src/sys/libc.ts';
import { NetlinkSocket } from '../../src/sys/netlink.ts';
import { addressWords } from '../../src/wire/address.ts';

const ERROR = 2; // NLMSG_ERROR
const { ENETUNREACH, EHOSTUNREACH, EINVAL, EACCES, ENOBUFS, ENOMEM } = constants.errno;

test('no route is an answer; a kernel that is short of memory has not answered', (t) => {
  let errno = 0;
  const { receive } = NetlinkSocket.prototype;
  // Of what the kernel really answered only type and errno are others.
  t.mock.method(NetlinkSocket.prototype, 'receive', function (this: NetlinkSocket): number {
    const length = receive.call(this);
    if (length > 0 && errno !== 0) {
      this.view.setUint16(4, ERROR, true);
      this.view.setUint16(6, 0, true);
      this.view.setInt32(16, -errno, true);
    }
    return length;
  });
  const query = new RouteQuery();
  t.after(() => query.close());
  const loopback = addressWords('127.0.0.1');
  for (const ask of [() => query.ask(loopback, 0), () => query.askTable(loopback, 0)]) {
    for (errno of [0, ENETUNREACH, EHOSTUNREACH, EINVAL, EACCES]) assert.equal(ask(), errno === 0);
    for (errno of [ENOBUFS, ENOMEM])
      assert.throws(ask, (error) => error instanceof SysError && error.errno === errno);
  }
});
