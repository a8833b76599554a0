// What changes while sessions are hot: the plan, their real server, the table around them, the kernel's
// mood. Each packet goes the way that the datapath alone would have taken it, at most a second late.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BUSY, FastRig, IPV4 } from './hot-rig.ts';

const LEFT = { ttl: 1 };

describe('a hot session is told of anew', () => {
  test('when its real server refuses the dialect and has a fallback', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1, onUnsupported: 'opp' });
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
    proxy.refuseDialect();
    proxy.look();
    assert.equal(proxy.state, 'uoa');
    const before = proxy.counter('uoaInserted') + proxy.counter('uoaCarrier');
    assert.equal(proxy.fromClient(), 'forward');
    assert.equal(proxy.counter('uoaInserted') + proxy.counter('uoaCarrier'), before + 1);
  });

  test('not while nothing is sent instead of what was refused, and not when that is tried again', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1, onUnsupported: 'plain' });
    proxy.beBusy();
    proxy.refuseDialect();
    for (let seconds = 0; seconds < 62; seconds++) {
      assert.equal(proxy.fromClient(), 'fast');
      proxy.look();
    }
    assert.equal(proxy.state, 'hot');
  });

  test('after the silence that a reload says', async (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1, idleRefreshMs: 0 });
    proxy.beBusy();
    proxy.replan({ maxTrials: 1, idleRefreshMs: 2_000 });
    proxy.look();
    assert.equal(proxy.fromClient(), 'fast');
    const before = proxy.counter('uoaInserted');
    await sleep(2_500); // the programs have the kernel's clock
    proxy.tick(2_500);
    assert.equal(proxy.fromClient(), 'forward');
    assert.equal(proxy.counter('uoaInserted'), before + 1);
  });

  test('when a reload says a refresh that is due, or more trials', (t) => {
    for (const change of [{ maxTrials: 1, refreshMs: 1_000 }, { maxTrials: 5 }]) {
      const proxy = new FastRig(t, IPV4, { maxTrials: 1 });
      proxy.beBusy();
      assert.equal(proxy.state, 'hot');
      proxy.replan(change);
      proxy.look();
      assert.equal(proxy.state, 'uoa', JSON.stringify(change));
    }
  });
});

describe('a session whose real server is to be told again leaves within half a second', () => {
  test('when it came back; it is hot again behind the round', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 3 });
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
    const before = proxy.counter('uoaInserted');
    proxy.announce();
    for (let i = 0; i < 5; i++) proxy.tick();
    assert.equal(proxy.state, 'uoa');
    proxy.beBusy();
    assert.equal(proxy.counter('uoaInserted'), before + 3);
    assert.equal(proxy.state, 'hot');
    proxy.look();
    assert.equal(proxy.fromClient(), 'fast');
  });

  test('also where there are many', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1 });
    for (let n = 0; n < 90; n++) {
      proxy.cport++;
      for (let i = 0; i < BUSY; i++) {
        proxy.fromClient();
        proxy.fromServer();
      }
    }
    proxy.tick();
    assert.equal(proxy.fast.count, 90);
    proxy.announce();
    for (let i = 0; i < 5; i++) proxy.tick();
    assert.equal(proxy.fast.count, 0);
  });

  test('when its port is unreachable, and is not hot until it is back and the round is over', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1 });
    proxy.beBusy();
    const before = proxy.counter('uoaInserted');
    proxy.sayUnreachable();
    for (let i = 0; i < 5; i++) proxy.tick();
    assert.equal(proxy.state, 'uoa');
    for (let i = 0; i < BUSY; i++) assert.equal(proxy.fromClient(), 'forward');
    proxy.tick();
    assert.equal(proxy.counter('uoaInserted'), before + BUSY);
    assert.equal(proxy.state, 'uoa');
    proxy.beBusy();
    assert.equal(proxy.counter('uoaInserted'), before + BUSY + 2, 'one more, an answer, and its round');
    assert.equal(proxy.state, 'hot');
  });

  test('no successor takes over as told one that is to be told again', (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1 });
    proxy.beBusy();
    proxy.announce();
    proxy.restartWorker();
    assert.equal(proxy.state, 'uoa');
    const before = proxy.counter('uoaInserted');
    assert.equal(proxy.fromClient(), 'forward');
    assert.equal(proxy.counter('uoaInserted'), before + 1);
  });
});

