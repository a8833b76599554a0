// One frame of the live view: traffic, sessions, UOA and drops per second, then every real server.
import { hasFastPath } from './fast-path.ts';
import { type TotalRates, totalRates } from './rates.ts';
import { ratesBetween, type Sample } from './sample.ts';
import { type Line, servicesTable } from './services-table.ts';
import { summary } from './stats-table.ts';
import { table } from './table.ts';
import { rate, short } from './units.ts';

/** `before` is the sample of an interval ago, undefined at first. `nowMs` is since 1970. */
export function overview(before: Sample | undefined, after: Sample, nowMs: number, width: number): Line[] {
  const per = ratesBetween(before, after);
  const rates = totalRates(per, after);
  const { sessions, fastPath } = after.stats;
  const hasFast = hasFastPath(after.stats);
  const traffic = table(
    [
      { head: 'PER SECOND' },
      { head: 'PACKETS', right: true },
      { head: 'BITS', right: true },
      { head: 'SENT ON', right: true },
      ...(hasFast ? ([{ head: 'FAST PATH', right: true }] as const) : []),
    ],
    [
      ['clients -> real servers', ...way('inbound')],
      ['real servers -> clients', ...way('outbound')],
    ],
  );
  return [
    { text: summary(after.stats), kind: after.stats.ready && !after.stats.draining ? 'title' : 'trouble' },
    { text: '', kind: 'plain' },
    { text: traffic[0], kind: 'head' },
    ...traffic.slice(1).map((text): Line => ({ text, kind: 'plain' })),
    ...labelled([
      [
        'sessions',
        `${short(sessions.normal)} normal, ${short(sessions.oneway)} oneway, of ${short(sessions.max)}${hasFast ? `; ${short(fastPath.sessions)} hot` : ''}`,
      ],
      [
        '',
        `${rate(rates.sessionsCreated)} opened/s, ${rate(rates.sessionsExpired)} expired/s, ${rate(rates.sessionsEvicted)} evicted/s`,
      ],
      [
        'UOA/s',
        `${rate(rates.uoaInserted)} inserted, ${rate(rates.uoaCarrier)} in carriers, ${rate(rates.uoaHeader)} as headers, ${rate(rates.uoaAcked)} acked, ${rate(rates.uoaFailed)} failed`,
      ],
    ]),
    ...lossLines(rates, width),
    { text: '', kind: 'plain' },
    ...servicesTable(after, per, nowMs, width),
  ];

  function way(direction: 'inbound' | 'outbound'): string[] {
    return [
      rate(rates[`${direction}Packets`]),
      short(rates[`${direction}Bits`]),
      rate(rates[`${direction}Forwarded`]),
      ...(hasFast ? [rate(rates[`${direction}Fast`])] : []),
    ];
  }
}

/**
 * Drops with their reasons, most first; and what was lost before the proxy saw it, or the kernel refused to
 * send.
 */
function lossLines({ dropped, drops, lost, refused }: TotalRates, width: number): Line[] {
  const items = Object.entries(drops).map(([reason, value]) => `${reason} ${rate(value)}`);
  return [
    ...filled('drops/s', [rate(dropped), ...items], width).map((text) => judged(text, dropped)),
    judged(
      `${label('lost/s')}${rate(lost)} before they were seen, ${rate(refused)} refused by the kernel`,
      (lost ?? 0) + (refused ?? 0),
    ),
  ];
}

const judged = (text: string, value: number | undefined): Line => ({
  text,
  kind: value !== undefined && value > 0 ? 'trouble' : 'plain',
});

/** The items, two spaces apart, on as many lines as they need. */
function filled(name: string, items: readonly string[], width: number): string[] {
  const lines = [label(name) + items[0]];
  for (const item of items.slice(1)) {
    const last = lines.at(-1)!;
    if (last.length + 2 + item.length <= width) lines[lines.length - 1] = `${last}  ${item}`;
    else lines.push(label('') + item);
  }
  return lines;
}

const label = (name: string): string => name.padEnd(10);

const labelled = (rows: readonly (readonly [name: string, text: string])[]): Line[] =>
  rows.map(([name, text]) => ({ text: label(name) + text, kind: 'plain' }));
