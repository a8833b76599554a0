// The corpus and a short search of `npm run fuzz -- --fast-path`, always the same.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFastPath } from './fast-path.ts';
import { corpus } from './input.ts';
import { describeFailure } from './report.ts';
import { Search } from './search.ts';

const SEED = 12;
const INPUTS = 24;
/** What programs say that is not about the interface or a program's life: the others have no rows here. */
const REASONS = [
  'not_hot',
  'not_udp',
  'fragment',
  'truncated',
  'ended',
  'not_ours',
  'ttl',
  'bad_length',
  'bad_checksum',
  'empty',
  'idle',
  'too_long',
];

test(`what leaves by the fast path is what the datapath would send: corpus, and ${INPUTS} inputs of seed ${SEED}`, (t) => {
  const search = new Search(SEED, openFastPath(t));
  for (const [name, input] of corpus()) {
    const failure = search.judge(input);
    assert.ok(!failure, failure && `${name}: ${describeFailure(failure)}`);
  }
  for (const end = search.inputs + INPUTS; search.inputs < end; )
    for (const failure of search.run(4)) assert.fail(describeFailure(failure));
  const did = (what: string) => search.verdicts.get(what) ?? 0;
  for (const kind of ['xdp', 'tc']) {
    for (const family of [4, 6]) {
      for (const way of ['inbound', 'outbound']) {
        const what = `${kind} ${family} ${way}`;
        assert.ok(did(what) > 100, `${what}: ${did(what)} packets forwarded`);
      }
    }
    for (const reason of REASONS) {
      const count = did(`${kind} 4 ${reason}`) + did(`${kind} 6 ${reason}`);
      assert.ok(count > 0, `${kind}: nothing is left as ${reason}`);
    }
  }
});
