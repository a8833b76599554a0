// One proxy per address and port in a network namespace: the guard of the one that came first keeps others
// out.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuardSpec } from '../../src/host/guard.ts';
import { namespace, type Program, sh, startProgram } from '../io/namespaces.ts';

const FIRST: GuardSpec = {
  vips: [
    { ip: '10.1.0.100', port: 6000 },
    { ip: 'fd00:1::100', port: 6000 },
  ],
  lips: [
    { ip: '10.2.0.200', first: 2000, last: 2999 },
    { ip: '10.2.0.201', first: 2000, last: 2999 },
    { ip: '::102:304', first: 7, last: 7 },
  ],
};

function start(t: TestContext, ns: string, spec: GuardSpec): Program {
  return startProgram(t, ns, 'host/guard-program.ts', spec);
}
const guards = (ns: string): number =>
  new Set(sh(`ip netns exec ${ns} nft list tables`).match(/uoa_proxy_\S+/g) ?? []).size;

test('what another proxy has is refused by name, and everything beside it is free', async (t) => {
  const ns = namespace(t, 'n');
  const first = start(t, ns, FIRST);
  const table = await first.next<string>('ready');
  const rows: [spec: GuardSpec, refusal: RegExp | undefined][] = [
    [{ vips: [{ ip: '10.1.0.100', port: 6000 }], lips: [] }, /serves UDP 10\.1\.0\.100:6000 in/],
    [{ vips: [{ ip: 'fd00:1::100', port: 6000 }], lips: [] }, /serves UDP \[fd00:1::100\]:6000 in/],
    [{ vips: [{ ip: '10.1.0.100', port: 6001 }], lips: [] }, undefined],
    [
      { vips: [], lips: [{ ip: '10.2.0.201', first: 2999, last: 4000 }] },
      /has the LIP 10\.2\.0\.201 with lports 2000-2999 in/,
    ],
    [{ vips: [], lips: [{ ip: '10.2.0.201', first: 2500, last: 2500 }] }, /has the LIP 10\.2\.0\.201/],
    [{ vips: [], lips: [{ ip: '10.2.0.201', first: 3000, last: 4000 }] }, undefined],
    [{ vips: [], lips: [{ ip: '10.2.0.202', first: 2000, last: 2999 }] }, undefined],
    // A VIP:vport among another's lports, and an address that nft writes in another way.
    [{ vips: [{ ip: '10.2.0.200', port: 2000 }], lips: [] }, /serves UDP 10\.2\.0\.200:2000 in/],
    [{ vips: [{ ip: '::102:304', port: 7 }], lips: [] }, /serves UDP \[::102:304\]:7 in/],
  ];
  await Promise.all(
    rows.map(async ([spec, refusal]) => {
      const other = start(t, ns, spec);
      if (refusal === undefined) {
        await other.next('ready');
        await other.stop();
        return;
      }
      const said = await other.next<string>('refused');
      assert.match(said, refusal);
      assert.ok(said.includes(`(its guard is the nft table ${table})`), said);
      await other.stop();
    }),
  );
  assert.equal(guards(ns), 1, 'whoever is refused leaves nothing');
  await first.stop();
});

test('of two that come at once one runs, and in another namespace nobody is in the way', async (t) => {
  const [ns, elsewhere] = [namespace(t, 'n'), namespace(t, 'n')];
  const beside = start(t, elsewhere, FIRST);
  const all = [1, 2, 3].map(() => start(t, ns, FIRST));
  const outcomes = await Promise.all(
    all.map((program) =>
      Promise.race([
        program.next<string>('ready').then(() => 'ready'),
        program.next<string>('refused').then(() => 'refused'),
      ]),
    ),
  );
  assert.deepEqual(outcomes.sort(), ['ready', 'refused', 'refused']);
  await beside.next('ready');
});

test('one that is refused in the end was in the way of nobody, however long that took', async (t) => {
  const ns = namespace(t, 'n');
  const first = start(t, ns, { vips: [], lips: [{ ip: '10.2.0.200', first: 1000, last: 1999 }] });
  await first.next('ready');
  const between = start(t, ns, { vips: [], lips: [{ ip: '10.2.0.200', first: 1999, last: 3000 }] });
  const betweenSays = between.next<string>('refused');
  let isRefused = false;
  const decided = betweenSays.then(() => {
    isRefused = true;
  });
  while (guards(ns) < 2 && !isRefused) await sleep(20);
  // Longer than anybody waits for the guard of a proxy that was killed.
  between.child.kill('SIGSTOP');
  const last = start(t, ns, { vips: [], lips: [{ ip: '10.2.0.200', first: 3000, last: 3999 }] });
  const outcome = Promise.race([last.next<string>('ready'), last.next<string>('refused')]);
  await Promise.race([outcome, sleep(7_000)]);
  between.child.kill('SIGCONT');
  await decided;
  assert.match(await betweenSays, /has the LIP 10\.2\.0\.200 with lports 1000-1999 in/);
  assert.match(await outcome, /^uoa_proxy_/);
  await Promise.all([first, between, last].map((program) => program.stop()));
});

test('a proxy that was killed is not in the way of its successor', async (t) => {
  const ns = namespace(t, 'n');
  const first = start(t, ns, FIRST);
  await first.next('ready');
  first.child.kill('SIGKILL');
  const second = start(t, ns, FIRST);
  await second.next('ready');
  await second.stop();
  assert.equal(guards(ns), 0);
});

test('an ordinary user cannot make a claim: neither by a socket nor by a table', async (t) => {
  const ns = namespace(t, 'n');
  const nobody = 'setpriv --reuid=65534 --regid=65534 --clear-groups';
  assert.throws(() => sh(`ip netns exec ${ns} ${nobody} nft add table ip uoa_proxy_1_ab`), /not permitted/);
  // Of the name that claims once had, in the abstract name space of this process's network namespace.
  const server = createServer().listen('\0uoa-proxy 10.1.0.100:6000');
  t.after(() => server.close());
  const program = start(t, ns, FIRST);
  await program.next('ready');
  await program.stop();
});

test('65,535 LIPs are claimed and compared in one go', async (t) => {
  const ns = namespace(t, 'n');
  const lips = Array.from({ length: 65_535 }, (_, index) => ({
    ip: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
    first: 1024,
    last: 65_535,
  }));
  const vips = [{ ip: '192.0.2.1', port: 6000 }];
  const first = startProgram(t, ns, 'host/guard-program.ts', { vips, lips: [], many: 65_535 });
  await first.next('ready');
  const clash = { vips: [{ ip: '192.0.2.1', port: 6001 }], lips: [lips.at(-1)!] };
  assert.match(
    await start(t, ns, clash).next<string>('refused'),
    /has the LIP 10\.0\.255\.254 with lports 1024-65535/,
  );
  const free = start(t, ns, { ...clash, lips: [{ ...lips[0], first: 1, last: 1023 }] });
  await free.next('ready');
});
