// What two processes do with programs, pins and lock of the fast path when one takes over from the other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namespace, sh, startProgram } from '../io/namespaces.ts';

for (const kind of ['xdp', 'tc'] as const)
  for (const isPinned of [true, false])
    test(`one takes over from another, which goes on where that fails: ${kind}, ${isPinned ? 'pinned' : 'no bpffs'}`, async (t) => {
      const ns = namespace(t, 'fast');
      for (const device of ['wan0', 'lan0'])
        sh(
          `ip -n ${ns} link add ${device} type veth peer name p${device}; ip -n ${ns} link set ${device} up`,
        );
      const program = startProgram(t, ns, 'control/fast-path-takeover-program.ts', { kind, isPinned });
      let text = '';
      program.child.stdout.on('data', (more) => {
        text += more;
      });
      await new Promise((resolve) => program.child.once('close', resolve));
      const lines = text.trim().split('\n');
      const said = new Map(
        lines.map((line) => {
          const { what, value } = JSON.parse(line) as { what: string; value: unknown };
          return [what, value];
        }),
      );
      assert.match(String(said.get('refused')), /^no fast path: /);
      said.delete('refused');
      // Folders of proxy and layout, ten maps, a link; at tc before Linux 6.6 none.
      const pins = said.get('pinned');
      assert.ok((isPinned ? [12, 13] : [0]).includes(pins as number), `${pins}`);
      const has = (keeps: string) => ({ keeps, hasPins: isPinned });
      assert.deepEqual(Object.fromEntries(said), {
        pinned: pins,
        keeps: has(isPinned ? 'all' : 'nothing'),
        'is as it was when it is ready': true,
        'attached when it has stepped aside': isPinned || kind === 'tc',
        'attached when it goes on': [kind, true, true],
        'pinned when it goes on': true,
        'keeps with another number of workers': has(isPinned ? 'programs' : 'nothing'),
        'its key': isPinned ? [1, 2, 3] : 'none',
        left: [true, true],
        owned: [kind, true, pins],
        'has the lock': isPinned,
        ended: [true, []],
      });
    });
