// What is said of a host that is different from what was planned for, and what is no difference.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { HostFacts } from '../../src/host/host.ts';
import { hostChanges } from '../../src/host/host-changes.ts';

/** MTUs, or why they cannot be reached. */
function reach(servers: Record<string, number | string>): HostFacts['reach'][number] {
  const all = { '10.2.0.14': 'no route to it', '10.2.0.15': 'no route to it', ...servers };
  const ofOne = (said: number | string) =>
    typeof said === 'number'
      ? { mtu: said, unreachable: '', isOnHost: false }
      : { mtu: 0, unreachable: said, isOnHost: false };
  return Object.fromEntries(Object.entries(all).map(([rip, said]) => [rip, ofOne(said)]));
}

const BEFORE: HostFacts = {
  ports: [
    { name: 'wan0', side: 1, mtu: 1500, mac: '02:00:00:00:00:01', loopback: false },
    { name: 'tun0', side: 2, mtu: 1400, mac: '', loopback: false },
  ],
  reach: [reach({ '10.2.0.11': 1400, '10.2.0.12': 1400, '10.2.0.13': 1300 }), reach({ '10.2.0.11': 1400 })],
  own: ['10.1.0.1', 'fd00:1::1'],
  broadcasts: ['10.1.0.0', '10.1.0.255'],
  missing: [],
  troubles: [],
  warnings: [],
};
const SERVED = new Set(['10.1.0.100']);
const [WAN, TUN] = BEFORE.ports as [HostFacts['ports'][number], HostFacts['ports'][number]];

const ROWS: { name: string; after: Partial<HostFacts>; lines: string[] }[] = [
  { name: 'nothing', after: {}, lines: [] },
  {
    name: 'Ethernet address and MTU of an interface',
    after: { ports: [{ ...WAN, mac: '02:00:00:00:00:02', mtu: 9000 }, TUN] },
    lines: ['wan0: Ethernet address 02:00:00:00:00:01 -> 02:00:00:00:00:02', 'wan0: MTU 1500 -> 9000'],
  },
  {
    name: 'an interface that gets an Ethernet address',
    after: { ports: [WAN, { ...TUN, mac: '02:00:00:00:00:03' }] },
    lines: ['tun0: Ethernet address none -> 02:00:00:00:00:03'],
  },
  {
    name: 'the MTU towards several real servers, in one line',
    after: {
      reach: [
        reach({ '10.2.0.11': 1280, '10.2.0.12': 1280, '10.2.0.13': 1300 }),
        reach({ '10.2.0.11': 1280 }),
      ],
    },
    lines: ['MTU towards 10.2.0.11, 10.2.0.12: 1400 -> 1280'],
  },
  {
    name: 'real servers that cannot be reached any more, or again, or for another reason',
    after: {
      reach: [
        reach({
          '10.2.0.11': 1400,
          '10.2.0.12': 1400,
          '10.2.0.13': 'no route to it',
          '10.2.0.14': 1500,
          '10.2.0.15': 'the route to it leads over eth2',
        }),
        reach({ '10.2.0.11': 'no route to it' }),
      ],
    },
    lines: [
      'real server 10.2.0.14 can be reached',
      'real server 10.2.0.15: the route to it leads over eth2',
      'real server 10.2.0.13: no route to it',
      'real server 10.2.0.11: no route to it',
    ],
  },
  {
    name: 'a VIP that is gone',
    after: { missing: [{ ip: '10.1.0.100', device: 'wan0', command: '' }] },
    lines: ['address 10.1.0.100 of wan0 was gone'],
  },
  { name: 'a VIP that is there now', after: { own: [...BEFORE.own, '10.1.0.100'] }, lines: [] },
  { name: 'the same addresses in another order', after: { own: [...BEFORE.own].reverse() }, lines: [] },
  {
    name: "the host's own addresses, whose broadcasts are not said again",
    after: { own: ['10.9.0.1', 'fd00:1::1'], broadcasts: ['10.9.0.0', '10.9.0.255'] },
    lines: ['address 10.9.0.1 added', 'address 10.1.0.1 removed'],
  },
  {
    name: 'the length of a prefix',
    after: { broadcasts: ['10.1.0.0', '10.1.3.255'] },
    lines: ['broadcast address 10.1.3.255 added', 'broadcast address 10.1.0.255 removed'],
  },
];

for (const { name, after, lines } of ROWS) {
  test(`a change of the host: ${name}`, () => {
    const now = { ...BEFORE, ...after };
    assert.deepEqual(hostChanges(BEFORE, now, SERVED), lines);
  });
}
