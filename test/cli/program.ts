// Runs the program from source as a person would, and collects what it prints.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Paths in `args` are relative to the package. */
export function uoaProxy(...args: string[]): Outcome {
  const program = ['--import', 'tsx', 'src/main.ts', ...args];
  const env = { ...process.env, LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' };
  const { status, stdout, stderr } = spawnSync(process.execPath, program, {
    cwd: root,
    encoding: 'utf8',
    env,
  });
  return { code: status, stdout, stderr };
}
