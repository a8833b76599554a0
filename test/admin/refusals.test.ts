import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type WatchedServer, watchRefusals } from '../../src/admin/refusals.ts';

const SERVERS: WatchedServer[] = [
  { service: 'game', rs: '10.2.0.11:6000', dialect: 'opp', instead: 'plain' },
  { service: 'game', rs: '[fd00:2::11]:6000', dialect: 'unified', instead: 'elb' },
  { service: 'dns', rs: '10.2.0.21:53', dialect: 'ipo', instead: 'plain' },
];

interface Entry {
  fields: Record<string, unknown>;
  message: string;
}

/** A watch over the three servers, and a way to wait for what it logs next. */
function watch(context: TestContext) {
  const refusals = new Float64Array(SERVERS.length);
  const entries: Entry[] = [];
  let wake = () => {};
  const stop = watchRefusals(
    () => refusals,
    SERVERS,
    (fields, message) => {
      entries.push({ fields, message });
      wake();
    },
  );
  // The watch alone does not keep the process alive.
  const keepAlive = setInterval(() => {}, 60_000);
  context.after(() => {
    stop();
    clearInterval(keepAlive);
  });
  const next = async () => {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  };
  return { refusals, entries, next };
}

describe('the watch over refusals', () => {
  it('says once per real server what it cannot read, what happens now and what to check', async (t) => {
    const { refusals, entries, next } = watch(t);
    refusals[0] = 3;
    await next();
    refusals[0] = 4;
    refusals[1] = 1;
    await next();
    assert.deepEqual(
      entries.map(({ fields }) => fields),
      SERVERS.slice(0, 2),
    );
    assert.equal(
      entries[0]?.message,
      'real server 10.2.0.11:6000 says by ICMP that it cannot read opp: for a minute at a time it gets plain datagrams without the client address; check that its kernel module for opp is loaded, and that no firewall before it refuses protocol 248',
    );
    assert.equal(
      entries[1]?.message,
      'real server [fd00:2::11]:6000 says by ICMP that it cannot read unified: for a minute at a time it gets elb, and plain datagrams if it cannot read that either; check that it and the firewalls before it accept IP options and destination options, and that its kernel module is one for unified',
    );
  });

  it('tells of several real servers at once', async (t) => {
    const { refusals, entries, next } = watch(t);
    refusals.fill(1);
    await next();
    assert.deepEqual(
      entries.map(({ fields }) => fields.rs),
      SERVERS.map(({ rs }) => rs),
    );
  });
});
