// What went wrong between us and the host, for the operator: the message says what was attempted on what, the
// hint what to do about it.
import { SysError } from './libc.ts';

export class IoError extends Error {
  override readonly name = 'IoError';
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}

/**
 * A SysError as an IoError: `what` went wrong, and a hint by its code (an errno's name). Any other error as
 * it is.
 */
export function explain(error: unknown, what: string, hintOf: (code: string) => string): unknown {
  if (!(error instanceof SysError)) return error;
  return new IoError(`${what}: ${error.message}`, hintOf(error.code), error);
}
