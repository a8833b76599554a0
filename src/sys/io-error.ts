// What went wrong between us and the host, for the operator: the message says what was attempted on what, the
// hint what to do about it.

export class IoError extends Error {
  override readonly name = 'IoError';
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}
