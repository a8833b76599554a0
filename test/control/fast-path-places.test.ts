// On which interfaces there may be a fast path.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseKind, explainFailure, requireEthernet } from '../../src/control/fast-path-places.ts';
import { SIDE } from '../../src/io/packet-io.ts';
import { SysError } from '../../src/sys/libc.ts';

const port = (name: string, side: number, mac = '02:00:00:00:00:01') => ({
  name,
  side,
  mac,
  mtu: 1500,
  loopback: false,
});

test('both directions need an interface with Ethernet', () => {
  requireEthernet([port('eth0', SIDE.both)]);
  requireEthernet([port('eth0', SIDE.wan), port('lo', SIDE.lan, '00:00:00:00:00:00')]);
  requireEthernet([port('eth0', SIDE.wan), port('wg0', SIDE.lan, ''), port('eth1', SIDE.lan)]);
  assert.throws(
    () => requireEthernet([port('eth0', SIDE.wan), port('wg0', SIDE.lan, ''), port('wg1', SIDE.lan, '')]),
    /^AttachError: no Ethernet at wg0, wg1$/,
  );
  assert.throws(() => requireEthernet([port('ppp0', SIDE.both, '')]), /^AttachError: no Ethernet at ppp0$/);
});

test('beside a proxy that forwards auto tries no XDP, keeps what that one has, and says why', () => {
  const cards: never[] = [];
  const beside = (kind: 'xdp' | 'tc' | 'off', wanted: 'auto' | 'xdp' | 'tc' | 'off', why: string) =>
    chooseKind('auto', cards, undefined, { kind, wanted, why, pins: undefined, layout: 0 });
  const untried = 'XDP is tried at a start, not in a takeover';
  assert.deepEqual(beside('off', 'off', ''), { kind: 'tc', why: untried });
  assert.deepEqual(beside('tc', 'auto', 'no XDP: LRO is on'), { kind: 'tc', why: 'no XDP: LRO is on' });
  assert.deepEqual(beside('tc', 'tc', 'io.fastPath says so'), { kind: 'tc', why: untried });
  const native = { kind: 'xdp', why: 'each driver has native XDP' };
  assert.deepEqual(beside('xdp', 'xdp', 'io.fastPath says so'), native);
  assert.deepEqual(beside('xdp', 'auto', native.why), native);
});

test('what an operator can do about a refusal of the kernel is said with it', () => {
  const said = (errno: number) => explainFailure(new SysError('bpf_map_create of hot', errno));
  assert.equal(said(1), 'bpf_map_create of hot failed: EPERM (it takes CAP_BPF and CAP_NET_ADMIN)');
  assert.equal(
    said(12),
    'bpf_map_create of hot failed: ENOMEM (no memory for its maps, whose size follows sessions.max)',
  );
  assert.equal(said(22), 'bpf_map_create of hot failed: EINVAL');
});
