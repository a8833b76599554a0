// A third mode of packet I/O, a queue, in this file only: the control plane's half and the worker's, put to
// work by the code that knows no mode. Datagrams take the queue to datapath processes and back, through a
// change of what is let in, and through the end of a process.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { captureOf, draftServices, spaciousCapacity, workerReplans } from '../../src/control/planning.ts';
import { ServerStates } from '../../src/control/server-states.ts';
import { makeWorkerSpecs } from '../../src/control/worker-specs.ts';
import { type CaptureSpec, capturedByBoth, type IoHost, type IoMode } from '../../src/io/io-mode.ts';
import { openIoHost, workersMax } from '../../src/io/modes.ts';
import { type IoOptions, type PacketIo, SIDE, type StartOf } from '../../src/io/packet-io.ts';
import { numberServices } from '../../src/service/numbering.ts';
import { HandOver } from '../../src/steer/hand-over.ts';
import { Owners, steeringSpec } from '../../src/steer/steering.ts';
import { IoError } from '../../src/sys/io-error.ts';
import { closeSocketPair, openSocketPair } from '../../src/sys/socket-pair.ts';
import { ADDRESS_WORDS, parseAddressInto } from '../../src/wire/address.ts';
import { Frame } from '../../src/wire/frame.ts';
import { runWorker } from '../../src/worker.ts';
import { Workers } from '../../src/workers.ts';
import { parse, sampleService } from '../config/sample.ts';
import { udp4 } from '../packets/builder.ts';
import { dissect } from '../packets/dissect.ts';

interface QueueStart {
  mode: 'queue';
  /** How often the worker looks for packets. */
  everyMs: number;
}

declare module '../../src/io/packet-io.ts' {
  interface IoStarts {
    queue: QueueStart;
  }
}

/** What the outside has of a queue: it brings packets, and takes those that were sent. */
interface Queue extends IoHost<QueueStart> {
  /** False: it is not let in. */
  bring(packet: Uint8Array, port: number): boolean;
  take(): Uint8Array[];
}

/** Of each queue that was opened. */
const opened: Queue[] = [];

const queueMode: IoMode<QueueStart> = {
  name: 'queue',
  workersMax: 2,
  lacks: () => undefined,
  refusalOf: () => undefined,
  openHost({ capture, workers, steeringKey }) {
    const pairs = Array.from({ length: workers }, () => ({
      in: openSocketPair(1 << 20),
      out: openSocketPair(1 << 20),
    }));
    const ends = pairs.map((pair) => new HandOver(0, pair.out.receiveFd, [pair.in.sendFd]));
    const start: QueueStart = { mode: 'queue', everyMs: 5 };
    let isStarted = false;
    let [atWork, letsIn] = [capture, capture];
    const workerOf = (addresses: Int32Array, sport: number, dport: number) => {
      const spec = steeringSpec(letsIn, workers, steeringKey);
      return spec === undefined ? 0 : new Owners(spec).ownerOf(addresses, sport, dport);
    };
    const queue: Queue = {
      mode: 'queue',
      workers,
      isSteered: false,
      describe: () => start,
      fds: (worker) => [pairs[worker].in.receiveFd, pairs[worker].out.sendFd],
      start: () => {
        isStarted = true;
      },
      prepare: (next) => {
        letsIn = capturedByBoth(atWork, next);
        return {
          describe: () => start,
          commit: () => {
            letsIn = atWork = next;
          },
          undo: () => {
            letsIn = atWork;
          },
        };
      },
      close: () => {
        for (const pair of pairs) for (const one of [pair.in, pair.out]) closeSocketPair(one);
      },
      bring: (packet, port) => {
        const { src, dst, sport, dport } = dissect(packet);
        if (!isStarted || !isTakenIn(letsIn, dst, dport)) return false;
        const words = new Int32Array(2 * ADDRESS_WORDS);
        parseAddressInto(words, 0, src);
        parseAddressInto(words, ADDRESS_WORDS, dst);
        const frame = new Frame(packet);
        return ends[workerOf(words, sport, dport)].handOver(0, frame, 0, packet.length, port, 0);
      },
      take: () => {
        const packets: Uint8Array[] = [];
        for (const end of ends)
          end.receive((frame, off, to) => packets.push(Uint8Array.from(frame.bytes.subarray(off, to))));
        return packets;
      },
    };
    opened.push(queue);
    return queue;
  },
  open: ({ everyMs }, fds, options) => new QueueIo(everyMs, fds, options),
};

