// Everything that a service sends to: its real servers and its fallback, with where each stands in the
// config. A fallback has the dialect of its service.
import { formatEndpoint } from '../wire/address.ts';
import type { KeyPath } from './problem.ts';
import type { RealServerConfig, ServiceConfig } from './schema.ts';

type Dialect = ServiceConfig['uoa']['dialect'];

export interface Target {
  ip: string;
  port: number;
  /** What it is sent. */
  dialect: Dialect;
  /** The dialect stands at the target itself, not at the service. */
  hasOwnDialect: boolean;
  /** `10.2.0.11:6000` */
  endpoint: string;
  what: 'real server' | 'fallback';
  /** Starts at the service. */
  path: KeyPath;
  /** Where its address stands. */
  ipPath: KeyPath;
}

/** Where a service says it. */
export interface Targeted extends Pick<ServiceConfig, 'fallback'> {
  readonly realServers: readonly Pick<RealServerConfig, 'ip' | 'port' | 'dialect'>[];
  readonly uoa: Pick<ServiceConfig['uoa'], 'dialect'>;
}

export function targetsOf({ realServers, fallback, uoa }: Targeted): Target[] {
  const targets = realServers.map(({ ip, port, dialect }, index): Target => {
    const path = ['realServers', index];
    return {
      ip,
      port,
      dialect: dialect ?? uoa.dialect,
      hasOwnDialect: dialect !== undefined,
      endpoint: formatEndpoint(ip, port),
      what: 'real server',
      path,
      ipPath: [...path, 'ip'],
    };
  });
  if (fallback === undefined) return targets;
  const path = ['fallback'];
  const endpoint = formatEndpoint(fallback.ip, fallback.port);
  const { dialect } = uoa;
  return [
    ...targets,
    { ...fallback, dialect, hasOwnDialect: false, endpoint, what: 'fallback', path, ipPath: path },
  ];
}
