/** The proxy cannot start, or not stop cleanly; `hint` says what the operator can do. */
export class StartError extends Error {
  override readonly name = 'StartError';
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}
