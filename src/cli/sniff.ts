// `uoa-proxy sniff`: tcpdump for UOA, live or from a file. Lines go to standard output, everything else to
// standard error.
import type { Argv } from 'yargs';
import { CutShort } from '../sniff/capture-error.ts';
import { readCapture } from '../sniff/capture-file.ts';
import type { CapturedPacket } from '../sniff/captured-packet.ts';
import { normalAddress, parseSelection } from '../sniff/selection.ts';
import { Observer } from '../sniff/sighting.ts';
import { jsonLine, LinePrinter, type Paint } from '../sniff/sighting-line.ts';
import { Tally } from '../sniff/tally.ts';

export interface SniffArguments {
  interface?: string | undefined;
  read?: string | undefined;
  json: boolean;
  count?: number | undefined;
  lip?: string | undefined;
  filter: readonly string[];
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
const HIDDEN =
  'what the XDP program there forwards by itself is not seen here. Where it is uoa-proxy\'s fast path, that is busy sessions, which bring no UOA any more: "uoa-proxy ctl fast-path off [SERVICE]" shows their packets too';
const CODES = { dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };

/** Where packets come from, and how that is ended. */
interface Source {
  /** Said when it begins: from then on a signal ends it with a summary. */
  notice: string;
  packets: AsyncIterable<CapturedPacket>;
  /** Whether it has more than one interface. */
  isMixed: boolean;
  stop(): void;
  /** Called at the end, for what only the source knows. */
  finish(tally: Tally): void;
}

/** The arguments of `sniff [filter..]`. */
export function withSniffOptions(command: Argv) {
  return (
    command
      // Without it only the last of the filter words would be left.
      .parserConfiguration({ 'duplicate-arguments-array': true, 'boolean-negation': false })
      .positional('filter', {
        type: 'string',
        array: true,
        default: [] as string[],
        defaultDescription: 'all',
        describe: 'Kinds, dialects, addresses, ports: see docs/sniff.md',
      })
      .option('interface', {
        type: 'string',
        alias: 'i',
        requiresArg: true,
        describe: 'Names with commas between them, or any, the default',
      })
      .option('read', {
        type: 'string',
        alias: 'r',
        requiresArg: true,
        describe: 'pcap or pcapng file, - for standard input',
      })
      .option('json', { type: 'boolean', default: false, describe: 'One JSON object per line' })
      .option('count', { type: 'number', requiresArg: true, describe: 'End after so many' })
      .option('lip', {
        type: 'string',
        requiresArg: true,
        describe: "The proxy's LIPs, with commas between them",
      })
      .check((options) => {
        refuseWrong(options);
        return true;
      })
      .example('$0 sniff -i eth0', 'As root, until Ctrl-C')
      .example('$0 sniff -r a.pcap client 10.1.0.2', 'One client')
      .example('$0 sniff --json carrier ack', 'Carriers, echo ACKs')
  );
}

function refuseWrong({ interface: devices, read, count, lip, filter }: SniffArguments): void {
  for (const [name, value] of Object.entries({ interface: devices, read, count, lip })) {
    if (Array.isArray(value)) throw new Error(`--${name} stands more than once; it takes one value`);
  }
  if (devices !== undefined && read !== undefined) throw new Error('-i and -r exclude each other');
  if (listOf(devices).includes('')) throw new Error('-i must be interface names with commas between them');
  if (count !== undefined && !(Number.isInteger(count) && count >= 1)) {
    throw new Error('--count must be an integer from 1 on');
  }
  parseLips(lip);
  parseSelection(filter);
}

/** Resolves with the exit code: 1 when the file ended too early. Throws a CaptureError. */
export async function sniff(options: SniffArguments): Promise<number> {
  const { json, count = Number.POSITIVE_INFINITY } = options;
  const isSelected = parseSelection(options.filter);
  const observer = new Observer(parseLips(options.lip));
  const tally = new Tally();
  const source =
    options.read === undefined ? await openLive(options.interface ?? 'any') : openFile(options.read, tally);
  const printer = new LinePrinter(paint, source.isMixed);
  const write = (line: string) => process.stdout.write(`${line}\n`);
  let exitCode = 0;
  let shown = 0;
  let isStopped = false;
  const stop = () => {
    isStopped = true;
    source.stop();
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  process.stderr.write(source.notice);
  // A reader that went away (EPIPE) does not want to see more.
  process.stdout.on('error', stop);
  try {
    for await (const packet of source.packets) {
      if (isStopped) break;
      const sighting = observer.observe(packet);
      if (sighting === undefined) continue;
      const isShown = isSelected(sighting);
      tally.count(sighting, isShown);
      if (!isShown) continue;
      if (!json && shown === 0) write(printer.heading());
      write(json ? jsonLine(sighting) : printer.line(sighting));
      if (++shown >= count) break;
    }
  } catch (error) {
    if (!(error instanceof CutShort)) throw error;
    process.stderr.write(`uoa-proxy: ${error.message}; ${error.hint}\n`);
    exitCode = 1;
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
  }
  source.finish(tally);
  process.stderr.write(`${process.stderr.isTTY ? '\n' : ''}${tally.summary()}`);
  return exitCode;
}

async function openLive(devices: string): Promise<Source> {
  // Loaded only now: a file can be read where the native package is missing.
  const { ANY, LiveCapture } = await import('../sniff/live-capture.ts');
  const names = [...new Set(listOf(devices))];
  const capture = new LiveCapture({
    devices: names.includes(ANY) ? [ANY] : names,
    onDown: (message) => process.stderr.write(`uoa-proxy: ${message}\n`),
  });
  const { hidden } = capture;
  const note = hidden.length === 0 ? '' : `${hidden.join(', ')}: ${HIDDEN}\n`;
  return {
    notice: `listening on ${names.join(', ')}; Ctrl-C ends\n${note}`,
    packets: capture.captured(),
    isMixed: names.length > 1 || names.includes(ANY),
    stop: () => capture.stop(),
    finish: (tally) => {
      tally.packets = capture.packets;
      tally.lost = capture.lost;
    },
  };
}

function openFile(path: string, tally: Tally): Source {
  const abort = new AbortController();
  const onFrame = () => {
    tally.packets++;
  };
  const packets = readCapture(path, onFrame, abort.signal);
  return { notice: '', packets, isMixed: false, stop: () => abort.abort(), finish: () => {} };
}

function listOf(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(',').map((part) => part.trim());
}

function parseLips(text: string | undefined): string[] {
  return listOf(text).map((address) => normalAddress(address, '--lip'));
}

const isColoured = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint: Paint = (colour, text) => (isColoured ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text);
