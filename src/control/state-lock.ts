// Whose the state file is: one process at a time has it, by a lock beside it, and nobody else writes it. A
// process that takes over finds it locked by the one before, and has it when that one is gone.
import { lstatSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { type FileLock, lockFile } from '../sys/file-lock.ts';
import { WholeFile } from '../sys/whole-file.ts';
import { StartError } from './start-error.ts';

export class StateLock {
  readonly #stateFile: string | undefined;
  readonly #log: Logger;
  #lock: FileLock | undefined;

  private constructor(stateFile: string | undefined, log: Logger) {
    this.#stateFile = stateFile;
    this.#log = log;
  }

  /**
   * What will keep sessions from being saved is said now, not at the stop. `before`: the `id` of the proxy
   * that this one takes over from. Throws a StartError when another proxy has the file.
   */
  static take({ sessions: { stateFile } }: Config, log: Logger, before: string): StateLock {
    const lock = new StateLock(stateFile, log);
    if (stateFile === undefined) return lock;
    try {
      lock.#lock = lockFile(pathOf(stateFile));
      if (lock.#lock !== undefined) new WholeFile(stateFile).tryToWrite();
      else if (before === '' || idOf(stateFile) !== before)
        throw new StartError(taken(stateFile), 'stop it, or give each a state file of its own');
    } catch (error) {
      if (error instanceof StartError) throw error;
      log.error(`sessions will not be saved: sessions.stateFile ${stateFile}: ${(error as Error).message}`);
    }
    return lock;
  }

  /** Of the lock that this process has, so that another one can tell whose it is; '': it has none. */
  get id(): string {
    return this.#lock === undefined ? '' : idOf(this.#stateFile!);
  }

  /** Whether the file may be written. Where it may not the log says so, behind `otherwise`. */
  hold(otherwise: string): boolean {
    if (this.#lock !== undefined || this.#stateFile === undefined) return this.#lock !== undefined;
    let problem = taken(this.#stateFile);
    try {
      this.#lock = lockFile(pathOf(this.#stateFile));
      if (this.#lock !== undefined) return true;
    } catch (error) {
      problem = `sessions.stateFile ${this.#stateFile}: ${(error as Error).message}`;
    }
    this.#log.error(`${otherwise}: ${problem}`);
    return false;
  }

  release(): void {
    this.#lock?.release();
    this.#lock = undefined;
  }
}

const pathOf = (stateFile: string): string => `${stateFile}.lock`;

const taken = (stateFile: string): string => `another uoa-proxy has sessions.stateFile ${stateFile}`;

/** By its path a file could be two in two places. */
function idOf(stateFile: string): string {
  const found = lstatSync(pathOf(stateFile), { bigint: true, throwIfNoEntry: false });
  return found === undefined ? '' : `${found.dev}:${found.ino}`;
}
