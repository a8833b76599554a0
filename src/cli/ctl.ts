// `uoa-proxy ctl`: asks a running proxy over its admin HTTP and prints the answer, as tables or as JSON.
import { setTimeout as wait } from 'node:timers/promises';
import { AdminClient } from '../ctl/admin-client.ts';
import { waitUntilGone } from '../ctl/drain-wait.ts';
import { type FastPathReport, fastPathLine } from '../ctl/fast-path.ts';
import { type ProbeReport, probeLines } from '../ctl/probe-text.ts';
import { ratesBetween, takeSample } from '../ctl/sample.ts';
import { plain, print, widthOf } from '../ctl/screen.ts';
import { announcedLine, type ServerAnswer, serverLine } from '../ctl/server-line.ts';
import { servicesTable } from '../ctl/services-table.ts';
import { type SessionList, sessionsTable } from '../ctl/sessions-table.ts';
import { type StatsReport, statsTable } from '../ctl/stats-table.ts';
import { age } from '../ctl/units.ts';
import { findTarget, type TargetOptions } from './ctl-target.ts';

export interface CtlOptions extends TargetOptions {
  json: boolean;
}

export type ServerAction = 'drain' | 'enable' | 'weight' | 'announce';

const SAMPLE_MS = 1000;
const output = process.stdout;

const clientOf = async (options: TargetOptions): Promise<AdminClient> =>
  new AdminClient(await findTarget(options));

const printJson = (value: unknown): void => {
  output.write(`${JSON.stringify(value, undefined, 2)}\n`);
};

/** All of these resolve with the exit code and throw what findTarget and AdminClient throw. */
export async function ctlServices(options: CtlOptions & { rate: boolean }): Promise<number> {
  const client = await clientOf(options);
  if (options.json) {
    printJson(await client.get('/services'));
    return 0;
  }
  const first = await takeSample(client);
  if (!options.rate) {
    print(output, servicesTable(first, undefined, Date.now(), widthOf(output)));
    return 0;
  }
  await wait(SAMPLE_MS);
  const second = await takeSample(client);
  print(output, servicesTable(second, ratesBetween(first, second), Date.now(), widthOf(output)));
  return 0;
}

const FILTERS = ['client', 'rs', 'lip', 'service', 'state', 'limit', 'offset'] as const;
type SessionFilters = { [name in (typeof FILTERS)[number]]?: string | number | undefined };

export async function ctlSessions(options: CtlOptions & SessionFilters): Promise<number> {
  const query = new URLSearchParams(
    FILTERS.flatMap((name): [string, string][] =>
      options[name] === undefined ? [] : [[name, String(options[name])]],
    ),
  );
  const list = await (await clientOf(options)).get<SessionList>(`/sessions?${query}`);
  if (options.json) printJson(list);
  else print(output, plain(sessionsTable(list)));
  return 0;
}

export async function ctlStats(options: CtlOptions): Promise<number> {
  const stats = await (await clientOf(options)).get<StatsReport>('/stats');
  if (options.json) printJson(stats);
  else print(output, plain(statsTable(stats)));
  return 0;
}

export interface ServerOptions extends CtlOptions {
  service: string;
  rs: string;
}

export async function ctlServer(
  action: ServerAction,
  options: ServerOptions,
  weight?: number,
): Promise<number> {
  const path = `/services/${encodeURIComponent(options.service)}/servers/${encodeURIComponent(options.rs)}`;
  const answer = await (await clientOf(options)).post<ServerAnswer>(
    `${path}/${action}`,
    weight === undefined ? undefined : { weight },
  );
  if (options.json) printJson(answer);
  else output.write(`${action === 'announce' ? announcedLine(answer) : serverLine(answer)}\n`);
  return 0;
}

export interface ProbeArguments extends ServerOptions {
  send: string | undefined;
  timeout: string | undefined;
}

/** 1 where the UOA does not come through, or nobody can tell. */
export async function ctlProbe({ service, rs, send, timeout, ...options }: ProbeArguments): Promise<number> {
  const path = `/services/${encodeURIComponent(service)}/servers/${encodeURIComponent(rs)}/probe`;
  const query = new URLSearchParams({ ...(send && { send }), ...(timeout && { timeout }) });
  const report = await (await clientOf(options)).post<ProbeReport>(`${path}?${query}`);
  if (options.json) printJson(report);
  else print(output, plain(probeLines(report)));
  return report.verdict === 'ok' || report.verdict === 'only_uoa' ? 0 : 1;
}

/** Of one service, or of all. */
export async function ctlFastPath(
  isOn: boolean,
  { service, ...options }: CtlOptions & { service?: string | undefined },
): Promise<number> {
  const path = `/fast-path/${isOn ? 'on' : 'off'}`;
  const answer = await (await clientOf(options)).post<FastPathReport>(
    service === undefined ? path : `/services/${encodeURIComponent(service)}${path}`,
  );
  if (options.json) printJson(answer);
  else output.write(`${fastPathLine(answer)}\n`);
  return 0;
}

interface ReloadAnswer {
  lines: string[];
  error?: string;
  lastChange?: { at: string; lines: string[] };
}

/** 1 when the proxy goes on with the config that it had. */
export async function ctlReload(options: CtlOptions): Promise<number> {
  const { status, json } = await (await clientOf(options)).reload();
  const { lines, error, lastChange } = json as ReloadAnswer;
  const listed = (texts: readonly string[]): string => texts.map((line) => `  ${line}\n`).join('');
  if (options.json) printJson(json);
  else if (status !== 200) process.stderr.write(`uoa-proxy: ${error}:\n${listed(lines)}`);
  else if (lines.length > 0) output.write(`${lines.join('\n')}\n`);
  else if (lastChange === undefined) output.write('nothing changed\n');
  else {
    const { at } = lastChange;
    const ago = age(Date.now() - Date.parse(at));
    output.write(`nothing changed since the reload at ${at}, ${ago} ago:\n${listed(lastChange.lines)}`);
  }
  return status === 200 ? 0 : 1;
}

export interface DrainOptions extends CtlOptions {
  timeout: string | undefined;
  /** Until the proxy is gone. */
  wait: boolean;
  cancel: boolean;
}

export async function ctlDrain({ timeout, wait, cancel, ...options }: DrainOptions): Promise<number> {
  const client = await clientOf(options);
  const say = (line: string): void => {
    if (!options.json) output.write(`${line}\n`);
  };
  if (cancel) {
    const answer = await client.post<{ wasDraining: boolean }>('/drain/cancel');
    if (options.json) printJson(answer);
    say(answer.wasDraining ? 'not draining any more: new sessions are taken' : 'it did not drain');
    return 0;
  }
  const query = timeout === undefined ? '' : `?timeout=${encodeURIComponent(timeout)}`;
  const answer = await client.post<{ timeoutMs: number }>(`/drain${query}`);
  if (options.json) printJson(answer);
  say(
    `draining: no new sessions; the proxy ends when there are none left, at the latest in ${age(answer.timeoutMs)}`,
  );
  if (wait) await waitUntilGone(client, answer.timeoutMs, say);
  return 0;
}
