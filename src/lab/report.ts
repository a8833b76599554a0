// What the lab tells a person: the picture at the start, and at the end what each real server learned, the proxy's
// counters, and the judgement, point by point.
import { counterSum, counterTables } from './counter-table.ts';
import type { ClientTotals, Learned, ServerTotals } from './events.ts';
import { heading, paint, say, table } from './screen.ts';
import { LB_LAN_IP, LB_WAN_IP, LIPS, type Topology, VIP } from './topology.ts';

/** Lines of a real server's table that are shown. */
const LEARNED_SHOWN = 8;

export interface Outcome {
  clients: ClientTotals;
  servers: { ip: string; totals: ServerTotals; learned: Learned[]; endedEarly: boolean }[];
  metrics: string;
  /** Packets seen towards the clients that may not be there (a UOA, an ICMP error); undefined: nobody watched. */
  strays: number | undefined;
  proxyExitCode: number | null;
}

export function picture(topology: Topology, vports: readonly number[], dialect: string): void {
  const { clientIps, serverIps } = topology;
  const range = (ips: readonly string[]) =>
    ips.length === 1 ? ips[0]! : `${ips[0]} .. .${ips.at(-1)!.split('.')[3]}`;
  const cell = (text: string, width: number) => text.padEnd(width);
  say();
  say('  clients                   uoa-proxy                                   real servers');
  say('  ┌──────────────────┐     ┌──────────────────────────────────┐        ┌──────────────────┐');
  say(
    `  │ ${cell(range(clientIps), 17)}├─────┤ wan0 ${cell(LB_WAN_IP, 9)}  lan0 ${cell(LB_LAN_IP, 12)}├────────┤ ${cell(range(serverIps), 17)}│`,
  );
  say(
    `  │ ${cell(`${clientIps.length} addresses`, 17)}│     │ VIP  ${cell(VIP, 11)}LIP  ${cell(LIPS[0], 12)}│        │ ${cell('UDP port 6000', 17)}│`,
  );
  say(
    `  │ ${cell('', 17)}│     │ vports ${cell(vports.join(', '), 14)}${cell(LIPS[1], 12)}│        │ ${cell('echo + echo ACK', 17)}│`,
  );
  say('  └──────────────────┘     └──────────────────────────────────┘        └──────────────────┘');
  say(`  UOA dialect ${dialect}; the namespaces are linked by veth pairs with their offloads on`);
}

export function learnedTables(outcome: Outcome): void {
  for (const { ip, totals, learned } of outcome.servers) {
    heading(`Real server ${ip} learned ${learned.length} clients from ${totals.uoas} UOAs`);
    if (learned.length === 0) continue;
    const rows = learned.slice(0, LEARNED_SHOWN);
    table([
      ['seen as (LIP:lport)', 'is in truth', 'datagrams'],
      ...rows.map(({ local, client, datagrams }) => [local, client, datagrams]),
    ]);
    const more = learned.length - rows.length;
    if (more > 0) say(paint('dim', `  and ${more} more`));
  }
}

/** Prints the summary; true when everything held. */
export function judge({ clients, servers, metrics, strays, proxyExitCode }: Outcome): boolean {
  heading('Counters of the proxy');
  counterTables(metrics);
  heading('Result');
  const sum = (key: keyof ServerTotals) => servers.reduce((total, { totals }) => total + totals[key], 0);
  const acked = counterSum(metrics, 'uoa_acked_total');
  const notAttributed = clients.nonEmpty - sum('attributed');
  const checks: [boolean, string][] = [
    [clients.sent > 0 && clients.missing === 0, `${clients.sent} datagrams sent, ${clients.missing} lost`],
    [clients.altered === 0, `${clients.received} replies, ${clients.altered} altered`],
    [
      clients.unexpected === 0 && clients.errors === 0,
      `${clients.unexpected} replies that nobody asked for, ${clients.errors} socket errors`,
    ],
    [
      notAttributed === 0 && sum('unattributed') === 0 && sum('wrong') === 0,
      `${sum('attributed')} of ${clients.nonEmpty} datagrams with payload attributed to their client, ` +
        `${sum('unattributed')} to nobody, ${sum('wrong')} to another`,
    ],
    [acked > 0, `${acked} echo ACKs consumed by the proxy, of ${sum('acks')} sent`],
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
