// What is said when something is used up, and how often.
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { type ExhaustionSources, watchExhaustion } from '../../src/admin/exhaustion.ts';
import { COUNTER, counterCells, counterRow, dropColumn } from '../../src/datapath/counters.ts';
import { DROP } from '../../src/datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS } from '../../src/io/packet-io.ts';

function start() {
  const counters = new Float64Array(counterCells(3));
  const io = new Float64Array(5 * IO_COUNTERS.length);
  const legsInUse = new Float64Array(12);
  const plan = {
    lports: { first: 1, last: 100 },
    onewayMs: 30_000,
    normalMs: 300_000,
    realServers: [] as object[],
  };
  const services = [
    { ...plan, name: 'game', index: 2 },
    { ...plan, name: 'chat', index: 0 },
  ];
  const sources = {
    config: () => ({ sessions: { lportReserve: 10 } }),
    services: () => [...services], // as after each reload
    counters,
    legsInUse,
    io,
    ports: [{ name: 'wan0' }, { name: 'lan0' }],
    refresh: () => {},
  } as unknown as ExhaustionSources;
  const lines: string[] = [];
  let nowMs = 5_000_000;
  mock.timers.enable({ apis: ['setInterval'] });
  const stop = watchExhaustion(
    sources,
    ({ count, service }, text) => lines.push(`${service ?? '-'} ${count} ${text}`),
    () => nowMs,
  );
  const pass = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1000) {
      nowMs += 1000;
      mock.timers.tick(1000);
    }
    return lines.splice(0);
  };
  const end = () => {
    stop();
    mock.timers.reset();
  };
  return { counters, io, legsInUse, plan, services, pass, end };
}

test('each thing is said after a second, then at most once a minute, with what came together', () => {
  const { counters, pass, end } = start();
  const cell = counterRow(2) + dropColumn(DROP.lports_exhausted);
  assert.deepEqual(pass(3000), []);
  counters[cell] = 1;
  assert.deepEqual(pass(1000), []);
  counters[cell] = 7;
  assert.deepEqual(pass(1000), [
    'game 7 service game: no lport is free: shorten timeouts, or give it more lips',
  ]);
  for (let second = 0; second < 59; second++) {
    counters[cell] += 10;
    assert.deepEqual(pass(1000), []);
  }
  counters[cell] += 10;
  assert.deepEqual(pass(1000), [
    'game 600 service game: no lport is free: shorten timeouts, or give it more lips',
  ]);
  assert.deepEqual(pass(120_000), [], 'nothing more is used up');
  counters[cell]++;
  assert.deepEqual(pass(1000), [], 'gathered again after a pause');
  assert.deepEqual(pass(1000), [
    'game 1 service game: no lport is free: shorten timeouts, or give it more lips',
  ]);
  end();
});

test('evictions, limits and losses are said of whom they concern', () => {
  const { counters, io, pass, end } = start();
  counters[counterRow(0) + COUNTER.sessionsEvicted] = 3;
  counters[counterRow(2) + COUNTER.sessionsEvicted] = 2; // all of them at a leg
  counters[counterRow(2) + COUNTER.sessionsDisplaced] = 2;
  counters[counterRow(2) + dropColumn(DROP.new_session_limit)] = 4;
  counters[counterRow(-1) + dropColumn(DROP.handover_failed)] = 5;
  io[IO_COUNTERS.length + IO_COLUMN.lostKernel] = 6;
  assert.deepEqual(pass(2000), [
    'game 4 service game: limits.newSessions is reached',
    'game 2 service game: no lport is free: new sessions get those of sessions that wait for an answer. A flood, or shorten timeouts, or give it more lips',
    'chat 3 service chat: the session table is full: sessions end early (sessions.max, sessions.onewayShare)',
    '- 5 a datapath process does not keep up with what others pass on to it',
    '- 6 interface lan0: packets come faster than they are processed',
  ]);
  end();
});

test('what was counted before is no news, and a number that starts again at 0 is followed', () => {
  const { counters, plan, services, pass, end } = start();
  const cell = counterRow(1) + dropColumn(DROP.session_limit);
  counters[cell] = 100;
  services.push({ ...plan, name: 'later', index: 1 });
  assert.deepEqual(pass(1000), [], 'a service that is new here');
  counters[cell] = 0;
  assert.deepEqual(pass(1000), []);
  counters[cell] = 2;
  assert.deepEqual(pass(2000), ['later 2 service later: limits.sessions is reached']);
  end();
});

