// The neighbors that are remembered, however many come and go.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Neighbors } from '../../src/route/neighbors.ts';
import { NeighborMessage } from '../../src/route/rtnetlink.ts';

const DEVICE = 3;
const REACHABLE = 2;

function messageOf(n: number): NeighborMessage {
  const message = new NeighborMessage();
  message.interfaceIndex = DEVICE;
  message.address.set([0, 0, 0xffff, 0x0a000000 + n]);
  return Object.assign(message, { state: REACHABLE, hasMac: true, macHigh: 0x02000000, macLow: n & 0xffff });
}

test('a gateway stays who it is while thousands of other neighbors come and go, and who is known is found', () => {
  let renumbered = 0;
  const neighbors = new Neighbors(() => renumbered++);
  for (let n = 0; n < 1_000; n++) {
    neighbors.set(messageOf(n), 0);
    neighbors.delete(messageOf(n));
  }
  const { address } = messageOf(0xff_ffff);
  const gateway = neighbors.findOrMake(DEVICE, address);
  gateway.isGateway = true;
  for (let n = 1_000; n < 20_000; n++) {
    neighbors.set(messageOf(n), 0);
    if (n % 8 !== 0) neighbors.delete(messageOf(n));
  }
  assert.ok(renumbered > 1);
  assert.equal(neighbors.find(DEVICE, address, 0), gateway);
  assert.equal(neighbors.at(gateway.number), gateway);
  for (let n = 1_000; n < 20_000; n += 8) {
    const found = neighbors.find(DEVICE, messageOf(n).address, 0);
    assert.ok(found?.isResolved);
    assert.equal(found.macLow, n & 0xffff);
    assert.equal(neighbors.at(found.number), found);
  }
});
