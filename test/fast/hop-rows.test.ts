// Rows of next hops: a neighbor has its own as long as a hot session goes by it, and the last one that nobody
// uses is not kept from the next neighbor.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cleanup, startProgram } from '../io/namespaces.ts';
import { addNeighbor, routedHost } from '../route/next-hop.ts';

type Step = string | null | [row: number, more: number] | [row: number, address: string];

/** The row of each address that is asked for, and which host it leads to, with three rows from 1 on. */
async function rowsOf(t: Cleanup, ...steps: Step[]): Promise<[row: number, host: number][]> {
  const { ns } = routedHost(t, 1);
  for (let host = 2; host < 10; host++) addNeighbor(ns, 1, host);
  return await startProgram(t, ns, 'fast/hop-rows-program.ts', { count: 3, steps }).next('rows');
}
const host = (n: number) => `10.1.0.${n}`;

test('a neighbor keeps its row, and what nobody uses is given to the next', async (t) => {
  const rows = await rowsOf(t, host(2), [1, 1], host(3), host(4), [3, 1], host(5), host(2), host(4));
  assert.deepEqual(rows, [
    [1, 2],
    [2, 3],
    [3, 4],
    [2, 5],
    [1, 2],
    [3, 4],
  ]);
});

test('where all are used there is none, until one is not', async (t) => {
  const used: Step[] = [
    [1, 1],
    [2, 2],
    [3, 1],
  ];
  const rows = await rowsOf(
    t,
    host(2),
    host(3),
    host(4),
    ...used,
    host(5),
    [2, -1],
    host(5),
    [2, -1],
    host(5),
  );
  assert.deepEqual(rows.slice(3), [
    [-1, -1],
    [-1, -1],
    [2, 5],
  ]);
});

test('the row that was given out last is not the next one: it is about to be used', async (t) => {
  const rows = await rowsOf(t, host(2), host(3), host(4), [1, 1], [2, 1], host(5), host(2), host(5));
  assert.deepEqual(rows.slice(3), [
    [-1, -1],
    [1, 2],
    [3, 5],
  ]);
});

test('the next process goes on with a row for whom it leads to, and makes it lead to nobody else', async (t) => {
  const moved: Step = [1, host(4)]; // its route was another one when the row was made
  const rows = await rowsOf(t, host(2), host(3), null, moved, [1, host(2)], moved, [2, host(2)], host(4));
  assert.deepEqual(rows.slice(2), [
    [-1, 2],
    [1, 2],
    [-1, 2],
    [-1, 3],
    [2, 4],
  ]);
});
