// A program for tests: what a proxy is on its host, changed by the commands that it reads. Prints { done:
// true } or { done: what went wrong } for each, and { logged } for each line of the log.
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { HostSetup, type HostSetupSpec, type PreparedChange } from '../../src/control/host-setup.ts';

export type Command =
  | { prepare: HostSetupSpec }
  | { commit: HostSetupSpec }
  | 'commit'
  | 'rollBack'
  | 'end'
  | 'give up rights'
  | 'take rights';

const say = (line: unknown) => console.log(JSON.stringify(line));
const hostSetup = new HostSetup(pino({}, { write: (line) => say({ logged: JSON.parse(line).msg }) }), 'test');
let prepared: PreparedChange | undefined;

async function run(command: Command): Promise<void> {
  if (typeof command === 'object' && 'prepare' in command)
    prepared = await hostSetup.prepare(command.prepare);
  else if (typeof command === 'object') {
    // While addresses are being removed.
    const committed = prepared!.commit();
    say({ going: hostSetup.obsolete(command.commit).map(({ ip }) => ip) });
    await committed;
    say({ going: hostSetup.obsolete(command.commit).map(({ ip }) => ip) });
  } else if (command === 'commit') await prepared?.commit();
  else if (command === 'rollBack') await prepared?.rollBack();
  else if (command === 'end') await hostSetup.end();
  else process.seteuid!(command === 'give up rights' ? 'nobody' : 'root');
}

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  await run(JSON.parse(line)).then(
    () => say({ done: true }),
    (error: Error) => say({ done: error.message }),
  );
}
process.exit(0);
