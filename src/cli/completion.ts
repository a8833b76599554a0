// `uoa-proxy completion`: a script for bash or zsh that asks this program what could stand at the cursor:
// commands and options as yargs knows them, and the services and real servers of the proxy that runs.
import type { Argv } from 'yargs';
import { AdminClient } from '../ctl/admin-client.ts';
import { serverName, takeSample } from '../ctl/sample.ts';
import { findTarget } from './ctl-target.ts';

export const SHELLS = ['bash', 'zsh'] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * What the scripts call this program with; the words of the command line follow, the last one is to be
 * completed.
 */
export const COMPLETE = '--complete';

/**
 * A real server's name has colons, where bash would end a word: only what is behind the last one is put in
 * then.
 */
const BASH = `# uoa-proxy completion for bash: eval "$(uoa-proxy completion bash)" in ~/.bashrc
_uoa_proxy() {
  local line="\${COMP_LINE:0:COMP_POINT}" words current IFS=$'\\n'
  read -ra words -d '' <<< "\${line// /$'\\n'}"
  [[ $line == *' ' ]] && words+=('')
  current="\${words[\${#words[@]}-1]}"
  COMPREPLY=($(compgen -W "$(uoa-proxy ${COMPLETE} "\${words[@]:1}" 2>/dev/null)" -- "$current"))
  if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}")
  fi
}
complete -o default -F _uoa_proxy uoa-proxy
`;

const ZSH = `#compdef uoa-proxy
# uoa-proxy completion for zsh: eval "$(uoa-proxy completion zsh)" in ~/.zshrc, after compinit
_uoa_proxy() {
  local -a found
  found=("\${(@f)$(uoa-proxy ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -- $found; else _default; fi
}
compdef _uoa_proxy uoa-proxy
`;

export function printCompletion(shell: Shell): number {
  process.stdout.write(shell === 'bash' ? BASH : ZSH);
  return 0;
}

/**
 * What could stand in place of the last word. `parserOf` makes a parser of the command line that it is given.
 * Never rejects: a completion that fails is none.
 */
export async function complete(
  parserOf: (argv: readonly string[]) => Argv,
  words: readonly string[],
): Promise<string[]> {
  try {
    const current = words.at(-1) ?? '';
    const found = (await namesFor(words)) ?? (await commandsAndOptions(parserOf, words));
    return [...new Set(found)].filter((word) => word.startsWith(current)).sort();
  } catch {
    return [];
  }
}

/**
 * As the scripts that yargs has of its own ask it; they do not know of names with colons, nor of running
 * proxies.
 */
async function commandsAndOptions(
  parserOf: (argv: readonly string[]) => Argv,
  words: readonly string[],
): Promise<string[]> {
  process.env.SHELL = 'bash'; // decides how yargs prints what it found: without descriptions
  const argv = ['--get-yargs-completions', 'uoa-proxy', ...words];
  let found = '';
  await parserOf(argv).parse(argv, {}, (_error, _parsed, output) => {
    found = output;
  });
  return found.split('\n').filter((word) => word !== '' && !/^--.$/.test(word));
}

const VALUED = [
  '--admin',
  '--token-file',
  '--config',
  '-c',
  '--client',
  '--rs',
  '--lip',
  '--service',
  '--limit',
  '--offset',
  '--timeout',
  '--send',
];

/** Services or real servers, where one is to be named; undefined elsewhere. */
async function namesFor(words: readonly string[]): Promise<string[] | undefined> {
  if (words[0] !== 'ctl') return undefined;
  const before = words.at(-2) ?? '';
  const plain = words
    .slice(0, -1)
    .filter((word, i, all) => !word.startsWith('-') && !VALUED.includes(all[i - 1] ?? ''));
  if (before === '--service') return services(words);
  if (before === '--rs') return servers(words);
  if (VALUED.includes(before)) return []; // nothing, so that the shell proposes files
  if (plain[1] === 'fast-path' && plain[2] !== undefined && !words.at(-1)!.startsWith('-'))
    return plain.length === 3 ? services(words) : [];
  const at = plain[1] === 'server' && plain[2] !== undefined ? 3 : plain[1] === 'probe' ? 2 : 0;
  if (at === 0 || words.at(-1)!.startsWith('-')) return undefined;
  if (plain.length === at) return services(words);
  return plain.length === at + 1 ? servers(words, plain[at]) : [];
}

async function services(words: readonly string[]): Promise<string[]> {
  return (await sample(words)).services.map(({ name }) => name);
}

async function servers(words: readonly string[], service?: string): Promise<string[]> {
  const all = (await sample(words)).services;
  return all
    .filter(({ name }) => service === undefined || name === service)
    .flatMap(({ realServers }) => realServers.map(serverName));
}

async function sample(words: readonly string[]) {
  const given = (...names: string[]): string | undefined => {
    const at = words.findIndex((word) => names.includes(word));
    return at < 0 ? undefined : words[at + 1];
  };
  const target = await findTarget({
    admin: given('--admin'),
    tokenFile: given('--token-file'),
    config: given('--config', '-c'),
  });
  return takeSample(new AdminClient(target));
}
