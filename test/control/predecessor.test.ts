// What a process that takes over hears from the proxy before, at a socket as the admin server's.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Predecessor } from '../../src/control/predecessor.ts';
import {
  Conversation,
  type FromSuccessor,
  type Hello,
  STEP_MS,
} from '../../src/control/takeover-protocol.ts';

const HELLO: Hello = {
  kind: 'hello',
  version: '',
  pid: 1,
  workers: 1,
  steeringKey: [],
  isSteered: true,
  fastPath: { kind: 'off', wanted: 'off', why: '', pins: undefined, layout: 0 },
  guard: '',
  admin: { host: '', port: 0 },
  stateLock: '',
  refusal: '',
};

/** Both sides of a conversation that has begun. */
async function begun(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'predecessor-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'socket');
  const server = createServer().listen(path);
  t.after(() => server.close());
  const old = new Promise<Conversation<FromSuccessor>>((resolve) => {
    server.on('upgrade', (_, socket, head) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
      const conversation = new Conversation<FromSuccessor>(socket, head);
      t.after(() => conversation.close());
      void conversation.say(HELLO).then(() => resolve(conversation));
    });
  });
  const predecessor = (await Predecessor.find([path]))!;
  const conversation = await old;
  await conversation.say({ kind: 'stepped aside', dealtWith: {}, down: [] });
  await predecessor.stepAside();
  await conversation.say({ kind: 'begin' });
  await predecessor.begin();
  for (const kind of ['step aside', 'begin']) assert.equal((await conversation.hear())?.said.kind, kind);
  return { predecessor, conversation };
}

for (const isAlive of [true, false])
  test(`a proxy that stands still when it is to end is waited for, until it ${isAlive ? 'goes on' : 'is gone'}`, async (t) => {
    const { predecessor, conversation } = await begun(t);
    t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
    let said = 0;
    const ended = predecessor.end(() => said++);
    assert.equal((await conversation.hear())?.said.kind, 'done');
    const added = [{ ip: '192.0.2.1', interface: 'lan', prefix: 32 }] as never;
    for (const [at, kind] of (['ending', 'gone'] as const).entries()) {
      t.mock.timers.tick(STEP_MS);
      for (let turn = 0; turn < 5; turn++) await nextTurn();
      assert.equal(said, at + 1);
      if (!isAlive) break;
      await conversation.say({ kind, added } as never);
      for (let turn = 0; turn < 50; turn++) await nextTurn();
    }
    if (!isAlive) conversation.close();
    assert.deepEqual(await ended, isAlive ? added : []);
  });
