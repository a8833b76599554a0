// The kernel fast path in words: what it is, of whom it is switched off, and what share it has.
import type { FastPathReport, FastShare, ServiceReport, StatsReport } from '../admin/report.ts';
import { pairs } from './table.ts';
import { exact } from './units.ts';

export type { FastPathReport };

/** Whether the proxy that answered has one; one of a version that knew none says nothing of it. */
export const hasFastPath = ({ fastPath }: StatsReport): boolean =>
  fastPath?.kind !== undefined && fastPath.kind !== 'off';

/** What a switch is answered with, in one line. */
export function fastPathLine({ kind, why, switchedOff: { all, services } }: FastPathReport): string {
  if (all) return 'fast path off: within a second all packets go by the datapath';
  if (services.length === 0)
    return kind === 'off'
      ? `fast path on, for a process that has one: here there is none (${why})`
      : 'fast path on: busy sessions go by the kernel';
  const whose = services.length === 1 ? 'its' : 'their';
  return `fast path off for ${services.join(', ')}: within a second ${whose} packets go by the datapath`;
}

/** As it stands in the first line: fast path tc; nothing where none is wanted. */
export function fastPathName(stats: StatsReport): string {
  if (!hasFastPath(stats)) return isMissed(stats) ? 'no fast path' : '';
  const { kind, switchedOff } = stats.fastPath;
  return `fast path ${kind}${switchedOff.all ? ' (off)' : ''}`;
}

/** The part of a service's title: how many of its sessions are hot, and of its packets went that way. */
export function shareOf({ fastPath, sessions }: ServiceReport, share: number | undefined): string {
  if (fastPath.isOff) return 'fast path off';
  const ofPackets = share === undefined ? '' : `, ${percent(share)} of packets`;
  return `hot ${exact(fastPath.sessions)} of ${exact(sessions.normal + sessions.oneway)}${ofPackets}`;
}

/** 0%, 7%, 99%; 100% is all. */
export const percent = (share: number): string =>
  `${share >= 1 ? 100 : Math.min(99, Math.round(share * 100))}%`;

/** The lines of `ctl stats`. */
export function fastPathLines(stats: StatsReport): string[] {
  const { fastPath, counters } = stats;
  if (isMissed(stats)) return ['', `No fast path, io.fastPath is ${fastPath.wanted}: ${fastPath.why}`];
  if (!hasFastPath(stats)) return [];
  const { kind, why, interfaces, switchedOff, sessions, passed } = fastPath;
  const places = interfaces.map(({ name, how }) => `${how} at ${name}`).join(', ');
  const off = switchedOff.all ? ['all services'] : switchedOff.services;
  const reasons = Object.entries(passed).filter(([, count]) => count > 0);
  return [
    '',
    `Fast path ${kind}: ${places} (${why})`,
    ...(off.length === 0 ? [] : [`  switched off for ${off.join(', ')}`]),
    ...pairs([
      ['hot sessions', exact(sessions)],
      ['inbound forwarded', forwarded(fastPath, 'inbound', counters.inboundForwarded)],
      ['outbound forwarded', forwarded(fastPath, 'outbound', counters.outboundForwarded)],
    ]),
    '',
    ...(reasons.length === 0
      ? ['Left to the datapath, by reason: nothing']
      : ['Left to the datapath, by reason', ...pairs(reasons.map(([name, count]) => [name, exact(count)]))]),
  ];
}

/** There is none, though it is wanted. */
const isMissed = ({ fastPath }: StatsReport): boolean =>
  fastPath?.kind === 'off' && fastPath.wanted !== 'off';

function forwarded(share: FastShare, direction: 'inbound' | 'outbound', all: number): string {
  const count = share.forwarded[direction];
  return all === 0 ? exact(count) : `${exact(count)} (${percent(count / all)})`;
}
