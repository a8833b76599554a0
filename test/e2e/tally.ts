// Holds what the clients counted against what the real servers counted.
import assert from 'node:assert/strict';
import type { Answer, PythonProgram } from './harness.ts';

export async function endAll(servers: readonly PythonProgram[]): Promise<Answer[]> {
  return await Promise.all(servers.map((server) => server.end()));
}

export function sumOf(results: readonly Answer[], key: string): number {
  return results.reduce((total, result) => total + Number(result[key] ?? 0), 0);
}

/** The tables of all servers in one. */
export function joined(results: readonly Answer[], key: string): Record<string, unknown> {
  return Object.assign({}, ...results.map((result) => result[key]));
}

/**
 * All `count` datagrams came back as they were, and each that names its sender was attributed to it;
 * `nameless` more, of somebody else, to nobody.
 */
export function assertAllRight(
  clients: Answer,
  servers: readonly Answer[],
  count: number,
  nameless = 0,
): void {
  const { sent, answered, altered, missing, unexpected, refused, named } = clients;
  assert.deepEqual(
    { sent, answered, altered, missing, unexpected, refused },
    { sent: count, answered: count, altered: 0, missing: 0, unexpected: 0, refused: 0 },
  );
  assert.deepEqual(
    {
      attributed: sumOf(servers, 'attributed'),
      unattributed: sumOf(servers, 'unattributed'),
      wrong: sumOf(servers, 'wrong'),
    },
    { attributed: named, unattributed: nameless, wrong: 0 },
  );
  assert.equal(sumOf(servers, 'distinctClients'), clients.clients, 'each client is known to one server');
}
