// What the traffic of a real server says about it, over reloads of its health settings.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { HealthWatch } from '../../src/control/health-watch.ts';
import { ServerBoard } from '../../src/control/server-board.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { parse, sampleService } from '../config/sample.ts';
import { makePlan, realServer } from '../datapath/rig.ts';

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
  const board = new ServerBoard(common, log);
  board.update(plan.services);
  const watch = new HealthWatch(board, () => servers, log);
  const fiveErrors = () => {
    t.mock.timers.tick(1000);
    servers[serverRow(0) + SERVER_COUNTER.unreachable]! += 5;
    t.mock.timers.tick(1000);
  };
  try {
    watch.update(configOf(before), plan.services);
    fiveErrors();
    assert.equal(board.stateOf(0).state, 'up');
    watch.update(configOf(after), plan.services);
    fiveErrors();
    return board.stateOf(0).state;
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