const MODES = { queue: queueMode };

const isTakenIn = ({ vips, lips }: CaptureSpec, dst: string, dport: number): boolean =>
  vips.some(({ ip, port }) => ip === dst && port === dport) ||
  lips.some(({ ip, first, last }) => ip === dst && first <= dport && dport <= last);

class QueueIo implements PacketIo {
  readonly #queue: HandOver;
  readonly #options: IoOptions;
  readonly #timer: NodeJS.Timeout;

  constructor(everyMs: number, [inFd, outFd]: readonly number[], options: IoOptions) {
    this.#queue = new HandOver(0, inFd, [outFd]);
    this.#options = options;
    this.#timer = setInterval(() => this.#receive(), everyMs);
  }

  send(frame: Frame, off: number, len: number): boolean {
    return this.#queue.handOver(0, frame, off, off + len, 0, 0);
  }

  poll(): void {
    this.#options.hops.update(this.#options.nowMs());
  }

  noteClient(): void {}

  reconfigure(): void {}

  close(): void {
    clearInterval(this.#timer);
    this.#options.hops.close();
  }

  #receive(): void {
    const { onPacket, nowMs, others } = this.#options;
    this.#queue.receive((frame, off, end, portIndex) =>
      onPacket(frame, off, end, portIndex, nowMs(), false, false),
    );
    for (const other of others) other.receive(nowMs());
  }
}

/** This file, or what it is bundled to, which starts faster. */
const [, ENTRY] = process.argv;
/** As Workers starts a datapath process. */
const isWorker = process.argv[2] !== undefined && process.send !== undefined;
if (isWorker) runWorker(MODES);

const WAN = 0;
const LAN = 1;
const CIP = '10.1.0.7';
const VIP = '10.1.0.100';
const LIP = '10.2.0.200';
const RIP = '10.2.0.11';

const HOST = {
  ports: [
    { name: 'queue-wan', side: SIDE.wan, mtu: 1500, mac: '', loopback: false },
    { name: 'queue-lan', side: SIDE.lan, mtu: 1500, mac: '', loopback: false },
  ],
  reach: Array.from({ length: 4 }, () => ({ [RIP]: { mtu: 1500, unreachable: '', isOnHost: false } })),
  own: [],
  broadcasts: [],
  missing: [],
  troubles: [],
  warnings: [],
};

const silent = pino({ enabled: false });
const configOf = (...vports: number[]) =>
  parse({
    services: vports.map((vport) =>
      // Each datagram comes out as one packet.
      sampleService({ name: `game-${vport}`, vport, uoa: { carriage: 'inserted' } }),
    ),
  });

function request(workers: number, log = silent) {
  const capture = captureOf(configOf(6000), HOST.ports);
  const steeringKey = Array.from({ length: 10 }, (_, n) => 2 * n + 1);
  return { capture, workers, steeringKey, bufferSize: 1, busyPoll: false, maxSessions: 1000, log };
}

/** What the next packet that comes out says, as "source -> destination: payload", and its packet. */
async function next(queue: Queue): Promise<{ text: string; sport: number }> {
  for (;;) {
    const [packet, ...others] = queue.take();
    if (packet !== undefined) {
      assert.deepEqual(others, []);
      const { src, sport, dst, dport, payload, udpChecksumOk } = dissect(packet);
      assert.ok(udpChecksumOk);
      return { text: `${src}:${sport} -> ${dst}:${dport}: ${payload}`, sport };
    }
    await sleep(5);
  }
}

