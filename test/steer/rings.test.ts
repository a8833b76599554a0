// Opening and changing the rings of several workers where the kernel refuses the program that chooses a packet's ring.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startProgram, threeInARow } from '../io/namespaces.ts';

for (const [name, instructions, expected] of [
  ['is taken without a word', 1, []],
  [
    'that is refused is said, and the workers, which hand over what is not theirs, go on without it',
    5000, // more than the kernel takes
    [
      /refused.*one worker takes all in, and hands over/,
      /refused.*the one before stays, and workers hand over/,
    ],
  ],
] as const) {
  test(`a steering program ${name}`, async (t) => {
    const { lb } = threeInARow(t);
    const program = startProgram(t, lb, 'steer/rings-program.ts', { device: 'wan0', instructions });
    const complaints = await program.next<string[]>('complaints');
    assert.equal(complaints.length, expected.length);
    for (const [index, pattern] of expected.entries()) assert.match(complaints[index]!, pattern);
    await program.stop();
  });
}
