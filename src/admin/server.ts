// The admin HTTP server (the only importer of fastify): /metrics, /healthz, /readyz, /sessions, /services. Read-only: no
// request changes anything, so it has no authentication; what it shows is guarded by the address it listens on.
import Fastify, { type FastifyInstance } from 'fastify';
import { COUNTER, counterRow, dropColumn } from '../datapath/counters.ts';
import { DROP, DROP_REASONS } from '../datapath/verdict.ts';
import { createMetrics } from './metrics.ts';
import { parseSessionQuery, QueryError } from './session-query.ts';
import { type AdminSources, firstServerOf } from './sources.ts';

export type { AdminLeg, AdminService, AdminSources } from './sources.ts';

export interface AdminServer {
  /** Where it listens; the port is the real one also when any was asked for. */
  readonly address: { host: string; port: number };
  /** Ends open connections and stops listening. */
  close(): Promise<void>;
}

/** The admin server cannot listen; `hint` says what the operator can do. */
export class AdminListenError extends Error {
  override readonly name = 'AdminListenError';
  readonly hint: string;

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

const CONNECTIONS_MAX = 256;

/** Throws AdminListenError. */
export async function startAdmin(
  sources: AdminSources,
  { host, port }: { host: string; port: number },
): Promise<AdminServer> {
  const app = Fastify({
    logger: false,
    bodyLimit: 1024,
    requestTimeout: 10_000,
    connectionTimeout: 30_000,
    keepAliveTimeout: 20_000,
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 100 },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  addGuards(app);
  app.addHook('onRequest', async () => sources.refresh());
  addRoutes(app, sources);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw listenError(error, host, port);
  }
  const bound = app.server.address();
  const address = { host, port: typeof bound === 'object' && bound !== null ? bound.port : port };
  return { address, close: () => app.close() };
}

function listenError(error: unknown, host: string, port: number): AdminListenError {
  const where = `admin server cannot listen on ${host.includes(':') ? `[${host}]` : host}:${port}`;
  const { code, message } = error as NodeJS.ErrnoException;
  const options = { cause: error };
  if (code === 'EADDRINUSE') {
    return new AdminListenError(
      `${where}: the port is in use`,
      'end the program that holds it or change admin.listen',
      options,
    );
  }
  if (code === 'EADDRNOTAVAIL') {
    return new AdminListenError(`${where}: this host has no such address`, 'change admin.listen', options);
  }
  if (code === 'EACCES') {
    return new AdminListenError(
      `${where}: permission denied`,
      'change admin.listen to a port above 1023',
      options,
    );
  }
  return new AdminListenError(`${where}: ${message}`, 'change admin.listen', options);
}

function addGuards(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    if (request.method === 'GET') return;
    return reply
      .code(405)
      .header('allow', 'GET')
      .send({ error: `${request.method} is not supported, only GET is` });
  });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  });
  app.setNotFoundHandler((_request, reply) =>
    reply
      .code(404)
      .send({ error: 'not found: there are /metrics, /healthz, /readyz, /sessions and /services' }),
  );
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof QueryError) return reply.code(400).send({ error: error.message });
    const { statusCode = 500, message } = error as { statusCode?: number; message: string };
    return reply.code(statusCode).send({ error: message });
  });
}

function addRoutes(app: FastifyInstance, sources: AdminSources): void {
  const metrics = createMetrics(sources);
  const serviceNames = sources.services.map(({ name }) => name);

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.contentType);
    return metrics.metrics();
  });

  app.get('/healthz', async () => ({
    status: 'ok',
    version: sources.version,
    uptimeSeconds: Math.floor((Date.now() - sources.startedAt.getTime()) / 1000),
  }));

  app.get('/readyz', async (_request, reply) => {
    const { ready, reason } = sources.readiness();
    return reply.code(ready ? 200 : 503).send({ ready, reason });
  });

  app.get('/sessions', async (request) => {
    const query = parseSessionQuery(request.query as Record<string, unknown>, serviceNames);
    const { total, sessions } = sources.sessions.list(query);
    return { total, offset: query.offset, limit: query.limit, sessions };
  });

  app.get('/services', async () => ({
    services: sources.services.map((_, index) => describeService(sources, index)),
  }));
}

function describeService({ services, counters, refusals }: AdminSources, index: number): object {
  const { name, vips, vport, scheduler, maxTrials, unifiedType, onUnsupported, realServers } =
    services[index]!;
  const firstServer = firstServerOf(services, index);
  const row = counterRow(index);
  const { sessionsOneway, sessionsNormal, ...named } = COUNTER;
  const read = ([key, column]: [string, number]) => [key, counters[row + column]];
  return {
    name,
    vips,
    vport,
    scheduler,
    uoa: { maxTrials, unifiedType, onUnsupported },
    realServers: realServers.map(({ ip, port, weight, dialect }, i) => ({
      ip,
      port,
      weight,
      dialect,
      refusals: refusals[firstServer + i],
    })),
    sessions: { oneway: counters[row + sessionsOneway], normal: counters[row + sessionsNormal] },
    counters: Object.fromEntries(Object.entries(named).map(read)),
    drops: Object.fromEntries(
      DROP_REASONS.map((reason) => [reason, counters[row + dropColumn(DROP[reason])]]),
    ),
  };
}
