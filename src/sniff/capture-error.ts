// What keeps a capture from going on, for the operator: the message says what was attempted on what, the hint
// what to do.

export class CaptureError extends Error {
  override readonly name: string = 'CaptureError';
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** The capture was right up to its end, which came too early. */
export class CutShort extends CaptureError {
  override readonly name = 'CutShort';

  constructor(message: string) {
    super(message, 'what stands before it was read');
  }
}

export const cutAt = (name: string, at: number): CutShort =>
  new CutShort(`${name} ends in the middle of a packet, which begins at byte ${at}`);

export const damagedAt = (name: string, at: number, what: string): CaptureError =>
  new CaptureError(`${name} is damaged at byte ${at}: ${what}`, 'what stands before it was read');
