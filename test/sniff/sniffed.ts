// What two readers say about a capture file: `uoa-proxy sniff --json`, run as a person would, and tshark with
// our script.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { uoaProxy } from '../cli/program.ts';

const SCRIPT = fileURLToPath(new URL('../../docker/wireshark/uoa.lua', import.meta.url));

/** A line of --json. */
export interface Line {
  time: string;
  interface: string | null;
  kind: string;
  dialect: string | null;
  optionType: number | null;
  client: string | null;
  clientPort: number | null;
  vip: string | null;
  vport: number | null;
  src: string;
  sport: number;
  dst: string;
  dport: number;
  lip: string | null;
  lport: number | null;
  rs: string | null;
  rsPort: number | null;
  payloadLength: number | null;
  fragment: boolean;
  malformed: string | null;
}

export const parseLines = (text: string): Line[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);

export function sniffed(
  path: string,
  ...words: string[]
): { code: number | null; lines: Line[]; stderr: string } {
  const { code, stdout, stderr } = uoaProxy('sniff', '-r', path, '--json', ...words);
  return { code, lines: parseLines(stdout), stderr };
}

/** A row of these fields for each packet; tshark must end well and our script must not complain. */
export function dissected(path: string, fields: readonly string[], filter?: string): string[][] {
  const argv = ['-n', '-X', `lua_script:${SCRIPT}`, '-r', path, '-T', 'fields', '-E', 'separator=|'];
  const wanted = fields.flatMap((field) => ['-e', field]);
  const which = filter === undefined ? [] : ['-Y', filter];
  const options = { encoding: 'utf8', maxBuffer: 1 << 28 } as const;
  const { status, stdout, stderr, error } = spawnSync('tshark', [...argv, ...wanted, ...which], options);
  assert.equal(error, undefined, 'tshark runs');
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /lua|error/i);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split('|'));
}
