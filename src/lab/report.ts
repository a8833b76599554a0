// What the lab tells a person: the picture at the start, and at the end what each real server learned, the
// proxy's counters, and the judgement, point by point.

import { isInPayload } from '../uoa/dialect.ts';
import { counterSum, counterTables } from './counter-table.ts';
import { type ClientTotals, type Learned, type ServerTotals, sumTotals } from './events.ts';
import type { FamilyPair, LabDialect } from './family.ts';
import { heading, paint, say, table } from './screen.ts';
import { LB_LAN_IPS, LB_WAN_IPS, LIPS, type Topology, VIPS } from './topology.ts';

/** Lines of a real server's table that are shown. */
const LEARNED_SHOWN = 8;

export interface Outcome {
  dialect: LabDialect;
  /** What the clients sent to, as ip:port. */
  virtuals: readonly string[];
  clients: ClientTotals;
  servers: { ip: string; totals: ServerTotals; learned: Learned[]; endedEarly: boolean }[];
  metrics: string;
  /**
   * Packets seen towards the clients that may not be there (a UOA, an ICMP error); undefined: nobody watched.
   */
  strays: number | undefined;
  proxyExitCode: number | null;
}

/** The networks as boxes, with the addresses of the families that meet. */
export function picture(
  topology: Topology,
  { client, server }: FamilyPair,
  vports: readonly number[],
  dialect: string,
): void {
  const clientIps = topology.clientIps[client];
  const serverIps = topology.serverIps[server];
  const columns = [
    { title: 'clients', lines: [range(clientIps), count(clientIps.length, 'address', 'addresses'), ''] },
    {
      title: 'uoa-proxy',
      lines: sideBySide(
        [`wan0  ${LB_WAN_IPS[client]}`, `VIP   ${VIPS[client]}`, `UDP   ${vports.join(', ')}`],
        [`lan0  ${LB_LAN_IPS[server]}`, ...LIPS[server].map((ip) => `LIP   ${ip}`)],
      ),
    },
    { title: 'real servers', lines: [range(serverIps), 'UDP port 6000', 'echo + echo ACK'] },
  ];
  const widths = columns.map(({ lines }) => Math.max(...lines.map((line) => line.length)) + 2);
  const across = (join: string, make: (column: number) => string) =>
    say(`  ${columns.map((_, column) => make(column)).join(join)}`.trimEnd());
  const gap = '─'.repeat(4);
  say();
  across('    ', (column) => `  ${columns[column].title}`.padEnd(widths[column] + 2));
  across('    ', (column) => `┌${'─'.repeat(widths[column])}┐`);
  for (let line = 0; line < 3; line++) {
    // The links are drawn on the first line, where the devices stand.
    const isLink = line === 0;
    across(isLink ? gap : '    ', (column) => {
      const left = isLink && column > 0 ? '┤' : '│';
      const right = isLink && column < columns.length - 1 ? '├' : '│';
      return `${left} ${columns[column].lines[line].padEnd(widths[column] - 2)} ${right}`;
    });
  }
  across('    ', (column) => `└${'─'.repeat(widths[column])}┘`);
  say(`  UOA dialect ${dialect}; the namespaces are linked by veth pairs with their offloads on`);
}

/** fd00:1::2 .. ::4, 10.1.0.2 .. .4 */
function range(ips: readonly string[]): string {
  if (ips.length === 1) return ips[0];
  return `${ips[0]} .. ${/(?:::|\.)[^:.]+$/.exec(ips.at(-1)!)![0]}`;
}

function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

function sideBySide(left: readonly string[], right: readonly string[]): string[] {
  const width = Math.max(...left.map((line) => line.length));
  return left.map((line, index) => `${line.padEnd(width)}   ${right[index]}`.trimEnd());
}

export function learnedTables(outcome: Outcome): void {
  for (const { ip, totals, learned } of outcome.servers) {
    const [clients, uoas] = [count(learned.length, 'client', 'clients'), count(totals.uoas, 'UOA', 'UOAs')];
    heading(`Real server ${ip} learned ${clients} from ${uoas}`);
    if (learned.length === 0) continue;
    const rows = learned.slice(0, LEARNED_SHOWN);
    const knowsVirtual = rows.some(({ virtual }) => virtual !== undefined);
    table([
      ['seen as (LIP:lport)', 'is in truth', ...(knowsVirtual ? ['sent to'] : []), 'datagrams'],
      ...rows.map(({ local, client, virtual, datagrams }) => [
        local,
        client,
        ...(knowsVirtual ? [virtual ?? ''] : []),
        datagrams,
      ]),
    ]);
    const more = learned.length - rows.length;
    if (more > 0) say(paint('dim', `  and ${more} more`));
  }
}

type Check = [held: boolean, text: string];

/** Prints the summary; true when everything held. */
export function judge(outcome: Outcome): boolean {
  const { clients, servers, metrics, strays, proxyExitCode } = outcome;
  heading('Counters of the proxy');
  counterTables(metrics);
  heading('Result');
  const checks: Check[] = [
    [clients.sent > 0 && clients.missing === 0, `${clients.sent} datagrams sent, ${clients.missing} lost`],
    [clients.altered === 0, `${clients.received} replies, ${clients.altered} altered`],
    [
      clients.unexpected === 0 && clients.errors === 0,
      `${clients.unexpected} replies that nobody asked for, ${clients.errors} socket errors`,
    ],
    ...(outcome.dialect === 'none' ? withoutUoa(outcome) : attribution(outcome)),
    [!servers.some((server) => server.endedEarly), 'real servers ran to the end'],
    [proxyExitCode === 0, `proxy ended with exit code ${proxyExitCode ?? 'none (killed)'}`],
  ];
  if (strays === undefined)
    say(paint('yellow', '  not checked  tcpdump is not installed: nobody watched wan0'));
  else checks.push([strays === 0, `${strays} UOAs or ICMP errors seen on wan0`]);
  for (const [held, text] of checks) {
    say(`  ${held ? paint('green', 'ok  ') : paint('red', 'FAIL')}  ${text}`);
  }
  return checks.every(([held]) => held);
}

function attribution({ dialect, clients, servers, metrics, virtuals }: Outcome): Check[] {
  const { attributed, unattributed, wrong, acks } = sumOf(servers);
  const acked = counterSum(metrics, 'uoa_acked_total') + counterSum(metrics, 'uoa_ack_repeated_total');
  const learned = servers.flatMap((server) => server.learned);
  const named = learned.flatMap(({ virtual }) => virtual ?? []);
  const astray = named.filter((virtual) => !virtuals.includes(virtual)).length;
  const checks: Check[] = [
    [
      attributed === clients.nonEmpty && unattributed === 0 && wrong === 0,
      `${attributed} of ${clients.nonEmpty} datagrams with payload attributed to their client, ` +
        `${unattributed} to nobody, ${wrong} to another`,
    ],
    ...(isInPayload(dialect)
      ? []
      : [[acked > 0, `${acked} echo ACKs consumed by the proxy, of ${acks} sent`] satisfies Check]),
  ];
  if (named.length > 0) {
    checks.push([astray === 0, `${named.length} virtual addresses learned, ${astray} of them wrong`]);
  }
  return checks;
}

function withoutUoa({ servers }: Outcome): Check[] {
  const { uoas } = sumOf(servers);
  return [[uoas === 0, `${uoas} UOAs reached the real servers`]];
}

function sumOf(servers: Outcome['servers']): ServerTotals {
  return sumTotals(servers.map(({ totals }) => totals));
}