test('of many whose refresh is due so many leave in a second that the datapath hardly notices', (t) => {
  const proxy = new FastRig(
    t,
    IPV4,
    { maxTrials: 1, refreshMs: 5_000, lports: { first: 20_000, last: 29_999 } },
    4_000,
  );
  const first = proxy.cport;
  for (let n = 0; n < 1_500; n++) {
    proxy.cport = first + n;
    for (let i = 0; i < BUSY; i++) {
      proxy.fromClient();
      proxy.fromServer();
    }
  }
  proxy.tick();
  assert.equal(proxy.fast.count, 1_500);
  // Once in a second, so that nobody's round is over.
  const askAll = () => {
    for (let n = 0; n < 1_500; n++) {
      proxy.cport = first + n;
      proxy.fromClient();
    }
  };
  for (let s = 0; s < 5; s++) {
    askAll();
    proxy.look();
  }
  assert.ok(proxy.fast.count > 300 && proxy.fast.count < 1_500, `${proxy.fast.count} are hot`);
  askAll();
  proxy.look();
  assert.equal(proxy.fast.count, 0);
});

describe('a session whose refresh is due', () => {
  test('stays hot while its client is silent; the next packet of that begins the round', async (t) => {
    const proxy = new FastRig(t, IPV4, { maxTrials: 1, refreshMs: 4_000 });
    proxy.beBusy();
    for (let i = 0; i < 100; i++) {
      for (let k = 0; k < BUSY; k++) assert.equal(proxy.fromServer(), 'fast');
      proxy.tick();
    }
    const before = proxy.counter('uoaInserted');
    await sleep(2_500); // the programs have the kernel's clock
    assert.equal(proxy.fromServer(), 'fast');
    proxy.tick(2_500);
    assert.equal(proxy.fromClient(), 'forward');
    assert.equal(proxy.counter('uoaInserted'), before + 1);
    assert.equal(proxy.state, 'uoa');
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
  });

  test('leaves only as often as rounds are due, however seldom its client sends', (t) => {
    for (const every of [5, 13, 20, 27, 40]) {
      const proxy = new FastRig(t, IPV4, { maxTrials: 1, refreshMs: 2_000 });
      proxy.beBusy();
      const before = proxy.counter('uoaInserted');
      let left = 0;
      for (let i = 1; i <= 200; i++) {
        const was = proxy.fast.count;
        if (i % every === 0) proxy.fromClient();
        for (let k = 0; k < BUSY; k++) proxy.fromServer();
        proxy.tick();
        if (proxy.fast.count < was) left++;
      }
      const rounds = proxy.counter('uoaInserted') - before;
      // Where the kernel's clock goes with this one, it is one for each.
      assert.ok(
        rounds > 0 && left <= 2 * rounds + 1,
        `every ${every}: left ${left} times for ${rounds} rounds`,
      );
    }
  });
});

test('what became busy while none might become hot is hot with its next packets', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.tick();
  proxy.fast.hold(true);
  proxy.beBusy();
  assert.equal(proxy.fast.count, 0);
  proxy.fast.hold(false);
  proxy.beBusy();
  assert.equal(proxy.fast.count, 1);
});

test('a session that a reload puts other words into keeps its counts', (t) => {
  const proxy = new FastRig(t, IPV4, { maxTrials: 1, idleRefreshMs: 0 });
  proxy.beBusy();
  const before = proxy.counter('inboundFast');
  proxy.replan({ maxTrials: 1, idleRefreshMs: 60_000 });
  for (let i = 0; i < 22; i++) {
    assert.equal(proxy.fromClient(), 'fast');
    proxy.tick();
  }
  proxy.look();
  assert.equal(proxy.counter('inboundFast'), before + 22);
});

test('lists and limits of a reload do not end a hot session, as they do not end others', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  proxy.replan({ deny: ['192.0.2.0/24'] });
  proxy.look();
  assert.equal(proxy.fromClient(), 'fast');
});

test('a route that has become narrower is found while hot', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  proxy.isWhole = false;
  proxy.hopsVersion++;
  proxy.look();
  assert.equal(proxy.state, 'mtu');
});

test('a path MTU that ICMP teaches ends it at once', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  assert.equal(proxy.fromClient(), 'fast');
  proxy.teachMtu(1400);
  assert.equal(proxy.state, 'mtu');
  assert.equal(proxy.fromClient(), 'forward');
});

