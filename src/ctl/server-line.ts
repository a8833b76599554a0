// What a change of one real server is answered with, in one line.
import type { ServerReport } from '../admin/report.ts';
import { serverName } from './sample.ts';
import { weightText } from './services-table.ts';
import { plural } from './units.ts';

export interface ServerAnswer {
  service: string;
  server: ServerReport;
}

export function serverLine({ service, server }: ServerAnswer): string {
  const { state, reason, sessions } = server;
  const how = state === 'up' ? state : reason.startsWith(state) ? reason : `${state}, ${reason}`;
  const open = plural(sessions.normal + sessions.oneway, 'session');
  return `${service} ${serverName(server)}: ${how}, weight ${weightText(server)}, ${open}`;
}
