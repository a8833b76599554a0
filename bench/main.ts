// npm run bench: measures and prints the machine, the command and the figures, then what became of each
// target. Exit code 0 also when a target is missed; 1 when something that is measured does not work, after
// all other parts. Needs root.
import { parseArgs } from 'node:util';
import { exitOnSignals, removeLeftovers } from '../src/lab/namespace.ts';
import { measureDatapath } from './datapath.ts';
import { waitForNearness } from './distance.ts';
import { DEFAULT_FORWARDERS, FORWARDERS, isForwarderKey } from './forwarders/all.ts';
import { raiseLimits } from './forwarders/limits.ts';
import { HOT_MEMORY_AIMS, measureHotMemory } from './hot-memory.ts';
import { LATENCY_AIMS, measureLatency } from './latency.ts';
import { measureLookup } from './lookup.ts';
import { describeMachine } from './machine.ts';
import { measureMemory } from './memory.ts';
import { measureOverload } from './overload.ts';
import { measureReceiver } from './receiver.ts';
import { measureRestarts, RESTART_AIMS } from './restarts.ts';
import { measureSessions } from './sessions.ts';
import { measureSuperPackets, SUPER_AIMS } from './super-packets.ts';
import { type Aim, formatTargets, type Target, unmeasured } from './targets.ts';
import { measureThroughput, THROUGHPUT_AIMS } from './throughput.ts';

const PARTS = [
  'throughput',
  'super',
  'overload',
  'latency',
  'restarts',
  'sessions',
  'memory',
  'hot-memory',
  'lookup',
  'receiver',
  'datapath',
] as const;
type Part = (typeof PARTS)[number];

/** What is to be told also of a part that failed, or was not measured. */
const AIMS: Partial<Record<Part, readonly Aim[]>> = {
  throughput: THROUGHPUT_AIMS,
  super: SUPER_AIMS,
  latency: LATENCY_AIMS,
  restarts: RESTART_AIMS,
  'hot-memory': HOT_MEMORY_AIMS,
};

const USAGE = `npm run bench -- [options]
  --quick              some minutes: one round of short measurements, fewer cases
  --only PART          ${PARTS.join(', ')}; may be repeated
  --forwarder NAME     ${Object.keys(FORWARDERS).join(', ')}; may be repeated (${DEFAULT_FORWARDERS.join(', ')})
  --payload N,N        throughput, datapath: bytes of payload, at least 16 (16,64,512,1400)
  --flows N,N          throughput: numbers of flows (1,64,10000,50000,1000000)
  --rate N,N           latency: packets per second (1000,10000,50000)
  --rounds N           how often the forwarders take turns (5)
  --seconds N          of each measurement (1)
  --sources N          sessions: sources of the flood (10000000)
  --hot N              hot-memory: sessions that go by the fast path (1000000)
  --sessions N,N       memory (100,000 and more), lookup, datapath: how many there are (1000,1000000)
  --cpu-prof DIR       datapath: writes CPU profiles there`;

/** What is used when an option is not given: in full, with --quick. */
const DEFAULTS = {
  payload: ['16,64,512,1400', '64'],
  flows: ['1,64,10000,50000,1000000', '64,1000'],
  rate: ['1000,10000,50000', '10000'],
  rounds: ['5', '1'],
  seconds: ['1', '0.3'],
  sources: ['10000000', '300000'],
  hot: ['1000000', '1000'],
  sessions: ['1000,1000000', '1000,100000'],
} as const;
const LEAST_PAYLOAD = 16;
/** For the processors to be near each other: a fifth of what a run takes. */
const MOST_WAIT_MS = 300_000;
const DATAPATH_PAYLOADS = [64, 1400];