describe('a session that gains nothing by being hot', () => {
  test('is held back, longer each time', (t) => {
    const proxy = new FastRig(t, IPV4);
    const becomesHotAfter = (): number => {
      for (let seconds = 0; seconds < 100; seconds++) {
        for (let i = 0; i < BUSY; i++) proxy.fromServer();
        if (proxy.fast.count === 1) return seconds;
        proxy.look();
      }
      return 100;
    };
    const gainNothing = () => {
      for (let seconds = 0; seconds < 5; seconds++) {
        for (let i = 0; i < BUSY; i++) proxy.fromServer({ payload: new Uint8Array(0) });
        proxy.look();
      }
      assert.equal(proxy.state, 'left');
    };
    proxy.beBusy();
    gainNothing();
    const first = becomesHotAfter();
    assert.ok(first >= 4 && first <= 12, `${first}`);
    gainNothing();
    const second = becomesHotAfter();
    assert.ok(second >= 14 && second <= 22, `${second}`);
  });

  test('stays where more is forwarded than left to the datapath', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    for (let seconds = 0; seconds < 5; seconds++) {
      for (let i = 0; i < BUSY; i++) proxy.fromServer({ payload: new Uint8Array(0) });
      for (let i = 0; i < BUSY + 1; i++) assert.equal(proxy.fromServer(), 'fast');
      proxy.look();
    }
    assert.equal(proxy.state, 'hot');
  });

  test('is not taken out for what waited in a ring when it became hot', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    for (let i = 0; i < 5 * BUSY; i++) proxy.fromServer({ payload: new Uint8Array(0) });
    proxy.look();
    assert.equal(proxy.state, 'hot');
  });

  test('is held back where there was no room for it', (t) => {
    const proxy = new FastRig(t, IPV4);
    const { free } = proxy.fillEntries();
    proxy.beBusy();
    assert.equal(proxy.state, 'no_room');
    assert.equal(proxy.fast.count, 0);
    assert.equal(proxy.counter('sessionsHot'), 0);
    assert.deepEqual([proxy.fromClient(), proxy.fromServer()], ['forward', 'forward']);
    free();
    proxy.beBusy();
    assert.equal(proxy.state, 'no_room', 'not at once');
    proxy.tick(10_000);
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
    assert.deepEqual([proxy.fromClient(), proxy.fromServer()], ['fast', 'fast']);
  });

  test('does not become hot where its client is behind the interface of real servers', (t) => {
    const proxy = new FastRig(t, IPV4);
    for (let seconds = 0; seconds < 3; seconds++) {
      for (let i = 0; i < BUSY; i++) {
        assert.equal(proxy.fromClientAtLan(), 'forward');
        assert.equal(proxy.fromServer(), 'forward');
      }
      proxy.look();
      assert.equal(proxy.state, 'wrong_side');
    }
  });

  test('ends to be hot when its client turns up there', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    assert.equal(proxy.fromClientAtLan(), 'forward');
    assert.equal(proxy.fromServer(), 'forward');
    assert.equal(proxy.state, 'wrong_side');
  });
});

describe('the table looks at what the fast path did', () => {
  test('before a session ends for its silence', (t) => {
    const proxy = new FastRig(t, IPV4, { normalMs: 60_000 });
    proxy.beBusy();
    assert.equal(proxy.fromServer(), 'fast');
    // No tick for longer than the timeout, as on a machine that stood still.
    proxy.nowMs += 90_000;
    assert.equal(proxy.fromClient(LEFT), 'drop:ttl_exceeded');
    assert.equal(proxy.counter('sessionsExpired'), 0);
    assert.ok(proxy.idleMs < 60_000, `${proxy.idleMs}`);
  });

  test('before it makes room', (t) => {
    const proxy = new FastRig(t, IPV4, {}, 4);
    const answered = (cport: number) => {
      proxy.cport = cport;
      proxy.fromClient();
      proxy.fromServer();
    };
    answered(4000);
    proxy.beBusy();
    assert.equal(proxy.state, 'hot');
    proxy.nowMs += 2_000;
    answered(4001);
    answered(4002);
    proxy.cport = 4000;
    assert.equal(proxy.fromClient(), 'fast'); // the table was not told
    answered(4003);
    assert.equal(proxy.counter('sessionsEvicted'), 1);
    proxy.cport = 4000;
    assert.equal(proxy.state, 'hot');
  });
});

test('a session that was silent for its timeout is not hot any more', (t) => {
  const proxy = new FastRig(t, IPV4, { normalMs: 2_000 });
  proxy.beBusy();
  for (let i = 0; i < 32; i++) proxy.tick();
  assert.equal(proxy.fast.count, 0);
  assert.equal(proxy.counter('sessionsExpired'), 1);
  assert.notEqual(proxy.fromServer(), 'fast');
});

test('what switched-off services have leaves within a second, and comes back', (t) => {
  const proxy = new FastRig(t, IPV4);
  proxy.beBusy();
  proxy.switch(false);
  proxy.look();
  assert.equal(proxy.state, 'off');
  assert.equal(proxy.fromClient(), 'forward');
  proxy.beBusy();
  assert.equal(proxy.state, 'off');
  proxy.switch(true);
  proxy.look();
  proxy.beBusy();
  assert.equal(proxy.state, 'hot');
});

test('a hot session uses its two hops, and none when it is hot no more', (t) => {
  const proxy = new FastRig(t, IPV4, { maxTrials: 1, idleRefreshMs: 0 });
  proxy.beBusy();
  assert.deepEqual(proxy.hopUses, [1, 1]);
  proxy.replan({ maxTrials: 1, idleRefreshMs: 60_000 });
  proxy.look();
  assert.deepEqual(proxy.hopUses, [1, 1], 'its entries were put anew');
  proxy.switch(false);
  proxy.look();
  assert.deepEqual(proxy.hopUses, [0, 0]);
});
