// An HTTP server with /metrics and /healthz only, for programs beside the proxy; as bounded as that of the
// proxy, and as closed to web pages.
import Fastify from 'fastify';
import { AccessError, createAccess } from './access.ts';
import { createBoundedServer } from './bounded-server.ts';
import type { Family } from './families.ts';
import { createRegistry } from './registry.ts';
import { AdminListenError } from './server.ts';

export interface MetricsServer {
  readonly address: { host: string; port: number };
  close(): Promise<void>;
}

export interface MetricsSources {
  prefix: string;
  families: readonly Family[];
  /** The answer of /healthz. */
  health: () => object;
}

/** Port 0: any free one. Throws AdminListenError. */
export async function startMetricsServer(
  { prefix, families, health }: MetricsSources,
  { host, port }: { host: string; port: number },
): Promise<MetricsServer> {
  const app = Fastify({
    logger: false,
    serverFactory: createBoundedServer,
    exposeHeadRoutes: false,
    forceCloseConnections: true,
  });
  const access = createAccess({});
  app.addHook('onRequest', async ({ headers, routeOptions: { url } }) =>
    access({ headers, isLocal: false, isOpen: url === '/healthz', isChange: false }),
  );
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  });
  app.setErrorHandler((error, _request, reply) => {
    const status =
      error instanceof AccessError ? error.status : ((error as { statusCode?: number }).statusCode ?? 500);
    return reply.code(status).send({ error: (error as Error).message });
  });
  app.setNotFoundHandler((_request, reply) =>
    reply.code(404).send({ error: 'not found: there are GET /metrics and /healthz' }),
  );
  const registry = createRegistry(prefix, families);
  app.get('/metrics', async (_request, reply) => {
    reply.type(registry.contentType);
    return registry.metrics();
  });
  app.get('/healthz', async () => health());
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    throw new AdminListenError(
      `metrics cannot be served on ${where}: ${(error as Error).message}`,
      'end the program that holds the port, or give another one with --listen or admin.listen',
      { cause: error },
    );
  }
  const bound = app.server.address();
  return {
    address: { host, port: typeof bound === 'object' && bound !== null ? bound.port : port },
    close: () => app.close(),
  };
}
