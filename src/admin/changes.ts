// What can be changed over HTTP: POST /reload, /drain, /drain/cancel, drain, enable, announce or weight of
// one real server, and whether there is a fast path, of a service or of all. Names are looked up here, so
// that a wrong one is answered with those that there are; what a change means is sources.operations'
// business. A probe changes nothing, but sends to a real server.
import type { FastifyInstance } from 'fastify';
import { payload } from '../config/payload.ts';
import { duration, integer } from '../config/reader.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';
import { readEndpoint } from './endpoint.ts';
import { unknownName } from './names.ts';
import { reportFastPath, reportServer } from './report.ts';
import { QueryError } from './session-query.ts';
import { type AdminSources, OperationError, type ProbeOptions } from './sources.ts';

/** It looks at the host first; meanwhile the connection says nothing, for which others are closed. */
const RELOAD_MS = 120_000;
const drainTimeout = duration('0s', '24h');
const weightRange = integer(0, 65_535);
/** Its client waits for an answer for ten seconds. */
const probeTimeout = duration('10ms', '8s');
const probePayload = payload();

interface Target {
  Params: { service: string; rs: string };
}

export function addChanges(app: FastifyInstance, sources: AdminSources): void {
  const { operations } = sources;

  app.post('/reload', async ({ raw }, reply) => {
    raw.socket.setTimeout(RELOAD_MS);
    const { ok, lines, lastChange } = await operations.reload();
    if (ok) return lastChange === undefined ? { ok, lines } : { ok, lines, lastChange };
    return reply.code(422).send({ error: 'the config was not taken, nothing changed', ok, lines });
  });

  app.post('/drain', async (request) => {
    const timeoutMs = operations.drain(readDrainTimeout(request.query as Record<string, unknown>));
    return { draining: true, timeoutMs };
  });

  app.post('/drain/cancel', async () => ({ draining: false, wasDraining: operations.cancelDrain() }));

  for (const [path, isOn] of [
    ['off', false],
    ['on', true],
  ] as const) {
    app.post(`/fast-path/${path}`, async () => {
      operations.switchFastPath(isOn, undefined);
      return reportFastPath(sources);
    });
    app.post<Target>(`/services/:service/fast-path/${path}`, async ({ params }) => {
      operations.switchFastPath(isOn, findService(sources, params).name);
      return reportFastPath(sources);
    });
  }

  app.post<Target>('/services/:service/servers/:rs/drain', async ({ params }) => {
    const target = find(sources, params);
    operations.drainServer(target.service.name, serverName(target.server));
    return report(sources, params);
  });

  app.post<Target>('/services/:service/servers/:rs/enable', async ({ params }) => {
    const target = find(sources, params);
    operations.enableServer(target.service.name, serverName(target.server));
    return report(sources, params);
  });

  app.post<Target>('/services/:service/servers/:rs/announce', async ({ params }) => {
    const target = find(sources, params);
    operations.announceServer(target.service.name, serverName(target.server));
    return report(sources, params);
  });

  app.post<Target>('/services/:service/servers/:rs/weight', async ({ params, body }) => {
    const target = find(sources, params);
    operations.setWeight(target.service.name, serverName(target.server), readWeight(body));
    return report(sources, params);
  });

  app.post<Target>('/services/:service/servers/:rs/probe', async ({ params, query }) => {
    const target = find(sources, params);
    const options = readProbe(query as Record<string, unknown>);
    return await operations.probe(target.service.name, serverName(target.server), options);
  });
}

function readProbe(query: Record<string, unknown>): ProbeOptions {
  const { send, timeout, ...others } = query;
  for (const name of Object.keys(others))
    throw new QueryError(`unknown parameter ${JSON.stringify(name)}: expected send, timeout`);
  const bytes = send === undefined ? undefined : probePayload.read(send);
  if (send !== undefined && (bytes === undefined || bytes.length === 0))
    throw new QueryError(`send ${JSON.stringify(send)}: expected ${probePayload.allowed}, at least one`);
  const timeoutMs = timeout === undefined ? undefined : probeTimeout.read(timeout);
  if (timeout !== undefined && timeoutMs === undefined)
    throw new QueryError(`timeout ${JSON.stringify(timeout)}: expected ${probeTimeout.allowed}`);
  return { payload: bytes, timeoutMs };
}

function readDrainTimeout(query: Record<string, unknown>): number | undefined {
  for (const name of Object.keys(query)) {
    if (name !== 'timeout')
      throw new QueryError(`unknown parameter ${JSON.stringify(name)}: expected timeout`);
  }
  if (query.timeout === undefined) return undefined;
  const ms = drainTimeout.read(query.timeout);
  if (ms === undefined)
    throw new QueryError(`timeout ${JSON.stringify(query.timeout)}: expected ${drainTimeout.allowed}`);
  return ms;
}

function readWeight(body: unknown): number {
  const given = typeof body === 'object' && body !== null && 'weight' in body ? body.weight : undefined;
  const weight = weightRange.read(given);
  if (weight === undefined)
    throw new QueryError(
      `weight ${JSON.stringify(given) ?? 'is missing'}: expected {"weight": ${weightRange.allowed}}`,
    );
  return weight;
}

/** The real server after the change, as /services shows it. */
function report(sources: AdminSources, params: Target['Params']): object {
  const { service, server } = find(sources, params);
  return { service: service.name, server: reportServer(sources, service, server) };
}

/** Throws an OperationError with the names that there are. */
function findService(sources: AdminSources, params: Pick<Target['Params'], 'service'>): ServicePlan {
  const services = sources.services();
  const service = services.find(({ name }) => name === params.service);
  if (service !== undefined) return service;
  const names = services.map(({ name }) => name);
  throw new OperationError(404, unknownName('service', params.service, names));
}

/** As findService. */
function find(
  sources: AdminSources,
  params: Target['Params'],
): { service: ServicePlan; server: RealServerPlan } {
  const service = findService(sources, params);
  const endpoint = readEndpoint(params.rs);
  const server = service.realServers.find(({ ip, port }) => ip === endpoint?.ip && port === endpoint.port);
  if (server === undefined) {
    const names = service.realServers.map(serverName);
    throw new OperationError(404, unknownName(`real server of ${service.name}`, params.rs, names));
  }
  return { service, server };
}