if (!isWorker) {
  for (const workers of [1, 2]) {
    const name = `a queue brings datagrams to the sessions of ${workers}, also through a change and the end of all`;
    test(name, { timeout: 120_000 }, (t) => forwards(t, workers));
  }

  test('auto takes the first mode that works, and says why not those before', () => {
    const broken = <Name extends 'ring' | 'pcap'>(name: Name): IoMode<StartOf<Name>> => ({
      name,
      workersMax: 1,
      lacks: () => undefined,
      refusalOf: () => undefined,
      openHost: () => {
        throw new IoError(`no ${name} here`, `plug in a ${name}`);
      },
      open: () => assert.fail('there is no host'),
    });
    const lines: string[] = [];
    const log = pino(
      {},
      { write: (line: string) => void lines.push((JSON.parse(line) as { msg: string }).msg) },
    );
    const modes = { ring: broken('ring'), queue: queueMode };
    assert.equal(workersMax('auto', modes), 2);
    openIoHost('queue', request(1), modes).close();
    const host = openIoHost('auto', request(1, log), modes);
    host.close();
    assert.equal(host.mode, 'queue');
    assert.deepEqual(lines, [
      'io.mode auto: queue, because ring does not work here: no ring here (plug in a ring)',
    ]);
    assert.throws(() => openIoHost('ring', request(1), modes), { message: 'no ring here' });
    assert.throws(() => openIoHost('auto', request(1), { ring: broken('ring'), pcap: broken('pcap') }), {
      message: 'io.mode auto: ring does not work here: no ring here; and no pcap here',
      hint: 'for ring: plug in a ring; for pcap: plug in a pcap',
    });
  });
}

async function forwards(t: TestContext, count: number): Promise<void> {
  const io = openIoHost('auto', request(count), MODES);
  const queue = opened.at(-1)!;
  assert.equal(io, queue);
  const config = configOf(6000);
  const drafts = draftServices(config, HOST);
  const layout = { capacity: spaciousCapacity(drafts), workers: io.workers, sharedSeed: [1, 2] as const };
  const goBy = { layout, steeringKey: request(count).steeringKey };
  const services = numberServices(drafts);
  const { specs, memories, close } = makeWorkerSpecs(
    workerReplans(config, HOST, services, goBy, io),
    io,
    undefined,
  );
  const serverStates = new ServerStates(memories[0].common, silent);
  serverStates.update(services);
  const workers = new Workers(specs, silent, { entry: ENTRY });
  t.after(async () => {
    await workers.stop();
    close();
    io.close();
  });
  const fromClient = (vport: number, cport: number) =>
    queue.bring(udp4({ src: CIP, dst: VIP, sport: cport, dport: vport, payload: Uint8Array.of(1, 2) }), WAN);
  /** The lports of the clients' sessions, each of which was answered. */
  const exchange = async (vport: number): Promise<number[]> => {
    const lports: number[] = [];
    for (let cport = 5000; cport < 5008; cport++) {
      assert.ok(fromClient(vport, cport));
      const { text, sport } = await next(queue);
      assert.equal(text, `${LIP}:${sport} -> ${RIP}:6000: 0102`);
      const answer = { src: RIP, dst: LIP, sport: 6000, dport: sport, payload: Uint8Array.of(3) };
      assert.ok(queue.bring(udp4(answer), LAN));
      assert.equal((await next(queue)).text, `${VIP}:${vport} -> ${CIP}:${cport}: 03`);
      lports.push(sport);
    }
    return lports;
  };

  assert.equal(fromClient(6000, 5000), false, 'nothing comes in before the start');
  io.start();
  await workers.start();
  const lports = await exchange(6000);
  assert.equal(new Set(lports.map((lport) => lport % count)).size, count, 'each worker has some');

  const other = configOf(7000);
  const capture = captureOf(other, HOST.ports);
  io.prepare(capture).undo();
  assert.equal(fromClient(7000, 5000), false, 'undone');
  const change = io.prepare(capture);
  assert.deepEqual(await exchange(6000), lports, 'workers still go by the plan before');
  const otherServices = numberServices(draftServices(other, HOST), services);
  serverStates.announce(otherServices);
  await workers.replan(workerReplans(other, HOST, otherServices, goBy, change));
  serverStates.update(otherServices);
  const otherLports = await exchange(7000);
  change.commit();
  assert.equal(fromClient(6000, 5000), false, 'what only the plan before served');

  for (let worker = 0; worker < count; worker++) workers.kill(worker);
  while (workers.restarts.some((n) => n === 0) || workers.missing.length > 0) await sleep(10);
  assert.deepEqual(await exchange(7000), otherLports, 'successors have the queue, and the sessions');
}
