// The client, server or pinger of a test, run by endpoint-program.ts in a namespace, and how to ask it
// something.

import { type Cleanup, type Program, startProgram } from '../io/namespaces.ts';
import type { EndpointSpec, Request } from './endpoint-program.ts';

/** Started and bound; port 0 for any. */
export async function startEndpoint(t: Cleanup, ns: string, spec: EndpointSpec): Promise<Program> {
  const endpoint = startProgram(t, ns, 'host/endpoint-program.ts', spec);
  await endpoint.next('ready');
  return endpoint;
}

export async function ask<T>(endpoint: Program, request: Request): Promise<T> {
  endpoint.write(request);
  return endpoint.next<T>('answer');
}
