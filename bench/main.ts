// npm run bench: measures and prints the machine, the command and the figures, each with its target where there is one.
// Exit code 0 also when a target is missed; 1 when something that is measured does not work. Needs root.
import { parseArgs } from 'node:util';
import { exitOnSignals, removeLeftovers } from '../src/lab/namespace.ts';
import { measureDatapath } from './datapath.ts';
import { describeMachine } from './machine.ts';
import { measureMemory } from './memory.ts';
import { formatTarget, type Target } from './table.ts';
import { throughput } from './throughput.ts';

const USAGE = `npm run bench -- [options]
  --quick              under a minute: short steps, one payload, no comparison, smaller tables
  --only PART          throughput, memory or datapath; may be repeated
  --payload N,N        bytes of payload (64,1200)
  --seconds N          duration of each step of throughput (3)
  --flows N            client ports that throughput uses (64)
  --sessions N,N       session counts of memory (100000,1000000)
  --cpu-prof DIR       datapath: writes CPU profiles there`;

const PARTS = ['throughput', 'memory', 'datapath'] as const;
type Part = (typeof PARTS)[number];

const argv = process.argv.slice(2);
try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [...PARTS] },
      payload: { type: 'string' },
      seconds: { type: 'string' },
      flows: { type: 'string', default: '64' },
      sessions: { type: 'string' },
      'cpu-prof': { type: 'string' },
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
  const payloads = numbers('--payload', values.payload ?? (quick ? '64' : '64,1200'));
  const [seconds = 3] = numbers('--seconds', values.seconds ?? (quick ? '1' : '3'));
  const [flows = 64] = numbers('--flows', values.flows);
  const sessions = numbers('--sessions', values.sessions ?? (quick ? '100000' : '100000,1000000'));

  exitOnSignals();
  removeLeftovers();
  console.log(describeMachine(argv).join('\n'));
  const targets: Target[] = [];
  if (parts.includes('throughput')) targets.push(...(await throughput({ payloads, seconds, flows, quick })));
  if (parts.includes('memory')) targets.push(...(await measureMemory(sessions)));
  if (parts.includes('datapath')) {
    await measureDatapath({ payloads, quick, profileDir: values['cpu-prof'] });
  }
  console.log(['', ...targets.map(formatTarget)].join('\n'));
}

function numbers(option: string, text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.some((value) => !(value > 0)))
    throw new Error(`${option} ${text}: positive numbers, separated by commas`);
  return values;
}
