// A program for tests: both halves of a mode of packet I/O in one process of a namespace, for UDP to ports of
// 10.1.0.1 on wan0. Prints { ready: mode }; obeys lines of input: a list of ports is prepared as what is to
// come in, 'commit' and 'undo' end that; each is answered by { done }. 'report' is answered by { report }:
// how many datagrams came in, by worker and port.
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { inspectHost } from '../../src/host/host.ts';
import type { CaptureSpec, IoChange } from '../../src/io/io-mode.ts';
import { openIoHost, openPacketIo, type WantedMode } from '../../src/io/modes.ts';
import { IO_COUNTERS, ioRows, type PacketIo } from '../../src/io/packet-io.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { randomSteeringKey } from '../../src/steer/steering.ts';
import type { Frame } from '../../src/wire/frame.ts';

export interface ModesSpec {
  mode: WantedMode;
  workers: number;
  ports: readonly number[];
}
export type Report = Record<number, number>[];

const VIP = '10.1.0.1';
const LIP = '10.2.0.1';
const UDP_DPORT_OFF = 20 + 2;

const spec = JSON.parse(process.argv[2]) as ModesSpec;
const { ports } = await inspectHost({
  wan: 'wan0',
  lan: 'lan0',
  services: [{ vips: [VIP], lips: [LIP], rips: ['10.2.0.2'] }],
});
const nowMs = () => performance.now() | 0;

const captureOf = (vports: readonly number[]): CaptureSpec => ({
  ports,
  services: vports.length,
  vips: vports.map((port) => ({ ip: VIP, port })),
  lips: [{ ip: LIP, first: 20_000, last: 20_100 }],
});

const host = openIoHost(spec.mode, {
  capture: captureOf(spec.ports),
  workers: spec.workers,
  steeringKey: randomSteeringKey(),
  bufferSize: 4 << 20,
  busyPoll: false,
  maxSessions: 1000,
  log: pino({ enabled: false }),
});
host.start();
const report: Report = Array.from({ length: host.workers }, () => ({}));
const ios = report.map(
  (came, worker): PacketIo =>
    openPacketIo(host.describe(worker), host.fds(worker), {
      ports,
      onPacket: (frame, off) => {
        count(came, frame, off);
        return false;
      },
      counters: new Float64Array(ioRows(ports.length) * IO_COUNTERS.length),
      onFailure: () => {},
      onSettled: () => {},
      nowMs,
      hops: new NextHops({ nowMs: nowMs() }),
      others: [],
      messagesFd: -1,
    }),
);

/** By port, ICMP left out. */
function count(came: Record<number, number>, { view }: Frame, off: number): void {
  if (view.getUint8(off + 9) !== 17) return;
  const port = view.getUint16(off + UDP_DPORT_OFF);
  came[port] = (came[port] ?? 0) + 1;
}

let change: IoChange | undefined;
const reconfigure = (from: Pick<IoChange, 'describe'>) => {
  for (const [worker, io] of ios.entries()) io.reconfigure(from.describe(worker));
};
function obey(command: readonly number[] | 'commit' | 'undo'): void {
  if (command === 'commit') change!.commit();
  else if (command === 'undo') {
    change!.undo();
    reconfigure(host);
  } else {
    change = host.prepare(captureOf(command));
    reconfigure(change);
  }
}

console.log(JSON.stringify({ ready: host.mode }));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as readonly number[] | 'commit' | 'undo' | 'report';
  if (command === 'report') console.log(JSON.stringify({ report }));
  else {
    obey(command);
    console.log(JSON.stringify({ done: true }));
  }
}
for (const io of ios) io.close();
host.close();
process.exit(0);
