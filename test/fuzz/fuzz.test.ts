// The corpus and a short search of `npm run fuzz`, always the same.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { corpus } from './input.ts';
import { describeFailure } from './report.ts';
import { Search } from './search.ts';

const SEED = 3;
const INPUTS = 140;
const VERDICTS = 26;

describe('sequences of packets, valid, forged and broken', () => {
  test('every input of the corpus holds every property', () => {
    const search = new Search(SEED);
    for (const [name, input] of corpus()) {
      const failure = search.judge(input);
      assert.ok(!failure, failure && `${name}: ${describeFailure(failure)}`);
    }
    assert.ok(
      search.verdicts.size >= VERDICTS,
      `the corpus reaches few verdicts: ${[...search.verdicts.keys()]}`,
    );
  });

  test(`${INPUTS} inputs of seed ${SEED} hold every property`, () => {
    const search = new Search(SEED);
    while (search.inputs < INPUTS) for (const failure of search.run(4)) assert.fail(describeFailure(failure));
    assert.ok(search.verdicts.size >= VERDICTS, `few verdicts are reached: ${[...search.verdicts.keys()]}`);
  });
});
