// Runs a measurement in a fresh process of its own, whose memory and compiled code no other measurement has touched, and
// returns the one value that it reports.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { nodeArgv } from './load.ts';

/** Starts `file` of this folder with `input`; it answers with process.send. Throws when it ends without an answer. */
export async function measureInChild<T>(
  file: string,
  input: unknown,
  nodeOptions: readonly string[],
): Promise<T> {
  const [command = '', ...argv] = nodeArgv(file, nodeOptions);
  const child = spawn(command, [...argv, JSON.stringify(input)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let answer: { value: T } | undefined;
  child.on('message', (value) => {
    answer = { value: value as T };
  });
  const [code, signal] = await once(child, 'close');
  if (code !== 0 || answer === undefined) throw new Error(`${file} ended (${signal ?? `exit code ${code}`})`);
  return answer.value;
}
