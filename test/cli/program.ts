// Runs the program as a person would, and collects what it prints.
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeArgv } from '../../src/lab/programs.ts';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * The program under test: the build when it is newer than the source, because that starts faster; else the
 * source.
 */
export const MAIN = (() => {
  const built = statSync(join(root, 'dist/main.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const isNewer = sources.every((path) => statSync(join(root, 'src', path)).mtimeMs <= built);
  return join(root, isNewer ? 'dist/main.js' : 'src/main.ts');
})();

/** The command that runs it, without arguments. */
export const PROGRAM: readonly string[] = nodeArgv(MAIN);
/** The same as words of a shell. */
export const PROGRAM_WORDS = PROGRAM.map((word) => `'${word}'`).join(' ');

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Paths in `args` are relative to the package. */
export function uoaProxy(...args: string[]): Outcome {
  const [node, ...program] = PROGRAM;
  const env = { ...process.env, LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' };
  const { status, stdout, stderr } = spawnSync(node, [...program, ...args], {
    cwd: root,
    encoding: 'utf8',
    env,
  });
  return { code: status, stdout, stderr };
}
