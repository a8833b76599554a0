// The admin HTTP server (the only importer of fastify, with changes.ts): what it shows is read from memory at
// the moment of the request, what it changes is in changes.ts, who may do either is in access.ts. It listens
// on TCP and at a unix socket.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import Fastify, { type FastifyInstance, type HTTPMethods } from 'fastify';
import { type Access, AccessError, type AccessRules, createAccess } from './access.ts';
import { createBoundedServer } from './bounded-server.ts';
import { addChanges } from './changes.ts';
import { type LocalSocket, listenLocally, SocketInUse } from './local-socket.ts';
import { createMetrics } from './metrics.ts';
import { reportService, reportStats, uptimeSeconds } from './report.ts';
import { parseSessionQuery, parseSessionTuple, QueryError } from './session-query.ts';
import { type AdminSources, OperationError } from './sources.ts';

export type { AdminLeg, AdminSources, Operations, ReloadOutcome, ServerState } from './sources.ts';
export { OperationError } from './sources.ts';

export interface AdminServer {
  /** Where it listens; the port is the real one also when any was asked for. */
  readonly address: { host: string; port: number };
  /** Path of the admin socket; undefined where none could be had. */
  readonly socket: string | undefined;
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

export interface AdminOptions extends AccessRules {
  /** An IP address, without brackets. */
  host: string;
  /** 0: any free one. */
  port: number;
  /** Paths of the admin socket: the first that can be had; none: there is no socket. */
  sockets?: readonly string[] | undefined;
  /** Asked for at the admin socket only: who upgrades a connection to `protocol` gets it. */
  upgrade?: { protocol: string; accept(socket: Duplex, head: Buffer): void } | undefined;
  /** Told why the socket cannot be had; undefined: then it is an error. */
  onNoSocket?: ((reason: string) => void) | undefined;
}

const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
const OPEN_PATHS: readonly (string | undefined)[] = ['/healthz', '/readyz'];
/** A name and an address, percent-encoded. */
const PARAM_LENGTH = 300;

/** Throws AdminListenError. */
export async function startAdmin(sources: AdminSources, options: AdminOptions): Promise<AdminServer> {
  const { host, port } = options;
  let handle: RequestListener = () => {};
  const app = Fastify({
    logger: false,
    serverFactory: (handler) => {
      handle = handler;
      return createBoundedServer(handler);
    },
    bodyLimit: 1024,
    exposeHeadRoutes: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: PARAM_LENGTH },
    frameworkErrors: refuseBadUrl,
  });
  const locals = new WeakSet<Socket>();
  addGuards(app, createAccess(options), locals);
  // Whose cost is that of all services and workers: not for a question that comes with each new client.
  app.addHook('onRequest', async ({ routeOptions: { url } }) => {
    if (url !== '/session') sources.refresh();
  });
  refuseOtherMethods(app);
  addAnswers(app, sources);
  addChanges(app, sources);
  let local: LocalSocket | undefined;
  try {
    await app.listen({ host, port }).catch((error: unknown) => {
      throw listenError(error, host, port);
    });
    local = await listenAtSocket(handle, locals, options);
  } catch (error) {
    await app.close();
    throw error;
  }
  const bound = app.server.address();
  const address = { host, port: typeof bound === 'object' && bound !== null ? bound.port : port };
  return {
    address,
    socket: local?.path,
    close: async () => {
      local?.close();
      await app.close();
    },
  };
}

/**
 * A server of its own, with its own bound on connections: those who crowd the port do not keep its owner out.
 */
async function listenAtSocket(
  handle: RequestListener,
  locals: WeakSet<Socket>,
  { sockets = [], onNoSocket, upgrade }: AdminOptions,
): Promise<LocalSocket | undefined> {
  if (sockets.length === 0) return undefined;
  const server = createBoundedServer(handle);
  if (upgrade !== undefined)
    server.on('upgrade', ({ headers }: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.setTimeout(0);
      if (headers.upgrade === upgrade.protocol) {
        socket.write(
          `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${upgrade.protocol}\r\n\r\n`,
        );
        upgrade.accept(socket, head);
      } else
        socket.end(
          `HTTP/1.1 426 Upgrade Required\r\nUpgrade: ${upgrade.protocol}\r\nConnection: close\r\n\r\n`,
        );
    });
  server.prependListener('connection', (socket: Socket) => locals.add(socket));
  try {
    return await listenLocally(server, sockets);
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof SocketInUse)
      throw new AdminListenError(message, 'end it, or give each its own admin.socket', { cause: error });
    if (onNoSocket === undefined)
      throw new AdminListenError(`no admin socket can be opened: ${message}`, 'change admin.socket', {
        cause: error,
      });
    onNoSocket(message);
    return undefined;
  }
}

