// `uoa-proxy lab`: the embedded lab, which starts this same program as its proxy.
import { fileURLToPath } from 'node:url';
import type { FamilyName, LabDialect } from '../lab/family.ts';

export interface LabArguments {
  once: boolean;
  clients: number;
  servers: number;
  dialect: LabDialect;
  family: FamilyName;
  verbose: boolean;
}

/** Resolves with the exit code: 0 when every datagram came back unchanged and attributed. */
export async function lab({
  once,
  clients,
  servers,
  dialect,
  family,
  verbose,
}: LabArguments): Promise<number> {
  // main.ts when run from source, main.js when compiled: the same ending as this file.
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const mainPath = fileURLToPath(new URL(`../main.${ending}`, import.meta.url));
  const { runLab } = await import('../lab/lab.ts');
  return runLab({ once, clients, servers, dialect, family, verbose, mainPath });
}
