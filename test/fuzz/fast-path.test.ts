// The corpus and a short search of `npm run fuzz -- --fast-path`, always the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFastPath, unseen } from './fast-path.ts';
import { corpus } from './input.ts';
import { describeFailure } from './report.ts';
import { Search } from './search.ts';

const SEED = 13;
const INPUTS = 24;
/** Forwarded, of each kind, family and direction. */
const FORWARDED_MIN = 100;

test(`what leaves by the fast path is what the datapath would send: corpus, and ${INPUTS} inputs of seed ${SEED}`, (t) => {
  const search = new Search(SEED, openFastPath(t));
  for (const [name, input] of corpus()) {
    const failure = search.judge(input);
    assert.ok(!failure, failure && `${name}: ${describeFailure(failure)}`);
  }
  for (const end = search.inputs + INPUTS; search.inputs < end; )
    for (const failure of search.run(4)) assert.fail(describeFailure(failure));
  assert.deepEqual(unseen(search.verdicts), []);
  for (const [what, count] of search.verdicts)
    if (/bound$/.test(what)) assert.ok(count > FORWARDED_MIN, `${what}: ${count} packets forwarded`);
});
