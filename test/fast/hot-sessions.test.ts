// Sessions of a real datapath become hot and leave again, with the real programs: each packet goes to the
// program first, and to the datapath where that passes it on. What leaves is always what the datapath alone
// would have sent.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory, CONTROL } from '../../src/datapath/memory.ts';
import { WEIGHT_DOWN } from '../../src/datapath/server-cells.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { type HopRows, HotSessions } from '../../src/fast/hot-sessions.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { makePlan, type PlanChange, PORT, type ServiceChange } from '../datapath/rig.ts';
import { hex } from '../packets/bytes.ts';
import { type EitherFields, udp } from '../packets/uoa-builder.ts';
import { frameOf, leavingFrame, openRig, TO_CLIENT, TO_SERVER } from './rig.ts';

const ETHERNET_LEN = 14;
const BUSY = 12;
const CAPACITY = { services: 4, realServers: 4, legs: 4 };

interface Ends {
  vip: string;
  lip: string;
  rip: string;
  client: string;
}

const IPV4: Ends = { vip: '10.1.0.100', lip: '10.2.0.200', rip: '10.2.0.10', client: '192.0.2.7' };
const IPV6: Ends = { vip: 'fd00:1::100', lip: 'fd00:2::200', rip: 'fd00:2::10', client: '2001:db8::7' };

const serviceOf = ({ vip, lip, rip }: Ends, change: ServiceChange): PlanChange => ({
  service: {
    vips: [vip],
    lips: [lip],
    maxTrials: 0,
    lports: { first: 20_000, last: 20_099 },
    realServers: [
      { ip: rip, port: 6000, weight: 1, mtu: 1500, isFallback: false, isLeaving: false, unreachable: '' },
    ],
    ...change,
  },
});

type Way = 'forward' | 'fast' | string;

/** A proxy of one service whose fast path is at work. */
class FastRig {
  readonly fast: HotSessions;
  readonly #rig;
  readonly #datapath: Datapath;
  readonly #memory;
  readonly #ends: Ends;
  /** Whether packets to each side leave at layer 2. */
  readonly hasHop = [true, true];
  hopsVersion = 1;
  /** Of the interfaces, and whether packets to clients may be as large. */
  linkMtu = 1500;
  isWhole = true;
  nowMs = 1_000_000;
  plan;
  #sent: Uint8Array[] = [];
  #lport = 0;

