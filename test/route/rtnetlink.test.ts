// The kernel's messages about routing, written down by hand from its headers, whole and damaged.
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  LinkMessage,
  NeighborMessage,
  RouteMessage,
  readLink,
  readNeighbor,
  readPrefix,
  readRoute,
} from '../../src/route/rtnetlink.ts';

// 198.51.100.0/24 via 10.1.0.2 dev 3, metric 100, mtu 1300: struct rtmsg, then RTA_TABLE 254, RTA_DST,
// RTA_PRIORITY, RTA_METRICS with hoplimit and mtu, RTA_GATEWAY, RTA_OIF, each with its length and type before
// it.
const ROUTE = bytes(
  '02 18 00 00 fe 03 00 01 00000000',
  '0800 0f00 fe000000',
  '0800 0100 c6336400',
  '0800 0600 64000000',
  '1400 0800 0800 0a00 40000000 0800 0200 14050000',
  '0800 0500 0a010002',
  '0800 0400 03000000',
);
// 2001:db8::/32 via 2001:db8::1 dev 3, which ends in 1,800 s: RTA_CACHEINFO has the time in hundredths.
const ROUTE6 = bytes(
  '0a 20 00 00 fe 02 00 01 00000000',
  '1400 0100 20010db8000000000000000000000000',
  '1400 0500 20010db8000000000000000000000001',
  '0800 0400 03000000',
  '2400 0c00 00000000 00000000 20bf0200 00000000 00000000 00000000 00000000 00000000',
);
// fd00::2 dev 3 lladdr 02:aa:bb:cc:dd:ee STALE.
const NEIGHBOR = bytes(
  '0a 00 0000 03000000 0400 00 01',
  '1400 0100 fd000000000000000000000000000002',
  '0a00 0200 02aabbccddee 0000',
);
// Interface 3, Ethernet, UP and RUNNING, name e3, 02:aa:bb:cc:dd:ee, MTU 1500; IFLA_AF_SPEC: of IPv4 a
// number, of IPv6 flags and IFLA_INET6_CONF: forwarding, hop limit, MTU 1400.
const LINK = bytes(
  '00 00 0100 03000000 43100100 00000000',
  '0700 0300 653300 00',
  '0a00 0100 02aabbccddee 0000',
  '0800 0400 dc050000',
  '2c00 1a00 0c00 0200 0800 0100 01000000 1c00 0a00 0800 0100 00000080 1000 0200 00000000 40000000 78050000',
);
// 50: from all to 198.51.100.0/24 iif e3 lookup 100.
const RULE = bytes(
  '02 18 00 00 64 00 00 01 00000000',
  '0800 0f00 64000000',
  '0800 0600 32000000',
  '0800 0e00 ffffffff',
  '0800 0100 c6336400',
  '0700 0300 653300 00',
);
const MESSAGES = { ROUTE, ROUTE6, NEIGHBOR, LINK, RULE };

function bytes(...hex: string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.join('').replaceAll(' ', ''), 'hex'));
}

function read(message: Uint8Array, end = message.length) {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const route = new RouteMessage();
  const neighbor = new NeighborMessage();
  const link = new LinkMessage();
  const rule = new RouteMessage();
  return {
    route: readRoute(view, 0, end, route) ? route : undefined,
    neighbor: readNeighbor(view, 0, end, neighbor) ? neighbor : undefined,
    link: readLink(view, 0, end, link) ? link : undefined,
    rule: readPrefix(view, 0, end, rule) ? rule : undefined,
  };
}

test('a route is read', () => {
  const { dst, gateway, ...route } = read(ROUTE).route!;
  assert.deepEqual([...dst], [0, 0, 0xffff, 0xc6336400 | 0]);
  assert.deepEqual([...gateway], [0, 0, 0xffff, 0x0a010002]);
  assert.deepEqual(route, {
    isV4: true,
    type: 1,
    prefixLen: 96 + 24,
    hasGateway: true,
    interfaceIndex: 3,
    interfaces: [3],
    isEncapsulated: false,
    isBySource: false,
    expiresIn: 0,
    mtu: 1300,
  });
  const route6 = read(ROUTE6).route!;
  assert.deepEqual([...route6.dst], [0x20010db8, 0, 0, 0]);
  assert.deepEqual([...route6.gateway], [0x20010db8, 0, 0, 1]);
  assert.deepEqual([route6.isV4, route6.prefixLen, route6.expiresIn, route6.mtu], [false, 32, 180_000, 0]);
});

test('a neighbor, an interface and a rule are read', () => {
  const { address, ...neighbor } = read(NEIGHBOR).neighbor!;
  const mac = { hasMac: true, macHigh: 0x02aabbcc, macLow: 0xddee };
  assert.deepEqual([...address], [0xfd000000 | 0, 0, 0, 2]);
  assert.deepEqual(neighbor, { interfaceIndex: 3, state: 4, ...mac });
  assert.deepEqual(
    { ...read(LINK).link! },
    {
      index: 3,
      isEthernet: true,
      asksNeighbors: true,
      isUp: true,
      isRunning: true,
      mtu: 1500,
      mtu6: 1400,
      master: 0,
      name: 'e3',
      isLoopback: false,
      operState: 'unknown',
      isOfVrf: false,
      ...mac,
    },
  );
  const { dst, prefixLen, isV4 } = read(RULE).rule!;
  assert.deepEqual([...dst], [0, 0, 0xffff, 0xc6336400 | 0]);
  assert.deepEqual([prefixLen, isV4], [96 + 24, true]);
});

test('a message that was cut is no message, or one with less in it, and never a fault', () => {
  for (const message of Object.values(MESSAGES)) {
    for (let end = 0; end < message.length; end++) read(message.slice(0, end));
  }
  assert.equal(read(ROUTE, 11).route, undefined);
  assert.equal(read(ROUTE, 18).route, undefined, 'without its destination');
  assert.equal(read(NEIGHBOR, 12).neighbor, undefined, 'without an address');
  assert.equal(read(RULE, 33).rule, undefined, 'without its destination');
});

test('no bytes make a fault or an endless loop', () => {
  const damage = fc.record({
    of: fc.constantFrom(...Object.values(MESSAGES)),
    at: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }),
  });
  fc.assert(
    fc.property(damage, ({ of, at }) => {
      const damaged = of.slice();
      for (const [index, byte] of at) damaged[index % damaged.length] = byte;
      read(damaged);
    }),
    { numRuns: 20_000 },
  );
});
