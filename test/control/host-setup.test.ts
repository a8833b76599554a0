// What the proxy is on its host from plan to plan: claims, guard and addresses, in a namespace.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { HostSetupSpec } from '../../src/control/host-setup.ts';
import { namespace, sh, startProgram } from '../io/namespaces.ts';
import type { Command } from './host-setup-program.ts';

const [VIP, VIP2, LIP] = ['10.1.0.100', '10.1.0.101', '10.2.0.200'] as const;
const DEVICE = 'lo';

/** VIP:6000 of each, one LIP; `missing` are not on the host yet. */
function spec(
  vips: readonly string[],
  missing: readonly string[] = [],
  assignAddresses = true,
): HostSetupSpec {
  return {
    vips: vips.map((ip) => ({ ip, port: 6000 })),
    lips: [{ ip: LIP, first: 20000, last: 20099 }],
    missing: missing.map((ip) => ({ ip, device: DEVICE, command: `ip address add ${ip}/32 dev ${DEVICE}` })),
    assignAddresses,
  };
}

async function start(t: TestContext) {
  const ns = namespace(t, 'p');
  const program = startProgram(t, ns, 'control/host-setup-program.ts');
  await program.next('ready');
  const inside = (command: string) => sh(`ip netns exec ${ns} ${command}`);
  return {
    ns,
    program,
    run: async (command: Command): Promise<true | string> => {
      program.write(command);
      return program.next<true | string>('done');
    },
    /** Addresses that it added, VIP:vports that it claims by its guards, and how many of these there are. */
    host: () => ({
      addresses: [...inside(`ip -4 -o address show dev ${DEVICE}`).matchAll(/inet ([\d.]+)\/32/g)].map(
        (one) => one[1],
      ),
      claims: [
        ...new Set(
          [...inside('nft list sets ip').matchAll(/([\d.]+) \. (\d+)/g)].map((one) => `${one[1]}:${one[2]}`),
        ),
      ].sort(),
      guards: inside('nft list tables ip')
        .split('\n')
        .filter((line) => line !== '').length,
    }),
  };
}

const NOTHING = { addresses: [], claims: [], guards: 0 };
const FIRST = { addresses: [VIP, LIP], claims: [`${VIP}:6000`], guards: 1 };

async function started(t: TestContext) {
  const it = await start(t);
  assert.equal(await it.run({ prepare: spec([VIP], [VIP, LIP]) }), true);
  assert.equal(await it.run('commit'), true);
  assert.deepEqual(it.host(), FIRST);
  return it;
}

test('it claims, guards and adds what is new before a change, and gives up what is old after it', async (t) => {
  const it = await started(t);
  assert.equal(await it.run({ prepare: spec([VIP2], [VIP2]) }), true);
  assert.deepEqual(it.host(), {
    addresses: [VIP, LIP, VIP2],
    claims: [`${VIP}:6000`, `${VIP2}:6000`],
    guards: 2,
  });
  assert.equal(await it.run('commit'), true);
  assert.deepEqual(it.host(), { addresses: [LIP, VIP2], claims: [`${VIP2}:6000`], guards: 1 });
  assert.equal(await it.run('end'), true);
  assert.deepEqual(it.host(), NOTHING);
  await it.program.stop();
});

test('an address that is being removed is still one that goes, and no change of the host', async (t) => {
  const it = await started(t);
  assert.equal(await it.run({ prepare: spec([VIP2], [VIP2]) }), true);
  it.program.write({ commit: spec([VIP2]) });
  assert.deepEqual(await it.program.next('going'), [VIP]);
  assert.deepEqual(await it.program.next('going'), []);
  assert.equal(await it.program.next('done'), true);
  assert.equal(await it.run('end'), true);
  await it.program.stop();
});

test('the same again changes nothing, and needs no other guard', async (t) => {
  const it = await started(t);
  assert.equal(await it.run({ prepare: spec([VIP]) }), true);
  assert.deepEqual(it.host(), FIRST);
  assert.equal(await it.run('commit'), true);
  assert.deepEqual(it.host(), FIRST);
  await it.program.stop();
});

test('a change that is rolled back leaves everything as it was, and may be tried again', async (t) => {
  const it = await started(t);
  for (const last of ['rollBack', 'rollBack', 'commit'] as const) {
    assert.equal(await it.run({ prepare: spec([VIP, VIP2], [VIP2]) }), true);
    assert.equal(await it.run(last), true);
    if (last === 'rollBack') assert.deepEqual(it.host(), FIRST);
  }
  assert.deepEqual(it.host(), {
    addresses: [VIP, LIP, VIP2],
    claims: [`${VIP}:6000`, `${VIP2}:6000`],
    guards: 1,
  });
  await it.program.stop();
});

test('what cannot be had changes nothing: an address that may not be added, or whose device is not there', async (t) => {
  const it = await started(t);
  assert.match(
    String(await it.run({ prepare: spec([VIP2], [VIP2], false) })),
    /not on this host: 10\.1\.0\.101/,
  );
  assert.deepEqual(it.host(), FIRST);
  const elsewhere = spec([VIP2], [VIP2]);
  const missing = elsewhere.missing.map((one) => ({ ...one, device: 'gone0' }));
  assert.match(String(await it.run({ prepare: { ...elsewhere, missing } })), /gone0/);
  assert.deepEqual(it.host(), FIRST);
  await it.program.stop();
});

test('a VIP:vport that another proxy serves changes nothing', async (t) => {
  const it = await started(t);
  const other = startProgram(t, it.ns, 'control/host-setup-program.ts');
  await other.next('ready');
  other.write({ prepare: spec([VIP2, VIP]) });
  assert.match(String(await other.next('done')), /another uoa-proxy serves UDP 10\.1\.0\.100:6000/);
  assert.deepEqual(it.host(), FIRST);
  await other.stop();
  await it.program.stop();
});

test('an address that cannot be taken away is said, holds up nothing else, and goes at the end', async (t) => {
  const it = await started(t);
  assert.equal(await it.run({ prepare: spec([VIP2], [VIP2]) }), true);
  await it.run('give up rights');
  assert.equal(await it.run('commit'), true);
  await it.run('take rights');
  assert.match(await it.program.next<string>('logged'), /^addresses added$/);
  assert.match(await it.program.next<string>('logged'), /^addresses added$/);
  assert.match(await it.program.next<string>('logged'), /^an address that is needed no more stays: /);
  assert.deepEqual(it.host(), { addresses: [VIP, LIP, VIP2], claims: [`${VIP2}:6000`], guards: 1 });
  assert.equal(await it.run('end'), true);
  assert.deepEqual(it.host(), NOTHING);
  await it.program.stop();
});
