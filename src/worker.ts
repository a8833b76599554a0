// The datapath process, forked by workers.ts: maps the shared memory, joins packet I/O and datapath, and
// tells its parent how it fares. Wiring only. It dies with its parent.
import { randomBytes, randomInt } from 'node:crypto';
import { Datapath } from './datapath/datapath.ts';
import { type DatapathMemory, mapMemory, memoryBytes } from './datapath/memory.ts';
import type { Siblings } from './datapath/options.ts';
import { HopRows } from './fast/hop-rows.ts';
import { Hops } from './fast/hops.ts';
import { HotEntries } from './fast/hot-entries.ts';
import { HotRecords } from './fast/hot-records.ts';
import { HotSessions } from './fast/hot-sessions.ts';
import type { IoModes } from './io/io-mode.ts';
import { canWait, MODES, openPacketIo } from './io/modes.ts';
import type { IoOptions, PacketIo } from './io/packet-io.ts';
import { NextHops } from './route/next-hop.ts';
import { Paths } from './route/paths.ts';
import { HandOver } from './steer/hand-over.ts';
import { Owners, type SteeringSpec } from './steer/steering.ts';
import { IoError } from './sys/io-error.ts';
import { dieWithParent } from './sys/process.ts';
import { preferMainThread } from './sys/scheduling.ts';
import { mapSharedMemory } from './sys/shared-memory.ts';
import {
  type DealtWithByPort,
  type DrainStep,
  FAST_MAPS,
  type FastPart,
  FIRST_OUTBOX_FD,
  type FromWorker,
  firstIoFd,
  INBOX_FD,
  ioCells,
  MEMORY_FD,
  MESSAGES_FD,
  nowMs,
  type ReplanChange,
  type ToWorker,
  type WorkerReplan,
  type WorkerStart,
  withChange,
} from './worker-protocol.ts';

/** How often expiry and the kernel's loss counters are looked after. */
const TICK_MS = 100;

