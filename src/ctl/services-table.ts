// Services and their real servers as a table, in the spirit of `ipvsadm -ln`: a line per service, below it
// one per real server, and where that is not up a line that says why.
import type { ServerReport, ServiceReport } from '../admin/report.ts';
import { formatEndpoint } from '../wire/address.ts';
import { hasFastPath, shareOf } from './fast-path.ts';
import { fastShare, serverRates, serviceRates } from './rates.ts';
import { type Rate, type Sample, serverName } from './sample.ts';
import { type Column, table } from './table.ts';
import { age, rate, short } from './units.ts';

/** A line of the screen, and what it says, which decides its colour. */
export interface Line {
  text: string;
  kind: 'head' | 'title' | 'plain' | 'trouble';
}

const COLUMNS: readonly Column[] = [
  { head: 'SERVICE -> REAL SERVER' },
  { head: 'WEIGHT', right: true },
  { head: 'STATE' },
  { head: 'ACTIVE', right: true },
  { head: 'INACTIVE', right: true },
];
const RATE_COLUMNS: readonly Column[] = [
  { head: 'IN/s', right: true },
  { head: 'OUT/s', right: true },
];

/** Without `rates` the table has no columns for them. `nowMs` is since 1970. */
export function servicesTable(
  sample: Sample,
  rates: Rate | undefined,
  nowMs: number,
  width = Number.POSITIVE_INFINITY,
): Line[] {
  const { services } = sample;
  const columns = rates === undefined ? COLUMNS : [...COLUMNS, ...RATE_COLUMNS];
  const rows = services.flatMap((service) =>
    service.realServers.map((server) => [
      ...describe(server),
      ...(rates === undefined ? [] : packetRates(service.name, server, rates)),
    ]),
  );
  const [head, ...lines] = table(columns, rows, width);
  const out: Line[] = [{ text: head, kind: 'head' }];
  for (const service of services) {
    out.push(...titles(title(service), fastPart(sample, service, rates), width));
    for (const server of service.realServers) {
      const isUp = server.state === 'up';
      out.push({ text: lines.shift()!, kind: isUp ? 'plain' : 'trouble' });
      if (!isUp) out.push({ text: `     ${why(server, nowMs)}`, kind: 'trouble' });
    }
  }
  return out;
}

/** One line, or two where it would be cut. */
function titles(head: string, fast: string, width: number): Line[] {
  if (fast === '') return [{ text: head, kind: 'title' }];
  const text = `${head}  ${fast}`;
  if (text.length <= width) return [{ text, kind: 'title' }];
  return [
    { text: head, kind: 'title' },
    { text: `     ${fast}`, kind: 'title' },
  ];
}

/** '' where there is no fast path. */
function fastPart(sample: Sample, service: ServiceReport, per: Rate | undefined): string {
  if (!hasFastPath(sample.stats)) return '';
  return shareOf(service, per && fastShare(serviceRates(per, sample, service.name)));
}

function title({ name, vips, vport, scheduler, persistenceMs }: ServiceReport): string {
  const endpoints = vips.map((vip) => formatEndpoint(vip, vport)).filter((endpoint) => endpoint !== name);
  const persistence = persistenceMs === 0 ? [] : [`persistent ${age(persistenceMs)}`];
  return [name, ...endpoints, scheduler, ...persistence].join('  ');
}

function describe(server: ServerReport): string[] {
  const { sessions, isFallback } = server;
  return [
    `  -> ${serverName(server)}${isFallback ? ' fallback' : ''}`,
    weightText(server),
    stateText(server),
    short(sessions.normal),
    short(sessions.oneway),
  ];
}

/**
 * 100, or where new sessions see another weight than the config says: 0/100. A fallback has none in the
 * config.
 */
export function weightText({ weight, effectiveWeight, isFallback }: ServerReport): string {
  return weight === effectiveWeight || isFallback ? String(effectiveWeight) : `${effectiveWeight}/${weight}`;
}

/** down, and what it will be when it is up again: down, drained. */
export function stateText({ state, isDrained, isRemoved }: ServerReport): string {
  if (state !== 'down') return state;
  return isRemoved ? 'down, removed' : isDrained ? 'down, drained' : state;
}

/** Since when and why it is not up; the reason often names the state itself. */
function why({ state, reason, since }: ServerReport, nowMs: number): string {
  const time = `for ${age(nowMs - Date.parse(since))}`;
  return reason.startsWith(state) ? `${reason}, ${time}` : `${state} ${time}: ${reason}`;
}

function packetRates(service: string, server: ServerReport, per: Rate): string[] {
  const { inboundPackets, outboundPackets } = serverRates(per, service, server);
  return [rate(inboundPackets), rate(outboundPackets)];
}
