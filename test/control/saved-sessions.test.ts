// Saved sessions that go on: with whom, and what they say of where new ones of their clients go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import type { Config } from '../../src/config/schema.ts';
import { notePersistence, SavedSessions } from '../../src/control/saved-sessions.ts';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { Loans } from '../../src/datapath/loans.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import type { Siblings } from '../../src/datapath/options.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { Persistence } from '../../src/service/persistence.ts';
import type { ServicePlan } from '../../src/service/plan.ts';
import { RestoredSessions } from '../../src/session/restored-sessions.ts';
import type { LoadedSessions } from '../../src/session/state-file.ts';
import { SAVED, SAVED_NORMAL, SAVED_WORDS } from '../../src/session/state-format.ts';
import { NOTHING_OFF } from '../../src/session/state-notes.ts';
import { Owners, randomSteeringKey } from '../../src/steer/steering.ts';
import { formatAddress, parseAddressInto } from '../../src/wire/address.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { makePlan, PORT, realServer } from '../datapath/rig.ts';
import { udp4 } from '../packets/builder.ts';
import { client } from '../service/servers.ts';

const NOW_MS = 1_000_000;
const ANSWERED = 100;
const FLOOD = 20_000;

test('restored clients who were answered go to their real server, although a flood was saved with them', () => {
  const service = {
    persistenceMs: 60_000,
    realServers: ['10.2.0.10', '10.2.0.11', '10.2.0.12'].map((ip) => realServer(ip)),
  };
  const { services } = makePlan({ service });
  const legs = services[0].realServers.map(({ legs }) => ({
    service: 0,
    leg: legs[0].index,
    isToldAnew: false,
  }));
  const words = new Int32Array((ANSWERED + FLOOD) * SAVED_WORDS);
  for (let n = 0; n < ANSWERED + FLOOD; n++) {
    words.set(client(n), n * SAVED_WORDS + SAVED.client);
    words[n * SAVED_WORDS + SAVED.ports] = (5000 << 16) | (1024 + n);
    words[n * SAVED_WORDS + SAVED.legFlags] = ((n % 3) << 16) | (n < ANSWERED ? SAVED_NORMAL : 0);
    words[n * SAVED_WORDS + SAVED.ageMs] = n < ANSWERED ? 30_000 : 20_000 - n + ANSWERED;
  }
  const order = Uint32Array.from({ length: ANSWERED + FLOOD }, (_, n) => n);
  const persistence = new Persistence(new Int32Array(Persistence.words(1024)), [1, 2]);
  notePersistence(persistence, services, new RestoredSessions(words, order, legs, 0, NOW_MS));
  assert.deepEqual(
    Array.from({ length: ANSWERED }, (_, n) => persistence.find(client(n), 0, 0, 60_000, NOW_MS)),
    Array.from({ length: ANSWERED }, (_, n) => n % 3),
  );
});

const MANY = 20_000;
const LPORTS = { first: 1024, last: 65_535 };

/** Sessions of as many clients over two real servers, as they were saved: all answered. */
function savedSessions(services: readonly ServicePlan[]): LoadedSessions {
  const words = new Int32Array(MANY * SAVED_WORDS);
  for (let n = 0; n < MANY; n++) {
    words.set(client(n), n * SAVED_WORDS + SAVED.client);
    words[n * SAVED_WORDS + SAVED.ports] = (5000 << 16) | (LPORTS.first + (n >>> 1));
    words[n * SAVED_WORDS + SAVED.legFlags] = ((n % 2) << 16) | SAVED_NORMAL;
  }
  const legs = services[0].realServers.map(({ legs }) => ({
    service: 0,
    leg: legs[0].index,
    isToldAnew: false,
  }));
  const order = Uint32Array.from({ length: MANY }, (_, n) => n);
  return {
    sessions: new RestoredSessions(words, order, legs, 0, NOW_MS),
    dropped: { gone: 0, expired: 0 },
    outOfTime: '',
    workers: 1,
    key: new Uint8Array(0),
    servers: [],
    fastPathOff: NOTHING_OFF,
    added: [],
    arcs: new Map(),
  };
}

for (const workers of [2, 3, 8]) {
  test(`of ${MANY} sessions that one worker had, ${workers} go on with all, and find each by its client and by its lport`, (t) => {
    const vip = '10.1.0.100';
    const plan = makePlan({
      service: {
        vips: [vip],
        lports: LPORTS,
        realServers: ['10.2.0.10', '10.2.0.11'].map((ip) => realServer(ip)),
      },
      maxAllSessions: 1 << 18,
      maxSessions: Math.ceil((1 << 18) / workers),
    });
    const plans = Array.from({ length: workers }, (_, worker) => ({ ...plan, worker: { worker, workers } }));
    const { common } = allocateMemory(plans[0]);
    const memories = plans.map((own) => ({ ...allocateMemory(own), common }));
    const steering = {
      workers,
      key: randomSteeringKey(),
      vips: [{ ip: vip, port: 6000 }],
      lips: [{ ip: '10.2.0.200', ...LPORTS }],
    };
    const owners = new Owners(steering);
    const log = pino({ level: 'silent' });
    const saved = new SavedSessions(savedSessions(plan.services), plan.services, log);
    const config = { sessions: { onewayShare: 50 } } as Config;
    const { services } = plan;
    saved.write({ memories, config, services, steering, sharedSeed: [1, 2], log }, undefined);
    // Packets may come to one before another one has begun.
    const { isEmpty } = new Loans(common.loans, [1, 2], workers);
    assert.equal(isEmpty, false);
    let isHandedTo = -1;
    const datapaths = plans.map((own, self) => {
      const siblings: Siblings = {
        self,
        memories,
        ownerOf: (addresses, sport, dport) => owners.ownerOf(addresses, sport, dport),
        handOver: (to) => {
          isHandedTo = to;
          return true;
        },
      };
      return new Datapath({ ...own, sharedSeed: [1, 2] }, memories[self], () => true, {
        seed: [self, 2],
        siblings,
      });
    });
    assert.equal(
      datapaths.reduce((sum, { sessionCount }) => sum + sessionCount, 0),
      MANY,
    );
    const addresses = new Int32Array(8);
    parseAddressInto(addresses, 4, vip);
    let handedOver = 0;
    for (let n = 0; n < MANY; n++) {
      addresses.set(client(n));
      const packet = udp4({ src: formatAddress(addresses, 0), dst: vip, sport: 5000, dport: 6000 });
      const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
      frame.bytes.set(packet, HEADROOM);
      const end = HEADROOM + packet.length;
      const owner = owners.ownerOf(addresses, 5000, 6000);
      isHandedTo = -1;
      let verdict = datapaths[owner].receive(frame, HEADROOM, end, PORT.wan, NOW_MS);
      if (isHandedTo >= 0) {
        handedOver++;
        verdict = datapaths[isHandedTo].receiveHandedOver(frame, HEADROOM, end, PORT.wan, 0, NOW_MS);
      }
      assert.equal(verdictName(verdict), 'forward');
    }
    const created = memories.reduce(
      (sum, { counters }) => sum + counters[counterRow(0) + COUNTER.sessionsCreated],
      0,
    );
    assert.equal(created, 0, 'no client got another session');
    t.diagnostic(`${handedOver} of ${MANY} clients' packets are handed over`);
  });
}
