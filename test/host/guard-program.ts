// A program for tests: holds a guard in its namespace, of `many` LIPs more where it is told so. Prints {
// ready: table } or { refused } and { hint }, { lost } for each message about a loss, and removes the guard
// when its input ends.
import { type GuardSpec, installGuard } from '../../src/host/guard.ts';

const { many = 0, ...spec } = JSON.parse(process.argv[2]) as GuardSpec & { many?: number };
const more = Array.from({ length: many }, (_, index) => ({
  ip: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
  first: 1024,
  last: 65_535,
}));
const say = (line: object) => console.log(JSON.stringify(line));
const guard = await installGuard({ ...spec, lips: [...spec.lips, ...more] }, (lost) => say({ lost })).catch(
  (error: Error & { hint?: string }) => {
    say({ refused: error.message });
    say({ hint: error.hint ?? '' });
  },
);
if (guard) say({ ready: guard.table });
process.stdin.resume().once('end', () => void guard?.remove());
