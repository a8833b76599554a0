// The process behind memory.ts: opens sessions of distinct clients in a datapath and reports by how much it
// grew. Needs --expose-gc.

import { SESSION_WORDS } from '../src/session/session.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { SessionLoad } from './session-load.ts';

export interface MemoryFigures {
  /** Growth in bytes: of the resident set, and what is known to be part of it. */
  rss: number;
  records: number;
  arrays: number;
  heap: number;
}

const LOAD = { withAnswers: false, payloadLen: 64, maxTrials: 3, idleRefreshMs: 120_000 };
/** Opened and forgotten first, so that compiled code and the heap's reserve are not taken for sessions. */
const WARM_UP = { loads: 20, sessions: 2000 };

dieWithParent();
const { sessions } = JSON.parse(process.argv.at(-1) ?? '{}') as { sessions: number };
warmUp();
const before = usage();
const load = new SessionLoad({ ...LOAD, sessions });
load.openAll();
const after = usage();
if (load.datapath.sessionCount !== sessions)
  throw new Error(`${load.datapath.sessionCount} sessions are open`);
const figures: MemoryFigures = {
  rss: after.rss - before.rss,
  records: sessions * SESSION_WORDS * Int32Array.BYTES_PER_ELEMENT,
  arrays: after.arrayBuffers - before.arrayBuffers,
  heap: after.heapUsed - before.heapUsed,
};
process.send?.(figures);

function warmUp(): void {
  for (let n = 0; n < WARM_UP.loads; n++) new SessionLoad({ ...LOAD, sessions: WARM_UP.sessions }).openAll();
}

function usage(): NodeJS.MemoryUsage {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error('needs node --expose-gc');
  gc();
  gc();
  return process.memoryUsage();
}