const argv = process.argv.slice(2);
try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const list = { type: 'string', multiple: true } as const;
  const { values } = parseArgs({
    args: argv,
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { ...list, default: [...PARTS] },
      forwarder: { ...list, default: [...DEFAULT_FORWARDERS] },
      payload: text,
      flows: text,
      rate: text,
      rounds: text,
      seconds: text,
      sources: text,
      sessions: text,
      hot: text,
      'cpu-prof': text,
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const { quick } = values;
  const parts = values.only.flatMap((part) => part.split(','));
  const unknown = parts.find((part) => !PARTS.includes(part as Part));
  if (unknown !== undefined) throw new Error(`--only ${unknown}: there is ${PARTS.join(', ')}`);
  const names = values.forwarder.flatMap((name) => name.split(','));
  const forwarders = names.filter(isForwarderKey);
  const noForwarder = names.find((name) => !isForwarderKey(name));
  if (noForwarder !== undefined)
    throw new Error(`--forwarder ${noForwarder}: there is ${Object.keys(FORWARDERS).join(', ')}`);
  const numbers = (option: keyof typeof DEFAULTS): number[] =>
    parseNumbers(option, values[option] ?? DEFAULTS[option][quick ? 1 : 0]);
  const number = (option: keyof typeof DEFAULTS): number => numbers(option)[0];
  const payloads = numbers('payload');
  if (Math.min(...payloads) < LEAST_PAYLOAD) throw new Error(`--payload: at least ${LEAST_PAYLOAD}`);
  const [rounds, seconds] = [number('rounds'), number('seconds')];

  exitOnSignals();
  removeLeftovers();
  console.log(describeMachine(argv).join('\n'));
  const notRaised = raiseLimits();
  if (notRaised.length > 0) console.log(`could not raise ${notRaised.join(', ')}`);

  if (!quick) waitForNearness(MOST_WAIT_MS);

  const measure: Record<Part, () => Promise<Target[] | undefined>> = {
    throughput: () =>
      measureThroughput({ forwarders, payloads, flows: numbers('flows'), rounds, seconds: seconds / 2 }),
    super: () => measureSuperPackets({ forwarders, rounds, seconds }),
    overload: () => measureOverload({ forwarders, rounds, seconds, searchSteps: quick ? 2 : 6 }),
    latency: () => measureLatency({ forwarders, rates: numbers('rate'), rounds, seconds: 2 * seconds }),
    sessions: () =>
      measureSessions({
        forwarders,
        rounds,
        seconds: Math.min(0.2, seconds),
        sources: number('sources'),
        thorough: !quick,
        idleSeconds: quick ? 2 : 10,
      }),
    memory: () => measureMemory(numbers('sessions')),
    'hot-memory': () => measureHotMemory(numbers('hot')),
    restarts: () => measureRestarts({ rounds: Math.min(rounds, 3), seconds: quick ? 4 : 8 }),
    receiver: async () => void (await measureReceiver({ rounds })),
    lookup: async () => void (await measureLookup({ sessions: numbers('sessions'), rounds })),
    datapath: async () =>
      void (await measureDatapath({
        payloads: values.payload === undefined ? DATAPATH_PAYLOADS.slice(0, quick ? 1 : 2) : payloads,
        sessions: numbers('sessions'),
        quick,
        profileDir: values['cpu-prof'],
      })),
  };
  const targets: Target[] = [];
  const failures: string[] = [];
  const note = (part: Part, measured: readonly Target[], why: string): void => {
    const missing = (AIMS[part] ?? []).filter(({ what }) => !measured.some((target) => target.what === what));
    targets.push(...measured, ...missing.map((aim) => unmeasured(aim, why)));
  };
  for (const part of PARTS) {
    if (!parts.includes(part)) {
      note(part, [], 'not asked for');
      continue;
    }
    const start = performance.now();
    console.log(`\n=== ${part}: npm run bench -- ${commandOf(part).join(' ')}`);
    try {
      note(part, (await measure[part]()) ?? [], 'not among the forwarders, flows or rates');
      console.log(`\n${part}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      failures.push(`${part} failed: ${message}`);
      note(part, [], message.split('\n')[0]!);
      console.error(error);
    }
  }
  console.log(['', ...formatTargets(targets), '', ...failures].join('\n'));
  if (failures.length > 0) process.exitCode = 1;
}

/** The command that measures this part alone, as now. */
function commandOf(part: Part): string[] {
  const rest = argv.filter((_, at) => argv[at] !== '--only' && argv[at - 1] !== '--only');
  return ['--only', part, ...rest];
}

function parseNumbers(option: string, text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.some((value) => !(value > 0)))
    throw new Error(`--${option} ${text}: positive numbers, separated by commas`);
  return values;
}
