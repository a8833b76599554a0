// Which interface is what, among links as the kernel tells them.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Interfaces, Link } from '../../src/host/interfaces.ts';

const link = (index: number, name: string, master: number, isOfVrf = false): Link =>
  Object.assign(new Link(), { index, name, master, isOfVrf });

test('an interface is of a VRF by way of the bridge or bond that it is a port of', () => {
  const red = link(9, 'red', 0, true);
  const bridge = link(3, 'br0', red.index, true);
  const bond = link(4, 'bond0', bridge.index);
  const others = [link(6, 'br1', 0), link(7, 'eth2', 6), link(8, 'eth3', 42)];
  const links = new Interfaces([link(5, 'eth0', bond.index), bond, bridge, red, ...others]);
  assert.deepEqual(
    links.all.filter((one) => links.isOfVrf(one)).map(({ name }) => name),
    ['eth0', 'bond0', 'br0', 'red'],
  );
});
