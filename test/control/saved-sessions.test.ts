// What saved sessions say of where new ones of their clients go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notePersistence } from '../../src/control/saved-sessions.ts';
import { Persistence } from '../../src/service/persistence.ts';
import { RestoredSessions } from '../../src/session/restored-sessions.ts';
import { SAVED, SAVED_NORMAL, SAVED_WORDS } from '../../src/session/state-format.ts';
import { makePlan, realServer } from '../datapath/rig.ts';
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
