// The load process, bound to one processor: attaches the XDP programs of bpf/ to the interfaces of each
// network and makes the load by test runs of them (BPF_PROG_TEST_RUN). Told what to do by load.ts. Its
// programs end with it.
import { setTimeout as sleep } from 'node:timers/promises';
import { interfaceIndex } from '../src/sys/packet-socket.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { mapSharedMemory } from '../src/sys/shared-memory.ts';
import { CONTROL, CONTROL_LEN, HISTOGRAM_BUCKETS, HISTOGRAM_SHIFT } from './bpf/control.ts';
import { attach, emptyFrame, loadSinks, loadSource, MAX_BATCH, runLive } from './bpf/programs.ts';
import type { End, Ends, FromLoad, Outcome, Shot, ToLoad } from './load-protocol.ts';
import { enterNamespace } from './namespace.ts';

/** Above this many batches per second packets are made in batches, up to MAX_BATCH at a time. */
const BATCHES_PER_SECOND = 20_000;
/**
 * Runs of the source while nothing is due take at least so long; more runs than needed do no harm: they end
 * the run.
 */
const LEAST_WAIT_NS = 5_000;
const SETTLE_MS = 30;
const SETTLE_TIMEOUT_MS = 2000;
/** Programs of a network and kind of frame; loading one takes milliseconds, so they are kept. */
const MAX_SOURCES = 64;

interface Counts {
  sent: number;
  arrived: number;
  delivered: number;
  answered: number;
}

class Network {
  readonly #ends: Ends;
  readonly #controlFd: number;
  readonly #words: BigUint64Array;
  readonly #sources = new Map<string, number>();
  readonly #clientIndex: number;

  constructor(ends: Ends) {
    this.#ends = ends;
    const { programFd, controlFd } = loadSinks(ends.port);
    this.#controlFd = controlFd;
    this.#words = new BigUint64Array(mapSharedMemory(controlFd, CONTROL_LEN));
    this.#clientIndex = attachAt(ends.client, programFd('client'));
    if (ends.wan) attachAt(ends.wan, programFd('wan'));
    if (ends.lan) attachAt(ends.lan, programFd('lan'));
    attachAt(ends.rs, programFd('real_server'));
  }

  async shoot({ fields, flows, firstFlow, rate, seconds, echo }: Shot): Promise<Outcome> {
    const source = this.#source(fields);
    this.#write('intervalNs', 1e9 / rate);
    this.#write('durationNs', seconds * 1e9);
    this.#write('flows', flows);
    this.#write('firstFlow', firstFlow);
    this.#write('payloadLen', fields.payloadLen);
    this.#write('echo', echo ? 1 : 0);
    for (const word of ['startNs', 'dueNs', 'endNs', 'nextFlow', 'ended'] as const) this.#write(word, 0);
    this.#words.fill(0n, CONTROL.histogram / 8);
    const before = this.#counts();

    enterNamespace(this.#ends.client.namespace);
    runLive(source, {
      frame: emptyFrame(fields.payloadLen),
      interfaceIndex: this.#clientIndex,
      repeat: Math.ceil(rate * seconds * 1.05 + (seconds * 1e9) / LEAST_WAIT_NS + 10 * MAX_BATCH),
      batch: Math.min(MAX_BATCH, Math.max(1, Math.floor(rate / BATCHES_PER_SECOND))),
    });
    if (this.#read('ended') !== 1) throw new Error('the source stopped before its time');
    const after = await this.#settled();
    return {
      seconds,
      sent: after.sent - before.sent,
      arrived: this.#read('arrivedAtEnd') - before.arrived,
      delivered: this.#read('deliveredAtEnd') - before.delivered,
      answered: this.#read('answeredAtEnd') - before.answered,
      deliveredInAll: after.delivered - before.delivered,
      answeredInAll: after.answered - before.answered,
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
      p999: this.#quantile(0.999),
    };
  }

  #source(fields: Shot['fields']): number {
    const key = JSON.stringify(fields);
    let program = this.#sources.get(key);
    if (program === undefined) {
      if (this.#sources.size === MAX_SOURCES) throw new Error('too many kinds of frames');
      program = loadSource(fields, { controlFd: this.#controlFd }).program;
      this.#sources.set(key, program);
    }
    return program;
  }

  /** The counts once nothing more comes. */
  async #settled(): Promise<Counts> {
    const deadline = performance.now() + SETTLE_TIMEOUT_MS;
    let counts = this.#counts();
    for (;;) {
      await sleep(SETTLE_MS);
      const now = this.#counts();
      const isSame = now.delivered === counts.delivered && now.answered === counts.answered;
      if (isSame || performance.now() > deadline) return now;
      counts = now;
    }
  }

  #quantile(part: number): number {
    const first = CONTROL.histogram / 8;
    let all = 0;
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) all += Number(this.#words[first + bucket]);
    if (all === 0) return Number.NaN;
    let seen = 0;
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
      seen += Number(this.#words[first + bucket]);
      if (seen >= part * all) return (bucket + 0.5) * 2 ** HISTOGRAM_SHIFT;
    }
    return Number.NaN;
  }

  #counts(): Counts {
    return {
      sent: this.#read('sent'),
      arrived: this.#read('arrived'),
      delivered: this.#read('delivered'),
      answered: this.#read('answered'),
    };
  }

  #read(word: keyof typeof CONTROL): number {
    return Number(this.#words[CONTROL[word] / 8]);
  }

  #write(word: keyof typeof CONTROL, value: number): void {
    this.#words[CONTROL[word] / 8] = BigInt(Math.round(value));
  }
}

/** Returns the interface's index. */
function attachAt({ namespace, device }: End, program: number): number {
  enterNamespace(namespace);
  const index = interfaceIndex(device);
  if (index === 0) throw new Error(`${namespace} has no ${device}`);
  attach(program, index);
  return index;
}

dieWithParent();
const networks = new Map<string, Network>();
process.on('message', async (message: ToLoad) => {
  const answer = await act(message).catch(
    (error: unknown): FromLoad => ({
      kind: 'failed',
      message: error instanceof Error ? error.message : String(error),
    }),
  );
  process.send?.(answer);
});
process.on('disconnect', () => process.exit(0));

async function act(message: ToLoad): Promise<FromLoad> {
  if (message.kind === 'attach') {
    networks.set(message.network, new Network(message.ends));
    return { kind: 'ready' };
  }
  const network = networks.get(message.network);
  if (network === undefined) throw new Error(`there is no network ${message.network}`);
  return { kind: 'outcome', outcome: await network.shoot(message.shot) };
}
