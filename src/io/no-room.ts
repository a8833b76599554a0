// The refusal of a config that a capture filter has no room for.
import { IoError } from '../sys/io-error.ts';

/** There are more services and addresses than a filter has room for, in any mode. */
export class NoRoomError extends IoError {
  /** Whether a process with more rights would need no filter. */
  readonly isForRights: boolean;

  constructor(message: string, hint: string, isForRights = false) {
    super(message, hint);
    this.isForRights = isForRights;
  }
}
