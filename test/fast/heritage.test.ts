// What a worker leaves hot when it ends, and what its successor makes of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FastRig, IPV4, IPV6 } from './hot-rig.ts';

for (const [family, ends] of Object.entries({ IPV4, IPV6 })) {
  test(`${family}: a hot session goes on with the next worker, and what came meanwhile counts once`, (t) => {
    const proxy = new FastRig(t, ends);
    proxy.beBusy();
    proxy.look();
    const before = proxy.counter('inboundPackets');
    assert.equal(proxy.fromClient(), 'fast');
    assert.equal(proxy.fromServer(), 'fast');
    proxy.restartWorker();
    assert.equal(proxy.fast.count, 1);
    assert.equal(proxy.counter('sessionsHot'), 1);
    assert.equal(proxy.state, 'hot');
    assert.equal(proxy.counter('inboundPackets'), before + 1);
    assert.equal(proxy.fromClient(), 'fast');
    assert.equal(proxy.fromServer(), 'fast');
    proxy.look();
    assert.equal(proxy.counter('inboundPackets'), before + 2);
    proxy.restartWorker();
    proxy.switch(false);
    proxy.look();
    assert.equal(proxy.fromClient(), 'forward', 'it can be taken out');
    assert.equal(proxy.counter('sessionsHot'), 0);
  });
}

test('what may not be hot any more is taken out by the next worker', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  proxy.switch(false);
  assert.equal(proxy.fromClient(), 'fast', 'nobody looked at it yet');
  proxy.restartWorker();
  assert.equal(proxy.fast.count, 0);
  assert.equal(proxy.fromClient(), 'forward');
});

test('nor where its hop is another one now, or none', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  proxy.hasHop[1] = false;
  proxy.restartWorker();
  assert.equal(proxy.fast.count, 0);
  assert.equal(proxy.state, 'no_hop');
  assert.equal(proxy.fromServer(), 'forward');
});

test('a hot session leaves word of its UOA', (t) => {
  const quiet = new FastRig(t, IPV4);
  quiet.beBusy();
  assert.equal(quiet.heritage.progress, 0);
  const told = new FastRig(t, IPV4, { maxTrials: 2 });
  for (let n = 0; n < 3 && told.fast.count === 0; n++) told.beBusy();
  assert.equal(told.fast.count, 1);
  assert.equal(told.heritage.progress & 0xff, 2, 'trials');
  assert.notEqual(told.heritage.progress & 0x200, 0, 'exhausted');
});
