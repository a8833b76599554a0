// Datapaths that count clients in the same memory at the same time.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { createSharedMemory } from '../../src/sys/shared-memory.ts';
import { TYPESCRIPT } from '../suite/programs.ts';
import { planOf, tableOf, Worker } from './admission-rig.ts';

const ENTRIES = 16; // fewer than clients, so that they take the place of each other
const LIMIT = 7;
const ROUNDS = 300_000;

test('of sessions that two processes opened and ended at once none stays counted', async (t) => {
  const byteLength = tableOf(ENTRIES).byteLength;
  const { fd, buffer } = createSharedMemory('clients', byteLength);
  const plan = planOf({ sessionsPerClient: LIMIT, newSessionsPerClient: 1_000_000 });
  const program = fileURLToPath(new URL('./admission-program.ts', import.meta.url));
  const codes = [0, 1].map(async (number) => {
    const argv = [...TYPESCRIPT, program, byteLength, number, ROUNDS, JSON.stringify(plan)].map(String);
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit', fd] });
    t.after(() => child.kill('SIGKILL'));
    return ((await once(child, 'exit')) as [number])[0];
  });
  assert.deepEqual(await Promise.all(codes), [0, 0]);
  const worker = new Worker([plan], new Int32Array(buffer));
  for (let n = 0; n < 23; n++) {
    const client = `192.0.2.${n}`;
    const opened = Array.from({ length: LIMIT }, () => worker.open(client));
    for (const base of opened)
      assert.equal(typeof base, 'number', `${client} has sessions that there are not`);
    assert.equal(worker.open(client), 'drop:client_session_limit');
    for (const base of opened) worker.end(base);
  }
});
