// What the proxy counted since its start, without what is 0.
import type { StatsReport } from '../admin/report.ts';
import { fastPathLines, fastPathName } from './fast-path.ts';
import { pairs } from './table.ts';
import { age, exact, plural } from './units.ts';

export type { StatsReport };

export function statsTable(stats: StatsReport): string[] {
  const { sessions, lports, counters, drops, io } = stats;
  return [
    summary(stats),
    '',
    ...pairs([
      ['normal sessions', exact(sessions.normal)],
      ['oneway sessions', exact(sessions.oneway)],
      ['most sessions', exact(sessions.max)],
      ['lports in use', exact(lports.inUse)],
      ['lports', exact(lports.capacity)],
    ]),
    ...troubles(stats),
    ...fastPathLines(stats),
    ...section('Counters', counters),
    ...section('Dropped, by reason', drops, (reason) => reason),
    ...section('Packet I/O', io),
  ];
}

/** The first line here and in the live view. */
export function summary(stats: StatsReport): string {
  const { version, uptimeSeconds, ioMode, workers, reason } = stats;
  const fast = fastPathName(stats);
  const io = fast === '' ? ioMode : `${ioMode}, ${fast}`;
  return `uoa-proxy ${version}, up ${age(uptimeSeconds * 1000)}, ${io}, ${plural(workers.length, 'worker')}: ${reason}`;
}

function troubles({ reloads, workers }: StatsReport): string[] {
  const lines: string[] = [];
  if (reloads.last) {
    const { ok, at } = reloads.last;
    lines.push(
      `Config read again ${plural(reloads.succeeded + reloads.failed, 'time')}, ${reloads.failed} failed; last at ${at}: ${ok ? 'ok' : 'failed'}`,
    );
  }
  for (const [worker, { pid, restarts }] of workers.entries()) {
    const now = pid === null ? 'not running' : `pid ${pid}`;
    if (restarts > 0 || pid === null)
      lines.push(`Worker ${worker}: started again ${plural(restarts, 'time')}, ${now}`);
  }
  return lines.length === 0 ? [] : ['', ...lines];
}

function section(head: string, values: Record<string, number>, name = words): string[] {
  const rows = Object.entries(values).filter(([, value]) => value !== 0);
  if (rows.length === 0) return ['', `${head}: nothing`];
  return ['', head, ...pairs(rows.map(([key, value]) => [name(key), exact(value)] as const))];
}

/** uoaAckRejected -> UOA ack rejected */
const words = (key: string): string =>
  key
    .replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
    .replace(/^(uoa|icmp)\b/, (word) => word.toUpperCase());
