// `uoa-proxy lab`: the embedded lab, which starts this same program as its proxy.
import { fileURLToPath } from 'node:url';

export interface LabArguments {
  once: boolean;
  clients: number;
  servers: number;
  dialect: 'ipo' | 'opp';
  verbose: boolean;
}

/** Resolves with the exit code: 0 when every datagram came back unchanged and attributed. */
export async function lab({ once, clients, servers, dialect, verbose }: LabArguments): Promise<number> {
  // main.ts when run from source, main.js when compiled: the same ending as this file.
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const mainPath = fileURLToPath(new URL(`../main.${ending}`, import.meta.url));
  const { runLab } = await import('../lab/lab.ts');
  return runLab({ once, clients, servers, dialect, verbose, mainPath });
}
