// Packets of 65,535 bytes: the longest that there are for the proxy, although loopback's MTU is one more. A
// UOA that would make one longer goes ahead in a carrier; its length field would begin anew.
import { CARRIED, COMBINATIONS, FIRST } from './combination.ts';
import { realServer } from './rig.ts';
import { type Row, rows } from './rows.ts';
import { answered, filling, WALKS, type Walk } from './walks.ts';

const LONGEST = 65_535;
const LOOPBACK_MTU = 65_536;
/** An IPv6 packet may be longer by its fixed header; both ports take whatever there is. */
const PORTS = [
  { side: 1, mtu: 65_575, loopback: false },
  { side: 2, mtu: 65_575, loopback: false },
];
const TOO_BIG = { 4: { type: 3, code: 4 }, 6: { type: 2, code: 0 } };

const becomes = ({ over, before }: Walk, fields: object) =>
  before.length === 0 ? over.atRealServer(fields) : over.atClient(fields);

rows(
  'a packet of 65,535 bytes leaves, and one that would be longer is answered with what fits',
  WALKS.map((walk): Row => {
    const fits = { df: true, payload: filling(walk, LONGEST) };
    const tooLong = { df: true, payload: filling(walk, LONGEST + 1) };
    const isSayable = walk.from === 6 || walk.to === 6;
    const rest = LONGEST - (walk.to - walk.from) * 10;
    return {
      name: walk.name,
      plan: { ...walk.plan(LOOPBACK_MTU), ports: PORTS },
      steps: [
        ...walk.before,
        walk.step(walk.packet(fits), { verdict: 'forward', sent: [becomes(walk, fits)] }),
        ...(isSayable
          ? [
              walk.step(walk.packet(tooLong), {
                verdict: 'drop:too_big',
                sent: [answered(walk.packet(tooLong), { ...TOO_BIG[walk.from], rest })],
              }),
            ]
          : []),
      ],
    };
  }),
);

rows(
  'a packet that its UOA would make longer than 65,535 bytes gets a carrier',
  COMBINATIONS.map((it): Row => {
    const { pair } = it;
    const plan = it.plan({ realServers: [realServer(pair.rip, { mtu: LOOPBACK_MTU })] });
    const filled = (length: number) => ({ df: true, payload: it.filling(length) });
    const room = filled(LONGEST - it.size);
    const noRoom = filled(LONGEST - it.size + 1);
    const full = filled(LONGEST);
    return {
      name: it.name,
      plan: { ...plan, ports: PORTS },
      steps: [
        it.trial({
          wan: pair.fromClient(room),
          sent: it.brought(room),
          changed: { ...FIRST, ...it.counted },
        }),
        it.trial({ wan: pair.fromClient(noRoom), sent: it.carried(noRoom), changed: CARRIED }),
        it.trial({ wan: pair.fromClient(full), sent: it.carried(full), changed: CARRIED }),
      ],
    };
  }),
);
