// The process behind datapath.ts: drives packets of each walk through a datapath with a given number of
// sessions. Sessions come in an order that no cache foresees; what stamping the packets costs is measured by
// itself and subtracted.

import { DROP, VERDICT } from '../src/datapath/verdict.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { LAN, SessionLoad, strideOf, WAN } from './session-load.ts';

export interface DatapathInput {
  sessions: number;
  payloadLen: number;
  rounds: number;
  /** Of a round. */
  packets: number;
}

export interface WalkFigures {
  name: string;
  nanoseconds: number;
  /** Garbage per packet; undefined when the collector ran meanwhile, so that it cannot be told. */
  bytes: number | undefined;
}

interface Walk {
  name: string;
  load: SessionLoad;
  port: number;
  verdict: number;
  /** Stamps the n-th packet; `session` is the one whose turn it is. */
  stamp: (session: number, n: number) => void;
}

dieWithParent();
const input = JSON.parse(process.argv.at(-1) ?? '{}') as DatapathInput;
process.send?.(measure(input));

function measure({ sessions, payloadLen, rounds, packets }: DatapathInput): WalkFigures[] {
  const settled = new SessionLoad({
    sessions,
    withAnswers: true,
    payloadLen,
    maxTrials: 1,
    idleRefreshMs: 0,
  });
  settled.openAll();
  // An idle gap of 1 ms begins a new round of trials: a UOA is due in each packet of a session.
  const due = new SessionLoad({ sessions, withAnswers: false, payloadLen, maxTrials: 1, idleRefreshMs: 1 });
  due.openAll();
  let newcomers = sessions;
  const walks: Walk[] = [
    {
      name: 'established inbound',
      load: settled,
      port: WAN,
      verdict: VERDICT.forward,
      stamp: (session) => settled.stampInbound(session),
    },
    {
      name: 'outbound',
      load: settled,
      port: LAN,
      verdict: VERDICT.forward,
      stamp: (session) => settled.stampOutbound(session),
    },
    {
      name: 'echo ACK',
      load: settled,
      port: LAN,
      verdict: VERDICT.consumed,
      stamp: (session) => settled.stampEchoAck(session),
    },
    {
      name: 'drop no_session',
      load: settled,
      port: LAN,
      verdict: DROP.no_session,
      stamp: (_, n) => settled.stampStray(n),
    },
    {
      name: 'UOA inserted',
      load: due,
      port: WAN,
      verdict: VERDICT.forward,
      stamp: (session) => due.stampInbound(session),
    },
    {
      name: 'first packet, table full: evicts',
      load: due,
      port: WAN,
      verdict: VERDICT.forward,
      stamp: () => due.stampInbound(newcomers++),
    },
  ];
  return walks.map((walk) => measureWalk(walk, rounds, packets));
}

function measureWalk(walk: Walk, rounds: number, packets: number): WalkFigures {
  const times: number[] = [];
  stampOnly(walk, packets);
  drive(walk, packets);
  for (let round = 0; round < rounds; round++) {
    const stamping = timed(() => stampOnly(walk, packets));
    const all = timed(() => drive(walk, packets));
    times.push((all - stamping) / packets);
  }
  times.sort((a, b) => a - b);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  drive(walk, packets);
  const bytes = (process.memoryUsage().heapUsed - before) / packets;
  return {
    name: walk.name,
    nanoseconds: times[times.length >> 1],
    bytes: bytes < -0.5 ? undefined : Math.max(0, bytes),
  };
}

function drive(walk: Walk, packets: number): void {
  const { load, stamp, port, verdict } = walk;
  const stride = strideOf(load.sessions);
  let session = 0;
  for (let n = 0; n < packets; n++) {
    stamp(session, n);
    load.passTime();
    if (load.receive(port) !== verdict) throw new Error(`${walk.name}: packet ${n} had another verdict`);
    session += stride;
    if (session >= load.sessions) session -= load.sessions;
  }
}

function stampOnly(walk: Walk, packets: number): void {
  const { load, stamp } = walk;
  const stride = strideOf(load.sessions);
  let session = 0;
  for (let n = 0; n < packets; n++) {
    stamp(session, n);
    session += stride;
    if (session >= load.sessions) session -= load.sessions;
  }
}

function timed(what: () => void): number {
  const start = process.hrtime.bigint();
  what();
  return Number(process.hrtime.bigint() - start);
}
