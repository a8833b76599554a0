// The watch over real servers that answer only packets without UOA.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { watchUnansweredUoa } from '../../src/admin/unanswered-uoa.ts';
import { SERVER_COLUMNS, SERVER_COUNTER, serverRow } from '../../src/datapath/server-cells.ts';
import { startSample } from './sample.ts';

test('three sessions in a row that are answered only without UOA are said, once per real server', async (t) => {
  const { sources } = await startSample(t);
  t.mock.timers.enable({ apis: ['setInterval'] });
  const servers = new Float64Array(4 * SERVER_COLUMNS);
  const lines: string[] = [];
  const stop = watchUnansweredUoa(
    { services: () => sources.services(), servers, refresh: () => {} },
    (fields, message) => lines.push(`${fields.rs} ${message}`),
  );
  t.after(stop);
  const look = (answered: number, unanswered: number, index = 0) => {
    servers[serverRow(index) + SERVER_COUNTER.uoaAnswered] += answered;
    servers[serverRow(index) + SERVER_COUNTER.uoaUnanswered] += unanswered;
    t.mock.timers.tick(1_000);
    return lines.length;
  };
  assert.equal(look(0, 2), 0, 'what came before the first look counts, too');
  assert.equal(look(1, 2), 0, 'one came through');
  assert.equal(look(0, 2), 0);
  assert.equal(look(0, 1), 1);
  assert.match(
    lines[0]!,
    /^10\.2\.0\.11:6000 .*answers only packets without UOA.*ctl probe game 10\.2\.0\.11:6000/,
  );
  assert.equal(look(0, 9), 1);
  assert.equal(look(0, 3, 1), 2);
});
