// A program for tests: a datapath process that only talks. Starts when the file that its plan names is there,
// and answers a new plan by what that says: `late` at the next one only, and then with a refusal; `never` not
// at all. Notes in FILE.pid and FILE.pids that it starts, and does all at once for another process to go on.
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import type { FromWorker, ToWorker } from '../../src/worker-protocol.ts';

const tell = (message: FromWorker) => process.send!(message);
const kept: FromWorker[] = [];

process.on('message', (message: ToWorker) => {
  if (message.kind === 'stop') process.exit(0);
  if (message.kind === 'adopt') tell({ kind: 'waiting' });
  if (message.kind === 'go') tell({ kind: 'ready' });
  if (message.kind === 'hold' || message.kind === 'drain' || message.kind === 'leave')
    tell({ kind: 'drained', request: message.request, dealtWith: [] });
  if (message.kind !== 'start' && message.kind !== 'replan') return;
  const [does, file = ''] = message.io as unknown as string[]; // as the test passes them
  if (message.kind === 'start') {
    writeFileSync(`${file}.pid`, String(process.pid));
    appendFileSync(`${file}.pids`, `${process.pid}\n`);
    if (message.isWaiting) return tell({ kind: 'waiting' });
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
