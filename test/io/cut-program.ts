// A program for tests, in a namespace with the interface wan0: rings of two processes for the same packets,
// of two workers before and of one after. For { came: n } it says when so many came in, for { drain: worker }
// what a worker before has taken in by now, for { cut: true } what is left to the one after.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { joined } from '../../src/io/dealt-with.ts';
import { IO_COLUMN, IO_COUNTERS, type IoOptions, ioRows, SIDE } from '../../src/io/packet-io.ts';
import { openRingIo } from '../../src/io/ring.ts';
import { openSteeredRings } from '../../src/io/ring-sockets.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { openKernelSteering } from '../../src/steer/kernel-steering.ts';
import { knownSpec } from '../../src/steer/known-sources.ts';
import { randomSteeringKey } from '../../src/steer/steering.ts';
import { packetStatistics } from '../../src/sys/packet-socket.ts';

const { lip } = JSON.parse(process.argv[2]!) as { lip: string };
const lips = [{ ip: lip, first: 1024, last: 65535 }];
const ports = [{ name: 'wan0', side: SIDE.both, mtu: 1500, mac: '', loopback: false }];
/** Behind the headers of IPv4 and UDP. */
const UDP_PAYLOAD = 28;

/** Each worker's packet I/O, what came in by it, and its counters. */
function openAll(workers: number) {
  const { programs, change } = openKernelSteering(
    ports.length,
    workers,
    randomSteeringKey(),
    knownSpec(1024),
  );
  change({ vips: [], lips });
  const rings = openSteeredRings({ ports, bufferSize: 1 << 22, workers, programs });
  const all = rings.sockets.map((sockets) => {
    const taken: string[] = [];
    const counters = new Float64Array(ioRows(ports.length) * IO_COUNTERS.length);
    const options: IoOptions = {
      ports,
      onPacket: ({ bytes }, off, end) => {
        taken.push(Buffer.from(bytes.subarray(off + UDP_PAYLOAD, end)).toString());
        return false;
      },
      counters,
      onFailure: () => {},
      onSettled: () => {},
      nowMs: () => performance.now() | 0,
      hops: new NextHops({ nowMs: 0 }),
      others: [],
      messagesFd: -1,
      isWaiting: true,
    };
    const io = openRingIo({ ...options, known: undefined, busyPoll: false, filters: undefined }, sockets);
    return { io, taken, counters, sockets };
  });
  return { rings, all };
}

const before = openAll(2);
const after = openAll(1);
after.rings.stamp(true);
await sleep(500); // until the kernel does
before.rings.start();
after.rings.start();
const sinceUs = (Date.now() - 1000) * 1000;

console.log(JSON.stringify({ ready: true }));

async function untilCame(count: number): Promise<void> {
  let came = 0;
  while (came < count) {
    for (const { fd } of after.all[0]!.sockets) came += packetStatistics(fd).packets;
    await sleep(5);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { drain, cut, came } = JSON.parse(line) as { drain?: number; cut?: boolean; came?: number };
  if (came !== undefined) {
    await untilCame(came);
    console.log(JSON.stringify({ came }));
  }
  if (drain !== undefined) {
    const { io, taken } = before.all[drain]!;
    io.drain!();
    console.log(JSON.stringify({ drained: taken }));
  }
  if (cut) {
    const byWorker = before.all.map(({ io }) => io.leave!(sinceUs));
    const [{ io, taken, counters }] = after.all as [(typeof after.all)[0]];
    io.leaveOut!(ports.map((_, port) => joined(byWorker.map((ofPorts) => ofPorts[port]!))));
    io.drain!();
    console.log(JSON.stringify({ went: { taken, foreign: counters[IO_COLUMN.foreign] } }));
  }
}
process.exit(0);
