import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { watchRefusals } from '../../src/admin/refusals.ts';
import { SERVER_COLUMNS, SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import type { ServicePlan } from '../../src/service/plan.ts';
import { startSample } from './sample.ts';

interface Entry {
  fields: Record<string, unknown>;
  message: string;
}

/** A watch over the services of the sample, and a way to wait for its next look. */
async function watch(context: TestContext) {
  const { sources } = await startSample(context);
  let services = sources.services();
  const servers = new Float64Array(4 * SERVER_COLUMNS);
  const entries: Entry[] = [];
  let looked = () => {};
  const stop = watchRefusals(
    // The counters are read after refresh, in the same turn.
    { services: () => services, servers, refresh: () => setImmediate(looked) },
    (fields, message) => entries.push({ fields, message }),
  );
  // The watch alone does not keep the process alive.
  const keepAlive = setInterval(() => {}, 60_000);
  context.after(() => {
    stop();
    clearInterval(keepAlive);
  });
  return {
    entries,
    refuse: (index: number) => {
      servers[serverRow(index) + SERVER_COUNTER.refusals] += 1;
    },
    change: (change: (service: ServicePlan) => ServicePlan) => {
      services = services.map(change);
    },
    look: () =>
      new Promise<void>((resolve) => {
        looked = resolve;
      }),
  };
}

const names = (entries: readonly Entry[]) => entries.map(({ fields }) => fields.rs);

describe('the watch over refusals', () => {
  it('says once per real server what it cannot read, what happens now and what to check', async (t) => {
    const { refuse, entries, look } = await watch(t);
    refuse(2);
    await look();
    refuse(2);
    refuse(3);
    await look();
    assert.deepEqual(
      entries.map(({ fields }) => fields),
      [
        { service: '10.1.0.100:6001', rs: '10.2.0.12:6000', dialect: 'opp', instead: 'unified' },
        { service: '10.1.0.100:6001', rs: '[fd00:2::12]:6000', dialect: 'elb', instead: 'unified' },
      ],
    );
    assert.equal(
      entries[0]?.message,
      'real server 10.2.0.12:6000 says by ICMP that it cannot read opp: for a minute at a time it gets unified, and plain datagrams if it cannot read that either; check that its kernel module for opp is loaded, and that no firewall before it refuses protocol 248',
    );
    assert.equal(
      entries[1]?.message,
      'real server [fd00:2::12]:6000 says by ICMP that it cannot read elb: for a minute at a time it gets unified, and plain datagrams if it cannot read that either; check that it and the firewalls before it accept IP options and destination options, and that its kernel module is one for elb',
    );
  });

  it('tells of several real servers at once', async (t) => {
    const { refuse, entries, look } = await watch(t);
    for (const index of [0, 1, 2, 3]) refuse(index);
    await look();
    assert.deepEqual(names(entries), [
      '10.2.0.11:6000',
      '10.2.0.9:6000',
      '10.2.0.12:6000',
      '[fd00:2::12]:6000',
    ]);
    assert.match(entries[0].message, /it gets plain datagrams without the client address; check/);
  });

  it('speaks of another dialect only when that is refused too', async (t) => {
    const { refuse, change, entries, look } = await watch(t);
    refuse(0);
    await look();
    change((service) => ({
      ...service,
      realServers: service.realServers.map((server) => ({ ...server, dialect: 'unified' as const })),
    }));
    await look();
    assert.deepEqual(names(entries), ['10.2.0.11:6000']);
    refuse(0);
    await look();
    assert.deepEqual(names(entries), ['10.2.0.11:6000', '10.2.0.11:6000']);
    assert.equal(entries[1]?.fields.dialect, 'unified');
  });
});
