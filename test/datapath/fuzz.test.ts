// Mutated packets: whatever comes in, what goes out is well-formed, tells the real server no address but the client's,
// and no client any UOA; nothing throws, nothing is written outside the packet. Deterministic: the seed is in the name.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { icmp4, withId } from '../packets/builder.ts';
import { hex, unhex } from '../packets/bytes.ts';
import { type Dissected, dissect, options } from '../packets/dissect.ts';
import { addressOption } from '../packets/uoa-builder.ts';
import { PORT, Rig } from './rig.ts';
import {
  CIP,
  EMPTY,
  forgedOpp,
  fromClient,
  fromRealServer,
  ipoAck,
  LIP,
  oppAck,
  RIP,
  toClient,
  toRealServer,
  VIP,
  withIpo,
  withOpp,
} from './roles.ts';

const PACKETS_PER_SEED = 4_000;
const SEEDS: [number, 'ipo' | 'opp'][] = [
  [1, 'ipo'],
  [2, 'opp'],
  [3, 'ipo'],
  [4, 'opp'],
];

/** mulberry32: small, good enough, the same everywhere. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const REQUESTS = [
  fromClient(),
  fromClient({ payload: EMPTY }),
  fromClient({ checksum: 'zero' }),
  fromClient({ checksum: 'zero', options: addressOption('8.8.8.8', 53) }),
  fromClient({ checksum: 'zero', options: unhex('01 1f08003508080808 1e0400 00 940400 00') }),
  forgedOpp({ checksum: 'zero', option: addressOption('8.8.8.8', 53) }),
  forgedOpp({ checksum: 'partial', options: addressOption('8.8.8.8', 53) }),
];
const REPLIES = [
  fromRealServer({ checksum: 'zero' }),
  fromRealServer({ checksum: 'zero', options: addressOption('8.8.8.8', 53) }),
  ipoAck(),
  oppAck(),
  oppAck({ checksum: 'zero', payload: Uint8Array.of(1, 2, 3) }),
];

/** What a real server or a client may send errors about. */
const TO_REAL_SERVER = [toRealServer(), withIpo(), withOpp(), toRealServer({ checksum: 'zero' })];
const ERRORS: [number, number, number][] = [
  [3, 3, 0],
  [3, 4, 600],
  [3, 2, 0],
  [11, 0, 0],
  [12, 0, 0x14000000],
];

/** An ICMP error with right checksums about a mutated packet of ours, or now and then mutated itself. */
function randomError(inside: boolean, random: (below: number) => number): Uint8Array {
  const about = inside ? (TO_REAL_SERVER[random(TO_REAL_SERVER.length)] ?? EMPTY) : toClient();
  const [type, code, rest] = ERRORS[random(ERRORS.length)] ?? [3, 3, 0];
  const [src, dst] = inside ? [RIP, LIP] : [CIP, VIP];
  const body = random(3) === 0 ? about : mutate(about, random);
  const error = icmp4({ src, dst, type, code, rest, body });
  return random(4) === 0 ? mutate(error, random) : error;
}

/** Nobody but a real server is shown a UOA of ours, not even inside an error. */
function checkEmbedded(sent: Uint8Array, cause: string): void {
  const embedded = sent.slice(28);
  assert.equal(embedded[9], 17, `protocol inside ${hex(sent)} after ${cause}`);
  const types = options(embedded.slice(20, ((embedded[0] ?? 0) & 15) * 4)).map((option) => option[0] ?? 0);
  assert.ok(!types.some((type) => type >= 29 && type <= 31), `a UOA inside ${hex(sent)} after ${cause}`);
}

function mutate(packet: Uint8Array, random: (below: number) => number): Uint8Array {
  const mutated = random(8) === 0 ? packet.slice(0, random(packet.length + 1)) : packet.slice();
  for (let count = random(4); count > 0 && mutated.length > 0; count--) {
    // mostly the headers, where the lengths are
    mutated[random(random(4) === 0 ? mutated.length : Math.min(mutated.length, 64))] = random(256);
  }
  const checksumStands = mutated.length >= 20 && ((mutated[0] ?? 0) & 15) * 4 <= mutated.length;
  return checksumStands && random(8) > 0 ? withId(mutated, 0x4242) : mutated;
}

function uoaTypes(seen: Dissected): number[] {
  return options(unhex(seen.options))
    .map((option) => option[0] ?? 0)
    .filter((type) => type >= 29 && type <= 31);
}

function checkSent(sent: Uint8Array, cause: string): void {
  const seen = dissect(sent);
  assert.ok(seen.ipChecksumOk, `IP checksum of ${hex(sent)} after ${cause}`);
  if (seen.proto === 1) {
    assert.ok(
      seen.icmp?.checksumOk && (seen.src === VIP || seen.src === LIP),
      `ICMP ${hex(sent)} after ${cause}`,
    );
    return;
  }
  assert.ok(seen.udpChecksumOk, `UDP checksum of ${hex(sent)} after ${cause}`);
  if (seen.src === LIP) {
    assert.equal(seen.dst, RIP);
    const told = [
      ...uoaTypes(seen).map(() => seen.options.slice(0, 16)),
      ...(seen.opp ? [seen.opp.option] : []),
    ];
    assert.ok(told.length <= 1, `more than one UOA in ${hex(sent)} after ${cause}`);
    assert.ok(
      !told.includes(hex(addressOption('8.8.8.8', 53))),
      `a forged UOA in ${hex(sent)} after ${cause}`,
    );
    for (const option of told) assert.match(option, /^1f08[0-9a-f]{12}$/, `after ${cause}`);
  } else {
    assert.equal(seen.src, VIP, cause);
    assert.equal(seen.proto, 17, cause);
    assert.deepEqual(uoaTypes(seen), [], `a UOA reaches a client in ${hex(sent)} after ${cause}`);
  }
}

describe('mutated packets', () => {
  for (const [seed, dialect] of SEEDS) {
    test(`${PACKETS_PER_SEED} of seed ${seed} do no harm in dialect ${dialect}`, () => {
      const rig = new Rig({ maxSessions: 50, service: { dialect } });
      const random = generator(seed);
      const verdicts = new Set<string>();
      let translated = 0;
      for (let count = 0; count < PACKETS_PER_SEED; count++) {
        if (random(50) === 0) rig.receive(fromClient(), PORT.wan);
        rig.at += random(20);
        const inside = random(2) === 0;
        const base =
          (inside ? REPLIES : REQUESTS)[random(inside ? REPLIES.length : REQUESTS.length)] ?? EMPTY;
        const isError = random(5) === 0;
        const packet = isError ? randomError(inside, random) : mutate(base, random);
        const outcome = rig.receive(packet, inside ? PORT.lan : PORT.wan);
        verdicts.add(outcome.verdict);
        for (const sent of outcome.sent) {
          checkSent(sent, hex(packet));
          if (isError) checkEmbedded(sent, hex(packet));
        }
        translated += outcome.changed.icmpTranslated ?? 0;
      }
      assert.ok(verdicts.size >= 12, `the mutations reach few verdicts: ${[...verdicts]}`);
      assert.ok(translated > 20, `only ${translated} ICMP errors were translated`);
      assert.equal(rig.receive(fromClient({ sport: 40_000 }), PORT.wan).verdict, 'forward');
    });
  }
});
