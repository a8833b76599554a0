// A program for tests: speaks at an admin socket as a process that takes over does, until its workers would
// forward, prints "begun", and says nothing more.
import { once } from 'node:events';
import { request } from 'node:http';
import { ownIdentity } from '../../src/control/process-identity.ts';
import {
  Conversation,
  type FromPredecessor,
  type FromSuccessor,
  PROTOCOL,
  TAKEOVER_PATH,
} from '../../src/control/takeover-protocol.ts';

const headers = { connection: 'Upgrade', upgrade: PROTOCOL };
const asked = request({ socketPath: process.argv[2], path: TAKEOVER_PATH, headers });
asked.end();
const [, socket, head] = (await once(asked, 'upgrade')) as [unknown, never, Buffer];
const conversation = new Conversation<FromPredecessor>(socket, head);
const answer = async () => (await conversation.hear())?.said.kind;
if ((await answer()) !== 'hello') process.exit(1);
for (const [message, expected] of [
  [{ kind: 'prepare', fastPath: { keeps: 'nothing', hasPins: false } }, 'prepared'],
  [{ kind: 'step aside' }, 'stepped aside'],
  [{ kind: 'begin', process: ownIdentity() }, 'begin'],
] as [FromSuccessor, string][]) {
  await conversation.say(message);
  if ((await answer()) !== expected) process.exit(1);
}
console.log('begun');
setInterval(() => {}, 60_000);
