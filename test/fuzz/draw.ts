// Draws whole inputs: a world and a list of what happens in it. Also changes inputs that reached something
// rare.
import fc from 'fast-check';
import { type Input, REACTIONS, type Step, step, world } from './input.ts';
import { beginnings, changed, changes, fragments, golden, mutated, pieces } from './mutation.ts';
import { datagram, errorAbout, icmpError, type Side, seldom } from './packets.ts';

const side = fc.constantFrom<Side>('wan', 'wan', 'lan');

const wait = fc.oneof(
  { weight: 8, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.nat(50) },
  { weight: 2, arbitrary: fc.constantFrom(400, 1001, 1500, 3000, 3001, 5000, 8000, 60_000) },
);
const refuse = fc.oneof(
  { weight: 12, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 7 }) },
);

const single = (of: Side): fc.Arbitrary<Uint8Array[]> =>
  fc
    .oneof(
      { weight: 8, arbitrary: datagram(of) },
      { weight: 2, arbitrary: mutated(datagram(of)) },
      { weight: 3, arbitrary: golden(of) },
      { weight: 2, arbitrary: mutated(golden(of)) },
      { weight: 3, arbitrary: icmpError(of) },
      { weight: 1, arbitrary: mutated(icmpError(of)) },
      { weight: 1, arbitrary: errorAbout(mutated(golden('lan')), of) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
    )
    .map((packet) => [packet]);

const arrivals: fc.Arbitrary<Step[]> = side.chain((of) =>
  fc
    .tuple(
      fc.oneof({ weight: 5, arbitrary: single(of) }, { weight: 1, arbitrary: fragments(of) }),
      wait,
      refuse,
    )
    .map(([packets, ms, bits]) =>
      packets.map((packet, index) =>
        step(of, packet, index === 0 ? ms : 0, index === packets.length - 1 ? bits : 0),
      ),
    ),
);

const reaction: fc.Arbitrary<Step[]> = fc
  .tuple(fc.constantFrom('reply', ...REACTIONS), wait, refuse)
  .map(([what, ms, bits]) => [step(what, undefined, ms, bits)]);

/** More of the same than there is room for: errors, pieces of one datagram, beginnings of many. */
const flood: fc.Arbitrary<Step[]> = side.chain((of) =>
  fc
    .oneof(
      datagram(of).map((packet) => new Array<Uint8Array>(60).fill(packet)),
      icmpError(of).map((packet) => new Array<Uint8Array>(60).fill(packet)),
      pieces(of),
      beginnings(of),
    )
    .map((packets) => packets.map((packet) => step(of, packet))),
);

const group = fc.oneof(
  { weight: 240, arbitrary: arrivals },
  { weight: 100, arbitrary: reaction },
  { weight: 20, arbitrary: wait.map((ms) => [step('tick', undefined, ms)]) },
  { weight: 1, arbitrary: flood },
);

/** Pairs of places that change their places. */
const swaps = fc.oneof(fc.constant([]), fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 5 }));

const steps = (maxLength: number): fc.Arbitrary<Step[]> =>
  fc.tuple(fc.array(group, { minLength: 1, maxLength, size: 'max' }), swaps).map(([groups, exchanged]) => {
    const list = groups.flat();
    for (const [one, other] of exchanged) {
      const a = one % Math.max(1, list.length);
      const b = other % Math.max(1, list.length);
      const [first, second] = [list[a], list[b]];
      if (first && second) [list[a], list[b]] = [second, first];
    }
    return list;
  });

/** Inputs from nothing. */
export const fresh: fc.Arbitrary<Input> = fc.record({ world, steps: steps(200) });

const edit = fc.record({
  kind: fc.constantFrom(
    'change',
    'change',
    'change',
    'again',
    'remove',
    'wait',
    'refuse',
    'splice',
    'insert',
    'side',
  ),
  at: fc.nat(),
  how: changes,
  other: fc.nat(),
  some: steps(3),
  ms: wait,
});

type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

const edits = fc.tuple(fc.nat(), fc.array(edit, { minLength: 1, maxLength: 6 }), seldom(3, world));

/** Inputs out of a pool, changed. */
export const changedFrom = (pool: readonly Input[]): fc.Arbitrary<Input> =>
  edits.map(([index, list, elsewhere]) => {
    const base = pool[index % pool.length];
    const result = list.reduce((sequence, one) => edited(sequence, one, pool), [...base.steps]);
    return { world: elsewhere ?? base.world, steps: result.slice(0, 300) };
  });

function edited(
  sequence: readonly Step[],
  { kind, at, how, other, some, ms }: Edit,
  pool: readonly Input[],
): Step[] {
  if (sequence.length === 0) return some;
  const index = at % sequence.length;
  const one = sequence[index];
  switch (kind) {
    case 'change':
      return sequence.with(index, {
        ...one,
        packet: one.packet.length === 0 ? one.packet : changed(one.packet, how),
      });
    case 'again':
      return sequence.toSpliced(other % sequence.length, 0, one);
    case 'remove':
      return sequence.toSpliced(index, 1);
    case 'wait':
      return sequence.with(index, { ...one, wait: ms });
    case 'refuse':
      return sequence.with(index, { ...one, refuse: other & 7 });
    case 'side':
      return sequence.with(index, {
        ...one,
        what: one.what === 'wan' ? 'lan' : one.what === 'lan' ? 'wan' : one.what,
      });
    case 'splice':
      return [...sequence.slice(0, index), ...pool[other % pool.length].steps];
    default:
      return sequence.toSpliced(index, 0, ...some);
  }
}
