// What a change of one real server is answered with, in one line.
import type { ServerReport } from '../admin/report.ts';
import { serverName } from './sample.ts';
import { stateText, weightText } from './services-table.ts';
import { plural } from './units.ts';

export interface ServerAnswer {
  service: string;
  server: ServerReport;
}

export function serverLine({ service, server }: ServerAnswer): string {
  const { state, reason, sessions } = server;
  const text = stateText(server);
  const how = state === 'up' ? text : reason.startsWith(state) ? reason : `${text}, ${reason}`;
  const open = plural(sessions.normal + sessions.oneway, 'session');
  return `${service} ${serverName(server)}: ${how}, weight ${weightText(server)}, ${open}`;
}

export function announcedLine({ service, server }: ServerAnswer): string {
  const { normal, oneway } = server.sessions;
  const open = plural(normal + oneway, 'session');
  return `${service} ${serverName(server)}: is told of the clients of its ${open} again, each with its next packet`;
}
