// What the traffic of a real server says about it, over reloads of its health settings.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { HealthWatch } from '../../src/control/health-watch.ts';
import { ServerStates } from '../../src/control/server-states.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { parse, sampleService } from '../config/sample.ts';
import { makePlan, type RealServerDraft, realServer } from '../datapath/rig.ts';

const IP = '10.2.0.11';
const configOf = (unreachable: number) =>
  parse({
    services: [
      sampleService({ realServers: [{ ip: IP, port: 6000 }], health: { unreachable, window: '60s' } }),
    ],
  });

/** Five errors, a reload, five more: the state of the real server then. */
async function stateAfter(t: TestContext, before: number, after: number): Promise<string> {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  const plan = makePlan({ service: { realServers: [realServer(IP)] } });
  const { common, servers } = allocateMemory(plan);
  const log = pino({ level: 'silent' });
  const serverStates = new ServerStates(common, log);
  serverStates.update(plan.services);
  const watch = new HealthWatch(serverStates, () => servers, log);
  const fiveErrors = () => {
    t.mock.timers.tick(1000);
    servers[serverRow(0) + SERVER_COUNTER.unreachable] += 5;
    t.mock.timers.tick(1000);
  };
  try {
    watch.update(configOf(before), plan.services);
    fiveErrors();
    assert.equal(serverStates.stateOf(0).state, 'up');
    watch.update(configOf(after), plan.services);
    fiveErrors();
    return serverStates.stateOf(0).state;
  } finally {
    await watch.stop();
  }
}

describe('a reload', () => {
  test('that sets other limits of the traffic makes them count', async (t) => {
    assert.equal(await stateAfter(t, 100, 5), 'down');
  });

  test('that leaves them goes on counting where it was', async (t) => {
    assert.equal(await stateAfter(t, 10, 10), 'down');
  });
});

const UNDISTURBED = { type: 'udp', interval: '1h', timeout: '1s' };
const OTHER = '10.2.0.12';

/** Ten sessions of the first real server end without an answer: its state then, and what was said. */
async function afterSilence(t: TestContext, health: object, ...others: RealServerDraft[]) {
  t.mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const plan = makePlan({ service: { realServers: [realServer(IP), ...others] } });
  const { services } = plan;
  const { common, servers } = allocateMemory(plan);
  const said: string[] = [];
  const log = pino({ base: null }, { write: (line) => void said.push(JSON.parse(line).msg) });
  const serverStates = new ServerStates(common, log);
  serverStates.update(services);
  const watch = new HealthWatch(serverStates, () => servers, log);
  const pass = (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      nowMs += 1000;
      t.mock.timers.tick(1000);
    }
  };
  try {
    const realServers = services[0].realServers.map(({ ip, port }) => ({ ip, port }));
    const service = sampleService({ realServers, health: { silent: 10, window: '2s', ...health } });
    watch.update(parse({ services: [service] }), services);
    pass(3);
    servers[serverRow(0) + SERVER_COUNTER.onewayEnded] += 10;
    pass(1);
    const { state } = serverStates.stateOf(0);
    servers[serverRow(0) + SERVER_COUNTER.onewayEnded] += 10;
    pass(20);
    return { state, said };
  } finally {
    await watch.stop();
  }
}

describe('a real server whose new sessions get no answer', () => {
  test('is down when another one takes them', async (t) => {
    const { state, said } = await afterSilence(t, UNDISTURBED, realServer(OTHER));
    assert.equal(state, 'down');
    assert.match(said[0], /10\.2\.0\.11:6000 of game is down: 10 sessions ended without an answer within 2s/);
  });

  test('is down when the fallback takes them', async (t) => {
    const { state } = await afterSilence(t, UNDISTURBED, realServer(OTHER, { isFallback: true }));
    assert.equal(state, 'down');
  });

  test('stays when it is the last one and has a check, which is said once', async (t) => {
    for (const others of [[], [realServer(OTHER, { weight: 0 })]]) {
      const { state, said } = await afterSilence(t, UNDISTURBED, ...others);
      t.mock.reset();
      t.mock.timers.reset();
      assert.equal(state, 'up');
      assert.equal(said.length, 1);
      assert.match(
        said[0],
        /of game stays up \(its check succeeds, and no other one takes new sessions\): 10 /,
      );
    }
  });

  test('is down when it is the last one and nothing but its traffic says how it is', async (t) => {
    const { state } = await afterSilence(t, {});
    assert.equal(state, 'down');
  });
});
