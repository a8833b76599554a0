// Commands that print an answer: it must have reached its reader before the process exits. A pipe takes 64
// KiB at once, and what Node holds beyond that would be lost with the process. Not for `run`, whose exit no
// reader of its log may hold up.

/** The answer could not be written, on a full disk for instance. */
class OutputError extends Error {
  override readonly name = 'OutputError';
  readonly hint = '';
}

/**
 * Resolves with the command's exit code once all is written, or nobody reads any more: a reader that went
 * away (EPIPE) has seen enough. Throws what the command throws, and an OutputError.
 */
export async function printing(command: () => number | Promise<number>): Promise<number> {
  const { stdout } = process;
  let broken: NodeJS.ErrnoException | undefined;
  const failed = new Promise<void>((resolve) => {
    stdout.on('error', (error) => {
      broken ??= error;
      resolve();
    });
  });
  const code = await command();
  // After an error Node calls nobody back.
  const written = new Promise<void>((resolve) => stdout.write('', () => resolve()));
  await Promise.race([written, failed]);
  if (broken !== undefined && broken.code !== 'EPIPE')
    throw new OutputError(`cannot write to standard output: ${broken.message}`, { cause: broken });
  return code;
}