  constructor(t: TestContext, ends: Ends, change: ServiceChange = {}) {
    this.#ends = ends;
    this.plan = makePlan({ ...serviceOf(ends, change), capacity: CAPACITY });
    this.#memory = allocateMemory(this.plan);
    this.#rig = openRig(t, this.plan.maxSessions);
    const proxy = this;
    const hops: HopRows = {
      get version() {
        return proxy.hopsVersion;
      },
      rowOf: (addresses) => {
        const hop = addresses.join() === this.#datapath.sessions.directory.legs[0]!.towards.join() ? 0 : 1;
        return this.hasHop[hop] ? [TO_SERVER, TO_CLIENT][hop]! : -1;
      },
      mtuOf: () => this.linkMtu,
      isWhole: () => this.isWhole,
      update: () => {},
    };
    this.fast = new HotSessions(this.#rig.activity, this.#rig.hot, hops, this.plan.maxSessions, 0);
    this.#datapath = new Datapath(
      this.plan,
      this.#memory,
      (frame, off, len) => {
        this.#sent.push(Uint8Array.from(frame.bytes.subarray(off, off + len)));
        return true;
      },
      { events: this.fast, onForwarded: (base) => this.fast.note(base) },
    );
    this.fast.follow(this.#datapath.sessions, this.nowMs);
  }

  /** What becomes of the packet: 'fast', or the datapath's verdict. What leaves is right in both cases. */
  receive(port: number, fields: Partial<EitherFields>): Way {
    const packet = udp({ ttl: 64, hopLimit: 64, payload: Uint8Array.of(1, 2, 3), ...fields } as EitherFields);
    const { did, frame } = this.#rig.run('tc', frameOf(packet));
    const isFast = did === 'redirect';
    if (isFast) {
      const expected = { ...fields, ...this.#rewritten(port) };
      const leaves = udp({
        ttl: 63,
        hopLimit: 63,
        payload: Uint8Array.of(1, 2, 3),
        ...expected,
      } as EitherFields);
      assert.equal(hex(frame.subarray(ETHERNET_LEN)), hex(leaves));
      assert.equal(hex(frame), hex(leavingFrame(port === PORT.wan ? TO_SERVER : TO_CLIENT, leaves)));
      return 'fast';
    }
    const bytes = new Uint8Array(HEADROOM + packet.length + 64);
    bytes.set(packet, HEADROOM);
    this.#sent = [];
    const end = HEADROOM + packet.length;
    const verdict = verdictName(
      this.#datapath.receive(new Frame(bytes), HEADROOM, end, port, this.nowMs, false),
    );
    if (verdict === 'forward' && port === PORT.wan) {
      const sent = this.#sent.at(-1)!;
      const isV4 = sent[0]! >> 4 === 4;
      this.#lport = Buffer.from(sent).readUInt16BE(isV4 ? (sent[0]! & 15) * 4 : 40);
    }
    return verdict;
  }

  #rewritten(port: number): Partial<EitherFields> {
    const { vip, lip, rip, client } = this.#ends;
    return port === PORT.wan
      ? ({ src: lip, sport: this.#lport, dst: rip, dport: 6000 } as Partial<EitherFields>)
      : ({ src: vip, sport: 6000, dst: client, dport: 4000 } as Partial<EitherFields>);
  }

  fromClient(fields: Partial<EitherFields> = {}): Way {
    const { client, vip } = this.#ends;
    return this.receive(PORT.wan, { src: client, sport: 4000, dst: vip, dport: 6000, ...fields });
  }

  fromServer(fields: Partial<EitherFields> = {}): Way {
    const { rip, lip } = this.#ends;
    return this.receive(PORT.lan, { src: rip, sport: 6000, dst: lip, dport: this.#lport, ...fields });
  }

  get lport(): number {
    return this.#lport;
  }

  /** Makes the session busy, and gives it a tick. */
  beBusy(): void {
    for (let i = 0; i < BUSY; i++) {
      this.fromClient();
      this.fromServer();
    }
    this.tick();
  }

  tick(ms = 100): void {
    this.nowMs += ms;
    this.fast.tick(this.nowMs);
    this.#datapath.tick(this.nowMs);
  }

  /** As long as it takes until each hot session was looked at. */
  look(): void {
    for (let i = 0; i < 11; i++) this.tick();
  }

  replan(change: ServiceChange): void {
    this.plan = makePlan({ ...serviceOf(this.#ends, change), capacity: CAPACITY }, this.plan.services);
    this.#datapath.reconfigure(this.plan);
  }

  setWeight(weight: number): void {
    const { control, weights } = this.#memory.common;
    weights[0] = weight;
    Atomics.add(control, CONTROL.weightsVersion, 1);
  }

  counter(name: keyof typeof COUNTER): number {
    return this.#memory.counters[counterRow(0) + COUNTER[name]];
  }
}

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
      other.fast.switch(false);
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
  proxy.linkMtu = 1500;
  proxy.isWhole = false;
  proxy.beBusy();
  assert.equal(proxy.fast.count, 0, 'to the client');
  proxy.isWhole = true;
  proxy.beBusy();
  assert.equal(proxy.fast.count, 1);
});

describe('a hot session leaves', () => {
  test('when there was no room for one of its entries', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.fast.refused(1);
    proxy.tick();
    assert.equal(proxy.fast.count, 0);
    assert.equal(proxy.counter('sessionsHot'), 0);
    assert.equal(proxy.fromClient(), 'forward');
    assert.equal(proxy.fromServer(), 'forward');
  });

  test('when its packets come to the datapath all the same, and may come again', (t) => {
    const proxy = new FastRig(t, IPV4);
    proxy.beBusy();
    proxy.look();
    for (let i = 0; i < 8; i++) proxy.fromServer({ payload: new Uint8Array(0) });
    assert.equal(proxy.fast.count, 0);
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
    assert.equal(proxy.fast.count, 1);
    for (let i = 0; i < 30; i++) {
      proxy.fromServer();
      proxy.tick();
    }
    assert.equal(proxy.fast.count, 0);
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
    proxy.fast.switch(false);
    assert.equal(proxy.fromClient(), 'forward');
    proxy.beBusy();
    assert.equal(proxy.fast.count, 0);
    proxy.fast.switch(true);
    proxy.beBusy();
    assert.equal(proxy.fromClient(), 'fast');
  });
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
