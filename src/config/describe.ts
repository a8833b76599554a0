// The schema as people read it: config/full.yaml and docs/config.md. Text only; generate.ts writes the files
// and a test compares them.

import type * as z from 'zod';
import { isReadOver, oneOfWords, sameDialects, UOA_DIALECTS } from '../uoa/dialect.ts';
import { entries, type KeyEntry } from './key.ts';
import { CONFIG_SCHEMA } from './schema.ts';

const COLUMNS = 110;

/**
 * Every key at its default with its help. Keys without default carry an example; optional ones are commented
 * out.
 */
export function renderFullYaml(): string {
  const lines = [
    '# Every key of the config at its default. Generated from src/config/schema.ts by `npm run docs`: do not edit.',
    '# Required keys have no default and stand here with an example. Optional keys without default are',
    '# commented out.',
  ];
  const keys = [...entries(CONFIG_SCHEMA)];
  for (const [index, key] of keys.entries()) {
    const indent = '  '.repeat(key.path.length - 1);
    if (key.path.length === 1) lines.push('');
    lines.push(...comment(key, indent));
    lines.push(yamlLine(key, indent));
    if (key.kind === 'list' && keys[index + 1]?.path.length !== key.path.length + 1)
      lines.push(`${indent}  -`);
  }
  return `${lines.join('\n')}\n`;
}

function yamlLine(key: KeyEntry, indent: string): string {
  const name = key.path.at(-1)!;
  if (name === '[]') return `${indent}${key.required ? '' : '# '}- ${key.example}`;
  if (key.default !== undefined) return `${indent}${name}: ${key.default}`;
  if (key.kind !== 'key') return `${indent}${name}:`;
  return `${indent}${key.required ? '' : '# '}${name}: ${key.example}`;
}

function comment(key: KeyEntry, indent: string): string[] {
  const texts = [key.help];
  if (key.kind !== 'group') texts.push(`[${key.allowed}]${key.required ? ' required' : ''}`);
  return texts.flatMap((text) => wrap(text, `${indent}# `));
}

/** Each line begins with `margin`, the first one with `mark` at its end. */
function wrap(text: string, margin: string, mark = ''): string[] {
  const lines: string[] = [];
  let line = margin + mark;
  let isEmpty = true;
  for (const word of text.split(' ')) {
    if (!isEmpty && line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = margin + ' '.repeat(mark.length) + word;
    } else line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...lines, line];
}

/** Wraps the paragraphs and list items of a page, however they are wrapped. */
const wrapPage = (markdown: string): string =>
  markdown
    .replace(/([^\n|>])\n(?: {2})?(?=[^\s|#<-])/g, '$1 ')
    .split('\n')
    .flatMap((line) => {
      if (/^[|#<]/.test(line)) return line;
      return line.startsWith('- ') ? wrap(line.slice(2), '', '- ') : wrap(line, '');
    })
    .join('\n');

/** One row per key: path, what is allowed, default, meaning. */
export function renderMarkdownTable(schema: z.ZodType = CONFIG_SCHEMA): string {
  const rows = [...entries(schema)].map((key) => [
    `\`${tablePath(key.path)}\``,
    key.kind === 'group' ? '' : key.allowed,
    tableDefault(key),
    key.help,
  ]);
  const all = [['Key', 'Allowed', 'Default', 'Meaning'], ['---', '---', '---', '---'], ...rows];
  return all.map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');
}

function tablePath(path: readonly string[]): string {
  return path.join('.').replaceAll('.[]', '[]');
}

function tableDefault(key: KeyEntry): string {
  if (key.default !== undefined) return `\`${key.default}\``;
  return key.required ? 'required' : '';
}

/** docs/config.md. */
export function renderConfigPage(): string {
  const unreadOverIpv6 = oneOfWords(UOA_DIALECTS.filter((dialect) => !isReadOver(dialect, 6)));
  return wrapPage(`# Config

<!-- Generated from src/config/schema.ts by \`npm run docs\`: do not edit. -->

One YAML file. \`uoa-proxy check --config FILE\` lists every problem in it with its line, and exits with 1 if there is one.
Unknown keys are errors. The file is a regular one of at most 16 MiB. \`config/full.yaml\` holds every key at its default;
the other files in \`config/\` are examples that work.

An IPv6 address may be written in any notation; it is shown in its shortest one (RFC 5952). Link-local addresses and
addresses with a zone id cannot be used.

${renderMarkdownTable()}

What several keys must satisfy together:

- Each \`vip:vport\`, and each service name, stands once; so do the \`lips\`, the real servers and the \`fallback\` within a service.
- A real server or \`fallback\` is not itself a \`vip:vport\`: that would be a loop.
- A real server or \`fallback\` has an address of a family that one of the \`lips\` has too. The families of the \`vip\` do not
  matter: a client over IPv6 may be sent to a real server over IPv4 (NAT64), and the other way round (NAT46).
- A real server over IPv6 is not sent ${unreadOverIpv6}, which no receiver reads there, and \`mtu\` is at least 1280 then.
- \`onUnsupported\` is not the dialect that a real server has anyway (${sameDialects().join('; ')}).
- Where a LIP is also a VIP or the address of a real server, \`lports\` leaves out the port that is in use there.
- Services that share a LIP and a real server have either the same \`lports\` or ranges that do not overlap.
- \`health.command\` is there for type exec, and \`health.timeout\` is at most ten times \`health.interval\`.
- No prefix stands in \`allow\` and in \`deny\`.
- At most 1,000 services, 4,096 real servers in total, and 65,535 combinations of a LIP and a real
  server of its family in total; a \`fallback\` counts as a real server.

A key that has no effect together with the others (\`health.path\` with type tcp, \`persistence\` with a scheduler that keeps a
client at its server anyway, a limit behind a lower one) is no error: \`check\` and the log of the start warn of it.

A reload takes all keys of the file but those of \`io\`, \`admin\` and \`sessions\`, and \`log.format\`: a file that changes one of
these is refused as a whole, with the keys that need a restart, and the config before stays.
`);
}
