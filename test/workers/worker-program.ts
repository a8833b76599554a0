// A program for tests: a datapath process that only talks. Starts when the file that its plan names is there,
// and answers a new plan by what that says: `late` at the next one only, and then with a refusal; `never` not
// at all.
import { existsSync, writeFileSync } from 'node:fs';
import type { FromWorker, ToWorker } from '../../src/worker-protocol.ts';

const tell = (message: FromWorker) => process.send!(message);
const kept: FromWorker[] = [];

process.on('message', (message: ToWorker) => {
  if (message.kind === 'stop') process.exit(0);
  if (message.kind !== 'start' && message.kind !== 'replan') return;
  const [does, file = ''] = message.io as unknown as string[]; // as the test passes them
  if (message.kind === 'start') {
    writeFileSync(`${file}.pid`, String(process.pid));
    const timer = setInterval(() => {
      if (!existsSync(file)) return;
      clearInterval(timer);
      tell({ kind: 'ready' });
    }, 10);
    return;
  }
  const { request } = message;
  if (does === 'late') kept.push({ kind: 'failed', message: 'too late', hint: 'x', request });
  else {
    for (const answer of kept.splice(0)) tell(answer);
    if (does !== 'never') tell({ kind: 'planned', request });
  }
});
process.on('disconnect', () => process.exit(1));