test('the legs that have no lports left are named, the fullest first, and not more than a line holds', () => {
  const { counters, legsInUse, services, pass, end } = start();
  const cell = counterRow(2) + dropColumn(DROP.lports_exhausted);
  const server = (ip: string, ...legs: number[]) => ({
    ip,
    port: 6000,
    legs: legs.map((index) => ({ index, lip: `10.2.0.20${index}` })),
  });
  services[0].realServers = [server('10.2.0.11', 0, 1), server('fd00:2::12', 2, 3)];
  legsInUse.set([89, 95, 100, 2]);
  counters[cell] = 5;
  const ofDrops = (ms: number) => pass(ms).filter((line) => !line.includes('few lports are left'));
  assert.deepEqual(ofDrops(2000), [
    'game 5 service game: no lport is free: shorten timeouts, or give it more lips' +
      ' (10.2.0.202 to [fd00:2::12]:6000 uses 100 of 100, 10.2.0.201 to 10.2.0.11:6000 uses 95 of 100)',
  ]);
  services[0].realServers = [server('10.2.0.11', 0, 1, 2, 3, 4, 5)];
  legsInUse.fill(100);
  counters[cell]++;
  assert.match(ofDrops(60_000).join(), /to 10\.2\.0\.11:6000 uses 100 of 100, 2 more\)$/);
  end();
});

test('a service that is gone is forgotten: one that takes its name begins anew', () => {
  const { counters, services, pass, end } = start();
  const cell = counterRow(2) + dropColumn(DROP.session_limit);
  counters[cell] = 1;
  assert.deepEqual(pass(1000), []);
  const [game] = services.splice(0, 1);
  assert.deepEqual(pass(1000), []);
  counters[cell] = 50;
  services.push(game);
  assert.deepEqual(pass(3000), []);
  counters[cell] = 51;
  assert.deepEqual(pass(2000), ['game 1 service game: limits.sessions is reached']);
  end();
});

test('that few lports are left is said before there are none, of each LIP and real server once in an hour', () => {
  const { legsInUse, plan, services, pass, end } = start();
  const server = (ip: string, ...legs: number[]) => ({
    ip,
    port: 6000,
    legs: legs.map((index) => ({ index, lip: `10.2.0.20${index}` })),
  });
  services[0].realServers = [server('10.2.0.11', 0, 1)];
  services[1].realServers = [server('10.2.0.12', 2)];
  // Shares the lports of the first leg.
  services.push({ ...plan, name: 'other', index: 1, realServers: [{ ...server('10.2.0.11', 3) }] });
  Object.assign((services[2].realServers[0] as { legs: object[] }).legs[0], { lip: '10.2.0.200' });
  legsInUse.set([40, 71, 71, 31]);
  assert.deepEqual(pass(2000), [], '71 of the 90 that new clients get');
  legsInUse.set([41, 71, 71, 31]);
  const line = (names: string) =>
    `service game: few lports are left for new clients (${names}): ` +
    'shorten timeouts (oneway 30s, normal 5m), or give it more lips';
  assert.deepEqual(pass(1000), [`game 1 ${line('10.2.0.200 to 10.2.0.11:6000 uses 72 of 100')}`]);
  legsInUse.set([41, 80, 71, 31]);
  assert.deepEqual(pass(59_000), [], 'of another leg of the service not before a minute');
  assert.deepEqual(pass(1000), [`game 1 ${line('10.2.0.201 to 10.2.0.11:6000 uses 80 of 100')}`]);
  legsInUse.set([0, 0, 71, 0]);
  pass(10_000);
  legsInUse.set([45, 80, 71, 31]);
  assert.deepEqual(pass(3_500_000), []);
  assert.deepEqual(pass(120_000), [
    `game 1 ${line('10.2.0.200 to 10.2.0.11:6000 uses 76 of 100')}`,
    `game 1 ${line('10.2.0.201 to 10.2.0.11:6000 uses 80 of 100')}`,
  ]);
  end();
});
