// How the control plane finds, keeps and leaves the fast path: pins, locks, and what it says of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namespace, sh, startProgram } from '../io/namespaces.ts';

interface Said {
  what: string;
  value: unknown;
  lines: string[];
}

test('it is pinned where there is a bpffs, kept for a successor, and gone when it ends for good', async (t) => {
  const ns = namespace(t, 'fast');
  sh(`ip -n ${ns} link add wan0 type veth peer name peer0; ip -n ${ns} link set wan0 up`);
  const program = startProgram(t, ns, 'control/fast-path-program.ts', {});
  let text = '';
  program.child.stdout.on('data', (more) => {
    text += more;
  });
  await new Promise((resolve) => program.child.once('close', resolve));
  const said = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Said);
  const of = (what: string) => said.find((one) => one.what === what) ?? assert.fail(`${what}: ${text}`);
  assert.deepEqual(of('without a bpffs').value, { kind: 'tc' });
  assert.equal(of('attached').value, 'no card stands behind wan0');
  assert.match(
    of('attached').lines.join('\n'),
    /^fast path: (?:tcx|clsact) at wan0 .*\nthe fast path ends with the proxy, .*no bpffs is mounted/,
  );
  assert.deepEqual(of('leftovers').value, { found: false });
  assert.match(of('leftovers').lines.join(), /layout-0: of another version: not taken over$/);
  const maps = [
    'about',
    'control',
    'hashing',
    'hops',
    'hot',
    'hot6',
    'hot_buckets',
    'offered',
    'passed',
    'ports',
  ];
  assert.deepEqual(
    (of('pinned').value as string[]).filter((path) => !path.includes('tcx-')),
    ['NAME', 'NAME/layout-N', ...maps.map((map) => `NAME/layout-2/${map}`.replace(/\d+$/, 'N'))],
  );
  assert.deepEqual(of('while it lives').value, {
    kind: 'off',
    why: 'another uoa-proxy with this config file lives',
  });
  assert.equal(of('kept').value, (of('pinned').value as string[]).length);
  assert.deepEqual(of('next').value, { isAtWork: true, key: [1, 2, 3] });
  assert.equal(of('without IPv6').value, 200, 'of the predecessor');
  assert.equal(of('the first of IPv6').value, 1);
  assert.match(of('the first of IPv6').lines.join(), /^fast path: IPv6 sessions go by the datapath until/);
  assert.deepEqual(of('with IPv6 again').value, [false, 0]);
  assert.match(of('with IPv6 again').lines.join(), /hot6 has entries 1 instead of 200: not taken over/);
  assert.equal(of('nothing to say').value, 0);
  assert.deepEqual(of('larger').value, { isAtWork: false, sessions: 200 });
  assert.match(of('larger').lines.join(), /hot has entries 200 instead of 400: not taken over/);
  assert.deepEqual(of('while one that was turned off lives').value, { kind: 'off', pinned: 1 });
  assert.deepEqual(of('off').value, { isAtWork: false, sessions: 400 });
  assert.deepEqual(of('nothing is left').value, []);
  assert.match(of("another user's folder").lines.join(), /\/uoa-proxy belongs to user 12345, expected root/);
});