/** `modes` are the kinds of packet I/O that it can be told to open. */
export function runWorker(modes: IoModes = MODES): void {
  dieWithParent(Number(process.argv[2]));
  preferMainThread();
  let running: Running | undefined;
  let hasLeft = false;
  process.on('message', (message: ToWorker) => {
    if (message.kind === 'stop') {
      running?.stop();
      process.exit(0);
    }
    try {
      if (message.kind === 'hold' || message.kind === 'drain' || message.kind === 'leave') {
        const dealtWith = running?.stepAside(message) ?? [];
        hasLeft = message.kind === 'leave';
        tell({ kind: 'drained', request: message.request, dealtWith });
        if (hasLeft) process.disconnect();
      } else if (message.kind === 'start') {
        running = start(message, modes);
        if (message.isWaiting) tell({ kind: 'waiting' });
        else running.go();
      } else if (message.kind === 'adopt') {
        running?.adopt(message.dealtWith);
        tell({ kind: 'waiting' });
      } else if (message.kind === 'go') {
        running?.go();
      } else {
        running?.replan(message);
        tell({ kind: 'planned', request: message.request });
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      const request = message.kind === 'replan' ? message.request : undefined;
      tell({ kind: 'failed', message: error.message, hint: error.hint, request });
    }
  });
  process.on('disconnect', () => process.exit(hasLeft ? 0 : 1));
}

interface Running {
  replan(change: ReplanChange): void;
  adopt(dealtWith: DealtWithByPort): void;
  /** Receives from now on. Throws an IoError. */
  go(): void;
  stepAside(step: DrainStep): DealtWithByPort;
  stop(): void;
}

function start(message: WorkerStart, modes: IoModes): Running {
  const { plan, isWaiting = false } = message;
  let goesBy: WorkerReplan = message;
  const buffer = mapSharedMemory(MEMORY_FD, message.memoryBytes);
  const memories = mapAll(buffer, message);
  const self = plan.worker?.worker ?? 0;
  const memory = memories[self];
  const seed = new Int32Array(new Uint8Array(randomBytes(8)).buffer);
  const clock = new MonotonicClock();
  const hops = new NextHops({
    nowMs: clock.nowMs(),
    // All workers see the same routes.
    onIpLayer: self === 0 ? (text) => tell({ kind: 'warning', message: text }) : undefined,
  });
  const paths = new Paths(hops, plan.ports);
  let io: PacketIo;
  const handOver = openHandOver(message, memories);
  const hot = message.fast && openHot(message, message.fast, hops);
  const datapath = new Datapath(plan, memory, (frame, off, len) => io.send(frame, off, len), {
    seed: [seed[0], seed[1]],
    sendSuper: (frame, off, len, segmentLen) => io.sendSuper?.(frame, off, len, segmentLen) ?? 0,
    siblings: handOver?.siblings,
    routing: paths,
    onAnswered: (words, at, cport) => io.noteClient(words, at, cport),
    drawLport: (count) => randomInt(count),
    isWaiting,
    ...(hot && {
      events: hot,
      onForwarded: (base: number, isFromItsSide: boolean) => hot.note(base, isFromItsSide),
    }),
  });
  if (!isWaiting) hot?.follow(datapath.sessions, clock.nowMs());
  const others =
    handOver === undefined
      ? []
      : [
          {
            fd: handOver.inbox.fd,
            receive: (nowMs: number) =>
              handOver.inbox.receive((frame, off, end, portIndex, largestFragment) => {
                datapath.receiveHandedOver(frame, off, end, portIndex, largestFragment, nowMs);
              }),
          },
        ];
  const options: IoOptions = {
    ports: plan.ports,
    onPacket: (frame, off, end, portIndex, nowMs, isMerged, isVerified) => {
      datapath.receive(frame, off, end, portIndex, nowMs, isMerged, isVerified);
      return datapath.isAnswered;
    },
    superPackets: datapath.superPackets,
    lookAhead: datapath.lookAhead,
    counters: memory.io,
    onFailure: (text, final) => {
      tell({ kind: 'warning', message: text });
      if (final) setImmediate(() => process.exit(1));
    },
    onSettled: (wasSent) => datapath.settled(wasSent),
    nowMs: () => clock.nowMs(),
    hops,
    others,
    messagesFd: MESSAGES_FD,
    isWaiting,
  };
  const openIo = () => {
    io = openPacketIo(message.io, ioFds(message), options, modes);
  };
  const opensLater = isWaiting && !canWait(message.io, modes);
  if (!opensLater) openIo();
  let timer: NodeJS.Timeout | undefined;
  const tick = () => {
    hot?.tick(clock.nowMs()); // first: what it forwarded keeps sessions from expiring
    datapath.tick(clock.nowMs());
    io.flush?.();
    io.poll();
    memory.pulse[0]++;
  };
  const sendKept = () => {
    datapath.sendKept();
    io.flush?.();
  };
  const stop = () => {
    clearInterval(timer);
    sendKept();
    io.close();
    datapath.noteForNext();
  };
  return {
    adopt: (dealtWith) => {
      datapath.goOn();
      hot?.follow(datapath.sessions, clock.nowMs());
      if (!opensLater) io.leaveOut?.(dealtWith);
    },
    go: () => {
      if (opensLater) openIo();
      else if (isWaiting) io.begin?.();
      timer = setInterval(tick, TICK_MS);
      tell({ kind: 'ready' });
    },
    replan: (change) => {
      const before = goesBy.steering;
      goesBy = withChange(goesBy, change);
      const { steering } = goesBy;
      io.reconfigure(goesBy.io);
      if (steering !== undefined && steering !== before) handOver?.steer(steering);
      datapath.reconfigure(goesBy.plan);
    },
    stepAside: (step) => {
      if (step.kind === 'hold') hot?.hold(step.isHeld);
      else if (step.kind === 'drain') io.drain?.();
      else {
        sendKept();
        const dealtWith = io.leave?.(step.sinceUs) ?? [];
        stop();
        return dealtWith;
      }
      return [];
    },
    stop,
  };
}

/** What this worker has of the fast path. */
function openHot({ plan, ioFds }: WorkerStart, part: FastPart, nextHops: NextHops): HotSessions {
  const first = firstIoFd(plan.worker?.workers ?? 1) + ioFds;
  const fdOf = (name: (typeof FAST_MAPS)[number]) => first + FAST_MAPS.indexOf(name);
  const { sizes, firstSession, firstHop } = part;
  const records = new HotRecords({ hot: fdOf('hot'), hot6: fdOf('hot6') }, sizes);
  const entries = new HotEntries(records, {
    hot_buckets: fdOf('hot_buckets'),
    hashing: fdOf('hashing'),
  });
  const rows = new HopRows(nextHops, new Hops(fdOf('hops'), sizes.hops), firstHop, part.hops);
  return new HotSessions(records, entries, rows, plan.maxSessions, firstSession);
}

function ioFds({ plan, ioFds }: WorkerStart): number[] {
  const first = firstIoFd(plan.worker?.workers ?? 1);
  return Array.from({ length: ioFds }, (_, index) => first + index);
}

/** What each worker writes to, one after the other; this one's begins at `memoryOff`. */
function mapAll(buffer: ArrayBuffer, { plan, memoryOff }: WorkerStart): DatapathMemory[] {
  const cells = ioCells(plan.ports.length);
  const { worker, workers } = plan.worker ?? { worker: 0, workers: 1 };
  const bytes = memoryBytes(plan, cells);
  return Array.from({ length: workers }, (_, n) =>
    mapMemory(buffer, plan, cells, memoryOff + (n - worker) * bytes),
  );
}

/** The other workers, when there are any. */
function openHandOver(
  { plan, steering }: WorkerStart,
  memories: readonly DatapathMemory[],
): { inbox: HandOver; siblings: Siblings; steer(steering: SteeringSpec): void } | undefined {
  if (plan.worker === undefined || steering === undefined) return undefined;
  const self = plan.worker.worker;
  const sendFds = Array.from({ length: plan.worker.workers }, (_, worker) => FIRST_OUTBOX_FD + worker);
  const inbox = new HandOver(self, INBOX_FD, sendFds);
  let owners = new Owners(steering);
  const siblings: Siblings = {
    self,
    memories,
    ownerOf: (addresses, sport, dport) => owners.ownerOf(addresses, sport, dport),
    handOver: (worker, frame, off, end, portIndex, largestFragment) =>
      inbox.handOver(worker, frame, off, end, portIndex, largestFragment),
  };
  const steer = (other: SteeringSpec) => {
    owners = new Owners(other);
  };
  return { inbox, siblings, steer };
}

/** nowMs without a bigint per packet. */
class MonotonicClock {
  readonly #offsetMs = nowMs() - performance.now();

  nowMs(): number {
    return (performance.now() + this.#offsetMs) | 0;
  }
}

function tell(message: FromWorker): void {
  process.send?.(message);
}
