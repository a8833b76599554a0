// Looking ahead changes nothing: a datapath that saw packets before they came, or saw others, judges and
// sends as one that did not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Frame, HEADROOM, LOOK_AHEAD_MAX } from '../../src/wire/frame.ts';
import { PAIRS } from './pair.ts';
import { PORT, Rig } from './rig.ts';

interface Arrival {
  packet: Uint8Array;
  port: number;
}

const CLIENTS = 50;
const PACKETS = 4000;

/** A number below `below`, the same ones in each run. */
function draws(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

function see({ datapath }: Rig, packets: readonly Uint8Array[]): void {
  datapath.lookAhead.begin();
  for (const packet of packets) {
    const bytes = new Uint8Array(HEADROOM + Math.max(packet.length, 64));
    bytes.set(packet, HEADROOM);
    datapath.lookAhead.see(new Frame(bytes), HEADROOM);
  }
  datapath.lookAhead.fetch();
}

for (const { name, client, service, fromClient, fromRealServer } of PAIRS) {
  test(`${name}: what was seen ahead, in part, in another order or not at all changes no verdict and no packet`, () => {
    const draw = draws(7);
    const arrivals = Array.from({ length: PACKETS }, (): Arrival => {
      const payload = new Uint8Array(1 + draw(4)).fill(0x61); // carriers are numbered over all datapaths
      switch (draw(8)) {
        case 0: // of no session
          return { packet: fromRealServer({ dport: 30_000 + draw(10), payload }), port: PORT.lan };
        case 1: // an lport that may be a session's
        case 2:
          return { packet: fromRealServer({ dport: 20_005 + draw(CLIENTS), payload }), port: PORT.lan };
        case 3: // not for us
          return { packet: fromClient({ dport: 7000, payload }), port: PORT.wan };
        default: {
          // Several of one port, and of one address.
          const src = `${client === 4 ? '10.1.0.' : 'fd00:1::'}${2 + draw(5)}`;
          const sport = 40_000 + draw(CLIENTS / 5);
          return { packet: fromClient({ src, sport, payload }), port: PORT.wan };
        }
      }
    });
    const [plain, ahead] = [new Rig({ service }), new Rig({ service })];
    for (let first = 0; first < PACKETS; first += LOOK_AHEAD_MAX) {
      const chunk = arrivals.slice(first, first + LOOK_AHEAD_MAX);
      const others = arrivals.slice(draw(PACKETS), PACKETS).slice(0, draw(LOOK_AHEAD_MAX));
      const seen = [chunk, chunk.filter(() => draw(4) > 0), [...chunk].reverse(), others, []][draw(5)];
      see(
        ahead,
        seen.map(({ packet }) => packet),
      );
      for (const { packet, port } of chunk)
        assert.deepEqual(ahead.receive(packet, port), plain.receive(packet, port));
    }
    assert.deepEqual(ahead.memory.counters, plain.memory.counters);
    assert.deepEqual(ahead.memory.records, plain.memory.records);
    assert.ok(plain.datapath.sessionCount > 10);
  });
}
