// Programs of this folder as processes of their own, whose memory and compiled code no other measurement has
// touched.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** The argv that runs a TypeScript file, by its path from this folder. */
export function nodeArgv(file: string, nodeOptions: readonly string[] = []): string[] {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return [process.execPath, ...nodeOptions, '--import', import.meta.resolve('tsx'), path];
}

/** Starts `file` with `input`; it answers with process.send. Throws when it ends without an answer. */
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
