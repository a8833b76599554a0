// docker/Dockerfile as data: its instructions in order, and which files of the working copy a build gets to
// see. Only what that file uses is understood; what is not is an error.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Instruction {
  keyword: string;
  /** `--name=value` before the arguments. */
  flags: Record<string, string>;
  /** The rest of the line, continuation lines joined. */
  text: string;
}

export interface Stage {
  /** '' where it has none. */
  name: string;
  instructions: Instruction[];
}

const KEYWORDS =
  /^(?:ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|RUN|STOPSIGNAL|USER|WORKDIR)$/;

/** The instructions before the first FROM, then each stage. */
export function readDockerfile(): { before: Instruction[]; stages: Stage[] } {
  const before: Instruction[] = [];
  const stages: Stage[] = [];
  const text = readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8')
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, '');
  for (const line of text.split('\n').filter((each) => each.trim() !== '')) {
    const instruction = parse(line);
    if (instruction.keyword === 'FROM') {
      stages.push({ name: / AS (\S+)$/.exec(instruction.text)?.[1] ?? '', instructions: [] });
    }
    (stages.at(-1)?.instructions ?? before).push(instruction);
  }
  return { before, stages };
}

function parse(line: string): Instruction {
  const [, keyword = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
  if (!KEYWORDS.test(keyword)) throw new Error(`docker/Dockerfile: what is "${line}"?`);
  const flags: Record<string, string> = {};
  const text = rest.replaceAll(/(?<=^|\s)--([a-z-]+)=(\S+)\s+/g, (match, name: string, value: string) => {
    if (keyword === 'RUN' || keyword === 'ENTRYPOINT' || keyword === 'CMD') return match;
    flags[name] = value;
    return '';
  });
  return { keyword, flags, text };
}

/** The exec form of CMD, ENTRYPOINT or HEALTHCHECK; undefined for the shell form. */
export function execForm(text: string): string[] | undefined {
  const list = /^(?:CMD )?(\[.*\])$/.exec(text)?.[1];
  return list === undefined ? undefined : (JSON.parse(list) as string[]);
}

/** The paths that .dockerignore lets through, for its form "nothing but": `*`, then a `!path` each. */
export function buildContext(): string[] {
  const lines = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  const [first, ...others] = lines;
  if (first !== '*' || others.some((line) => !/^![\w./-]+$/.test(line))) {
    throw new Error('.dockerignore: `*` and then lines of the form !path are expected');
  }
  return others.map((line) => line.slice(1));
}

/** Whether a path of the working copy, a file or a whole folder, is part of the build context. */
export function isInContext(path: string): boolean {
  return buildContext().some((entry) => path === entry || path.startsWith(`${entry}/`));
}

/** All files below a folder of the working copy. */
export function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((path) => join(folder, path))
    .filter((path) => statSync(join(ROOT, path)).isFile())
    .sort();
}