/** No hook sees such a request. */
function refuseBadUrl(
  { message, statusCode = 400 }: { message: string; statusCode?: number | undefined },
  _request: unknown,
  { raw }: { raw: ServerResponse },
): void {
  raw
    .writeHead(statusCode, { 'content-type': 'application/json; charset=utf-8' })
    .end(JSON.stringify({ error: message }));
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

function addGuards(app: FastifyInstance, access: Access, locals: WeakSet<Socket>): void {
  app.addHook('onRequest', async ({ headers, method, is404, raw, routeOptions: { url, config } }) => {
    access({
      headers,
      isLocal: locals.has(raw.socket),
      isOpen: OPEN_PATHS.includes(url),
      isChange: method === 'POST' && !is404 && !isRefusal(config),
    });
  });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  });
  app.removeAllContentTypeParsers();
  // An empty body is none.
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (_request: unknown, body: string) => {
      if (body === '') return undefined;
      try {
        return JSON.parse(body) as unknown;
      } catch (error) {
        throw new QueryError(`the body is not JSON: ${(error as Error).message}`);
      }
    },
  );
  // Before the body is read, of which this server wants to know nothing then.
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) return reply.code(404).send({ error: NOT_FOUND });
  });
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof AccessError && error.status === 401)
      reply.header('www-authenticate', 'Bearer realm="uoa-proxy"');
    return reply.code(statusOf(error)).send({ error: (error as Error).message });
  });
}

const NOT_FOUND =
  'not found: there are GET /metrics, /healthz, /readyz, /sessions, /session, /services and /stats, POST /reload, /drain, /drain/cancel, /fast-path/off or on, /services/SERVICE/fast-path/off or on, and /services/SERVICE/servers/RS/drain, enable, announce, weight or probe';

function statusOf(error: unknown): number {
  if (error instanceof QueryError) return 400;
  if (error instanceof AccessError || error instanceof OperationError) return error.status;
  return (error as { statusCode?: number }).statusCode ?? 500;
}

const isRefusal = (config: object | undefined): boolean => config !== undefined && 'isRefusal' in config;

/** Each path answers one method; the others are told which. */
function refuseOtherMethods(app: FastifyInstance): void {
  app.addHook('onRoute', ({ method, url, config }) => {
    if (isRefusal(config)) return;
    app.route({
      method: METHODS.filter((other) => other !== method),
      url,
      config: { isRefusal: true },
      onRequest: async (request, reply) =>
        reply
          .code(405)
          .header('allow', String(method))
          .send({ error: `${request.method} is not supported, only ${method} is` }),
      handler: async () => {},
    });
  });
}

function addAnswers(app: FastifyInstance, sources: AdminSources): void {
  const metrics = createMetrics(sources);

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.contentType);
    return metrics.metrics();
  });

  app.get('/healthz', async () => ({
    status: 'ok',
    version: sources.version,
    uptimeSeconds: uptimeSeconds(sources),
  }));

  app.get('/readyz', async (_request, reply) => {
    const { ready, reason } = sources.readiness();
    return reply.code(ready ? 200 : 503).send({ ready, reason });
  });

  app.get('/sessions', async (request) => {
    const serviceNames = sources.services().map(({ name }) => name);
    const query = parseSessionQuery(request.query as Record<string, unknown>, serviceNames);
    const { total, sessions } = await sources.sessions.list(query);
    return { total, offset: query.offset, limit: query.limit, sessions };
  });

  app.get('/session', async ({ query }) =>
    sources.sessions.find(parseSessionTuple(query as Record<string, unknown>)),
  );

  app.get('/services', async () => ({
    services: sources.services().map((service) => reportService(sources, service)),
  }));

  app.get('/stats', async () => reportStats(sources));
}
