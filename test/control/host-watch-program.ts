// A program for tests: a watch of its host whose looks end when it reads 'go on'. Prints { asFollowed } for
// each 'ask' that it reads.
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { HostWatch } from '../../src/control/host-watch.ts';

const say = (line: unknown) => console.log(JSON.stringify(line));
let goOn: () => void = () => {};
const follow = async () => {
  await new Promise<void>((resolve) => {
    goOn = resolve;
    say({ looking: true });
  });
  return { changes: [], trouble: '' };
};
const watch = new HostWatch(follow, pino({ enabled: false }));
watch.start();
for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line) === 'go on') goOn();
  else say({ asFollowed: watch.isAsFollowed() });
}
watch.stop();
