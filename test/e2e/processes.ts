// The processes of a proxy.
import { readFileSync } from 'node:fs';
import type { ProxyProcess } from '../../src/lab/programs.ts';

/** Its datapath processes. */
export const workersOf = ({ child: { pid } }: ProxyProcess): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .map(Number)
    .filter((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('worker-main'));
