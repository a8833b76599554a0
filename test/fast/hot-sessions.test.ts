// Sessions of a real datapath become hot and leave again, with the real programs.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { BUSY, FastRig, IPV4, IPV6 } from './hot-rig.ts';

for (const [family, ends] of Object.entries({ IPV4, IPV6 })) {
  describe(family, () => {
    test('a busy session becomes hot, and both directions leave as before', (t) => {
      const proxy = new FastRig(t, ends);
      assert.equal(proxy.fromClient(), 'forward');
      assert.equal(proxy.fromServer(), 'forward');
      proxy.tick();
      assert.equal(proxy.fast.count, 0, 'not busy');
      proxy.beBusy();
      assert.equal(proxy.fast.count, 1);
      assert.equal(proxy.counter('sessionsHot'), 1);
      assert.equal(proxy.fromClient(), 'fast');
      assert.equal(proxy.fromServer(), 'fast');
      assert.equal(proxy.fromClient({ payload: new Uint8Array(1000).fill(7) }), 'fast');
    });

    test('packets of the fast path count as the datapath counts them', (t) => {
      const [one, other] = [new FastRig(t, ends), new FastRig(t, ends)];
      for (const proxy of [one, other]) proxy.beBusy();
      other.switch(false);
      other.look();
      for (const proxy of [one, other]) {
        for (let i = 0; i < 20; i++) {
          proxy.fromClient({ payload: new Uint8Array(i) });
          proxy.fromServer({ payload: new Uint8Array(i + 1) });
        }
        proxy.look();
      }
      for (const name of [
        'inboundPackets',
        'inboundBytes',
        'outboundPackets',
        'outboundBytes',
        'inboundForwarded',
        'outboundForwarded',
      ] as const)
        assert.equal(one.counter(name), other.counter(name), name);
      assert.equal(one.counter('inboundFast'), 20);
      assert.equal(one.counter('outboundFast'), 20);
    });
  });
}

describe('a session does not become hot', () => {
  test('before it is answered', (t) => {
    const proxy = new FastRig(t, IPV4);
    for (let i = 0; i < 2 * BUSY; i++) assert.equal(proxy.fromClient(), 'forward');
    proxy.tick();
    assert.equal(proxy.fast.count, 0);
  });

  test('before its handshake is over', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 100 });
    proxy.beBusy();
    assert.equal(proxy.fast.count, 0);
  });

  test('while a hop of it is none of layer 2', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.hasHop[1] = false;
    proxy.beBusy();
    assert.equal(proxy.fast.count, 0);
  });
});

test('a session whose packets must be shorter than the interface lets through does not become hot', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.linkMtu = 9000;
  proxy.beBusy();
  assert.equal(proxy.fast.count, 0, 'to the real server');
  proxy.look();
  proxy.linkMtu = 1500;
  proxy.isWhole = false;
  proxy.beBusy();
  assert.equal(proxy.fast.count, 0, 'to the client');
  proxy.look();
  proxy.isWhole = true;
  proxy.beBusy();
  assert.equal(proxy.fast.count, 1);
});

test('a session that is busy before its handshake is over becomes hot as soon as that is', (t) => {
  const proxy = new FastRig(t, IPV4, { maxTrials: 3 });
  for (let i = 0; i < 2; i++) assert.equal(proxy.fromClient(), 'forward');
  for (let i = 0; i < BUSY; i++) assert.equal(proxy.fromServer(), 'forward');
  proxy.tick();
  assert.equal(proxy.state, 'uoa');
  proxy.look();
  assert.equal(proxy.state, 'uoa');
  for (const which of ['the last trial', 'the first without'])
    assert.equal(proxy.fromClient(), 'forward', which);
  proxy.tick();
  assert.equal(proxy.state, 'hot');
});

describe('a hot session leaves', () => {
  test('when its packets come to the datapath all the same, and may come again', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.look();
    for (let seconds = 0; seconds < 3; seconds++) {
      for (let i = 0; i < 8; i++) proxy.fromServer({ payload: new Uint8Array(0) });
      proxy.look();
    }
    assert.equal(proxy.fast.count, 0);
    for (let seconds = 0; seconds < 10; seconds++) proxy.look();
    proxy.beBusy();
    assert.equal(proxy.fromClient(), 'fast');
  });

  test('when its server is down and its sessions move', (t) => {
    const proxy = new FastRig(t, IPV4, { onDown: 'reset' });
    proxy.beBusy();
    proxy.setWeight(WEIGHT_DOWN);
    proxy.look();
    assert.equal(proxy.fast.count, 0);
    assert.notEqual(proxy.fromClient(), 'fast');
  });

  test('not when its server is down and sessions stay', (t) => {
    const proxy = new FastRig(t, IPV4, { onDown: 'keep' });
    proxy.beBusy();
    proxy.setWeight(WEIGHT_DOWN);
    proxy.look();
    assert.equal(proxy.fromClient(), 'fast');
  });

  test('when a refresh is due', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1, refreshMs: 2_000 });
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
    for (let i = 0; i < 20; i++) {
      proxy.fromClient();
      proxy.tick();
    }
    proxy.look();
    assert.equal(proxy.state, 'uoa');
  });

  test('when it was silent', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    for (let i = 0; i < 130; i++) proxy.tick();
    assert.equal(proxy.fast.count, 0);
    assert.equal(proxy.counter('sessionsHot'), 0);
    assert.equal(proxy.fromClient(), 'forward');
  });

  test('when a reload takes its service away', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.replan({ vips: ['10.1.0.101'] });
    assert.equal(proxy.fast.count, 0);
    assert.notEqual(proxy.fromServer(), 'fast');
  });

  test('when its hop is gone, and goes on by another one', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.hasHop[0] = false;
    proxy.hopsVersion++;
    proxy.look();
    assert.equal(proxy.fast.count, 0);
    proxy.hasHop[0] = true;
    proxy.beBusy();
    assert.equal(proxy.fromClient(), 'fast');
  });

  test('when it is switched off', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.switch(false);
    proxy.look();
    assert.equal(proxy.fromClient(), 'forward');
    proxy.beBusy();
    assert.equal(proxy.fast.count, 0);
    proxy.switch(true);
    proxy.look();
    proxy.beBusy();
    assert.equal(proxy.fromClient(), 'fast');
  });
});

test('a session that was busy before it was fit becomes hot when it is, also where there is much to do', (t) => {
  const proxy = new FastRig(t, IPV4);
  const beVeryBusy = () => {
    for (let i = 0; i < 1_000; i++) {
      proxy.fromClient();
      proxy.fromServer();
    }
    proxy.tick();
  };
  for (let round = 0; round < 2; round++) {
    proxy.switch(false);
    proxy.look();
    beVeryBusy();
    assert.equal(proxy.fast.count, 0);
    proxy.switch(true);
    beVeryBusy();
    assert.equal(proxy.fast.count, 1);
  }
});

describe('a hot session stays', () => {
  test('while it is used, also longer than its timeout', (t) => {
    const proxy = new FastRig(t, IPV4, { normalMs: 3_000 });
    proxy.beBusy();
    for (let i = 0; i < 60; i++) {
      assert.equal(proxy.fromServer(), 'fast');
      proxy.tick();
    }
    assert.equal(proxy.counter('sessionsExpired'), 0);
  });

  test('where what is left to the datapath is one packet', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    assert.equal(proxy.fromServer({ payload: new Uint8Array(0) }), 'forward');
    assert.equal(proxy.fromClient({ ttl: 1 }), 'drop:ttl_exceeded');
    assert.equal(proxy.fromClient(), 'fast');
    assert.equal(proxy.fast.count, 1);
  });
});
