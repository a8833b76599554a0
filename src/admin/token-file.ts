// The token that a request must bring: the first line of a file, which is read again when it changed, so that
// a token can be replaced while the proxy runs. What cannot be used then is said once, and the token before
// stays.
import { statSync } from 'node:fs';
import { readTrusted } from '../sys/trusted-file.ts';

const LENGTH_MIN = 16;
const FILE_BYTES = 64 << 10;

/** The file cannot be used; `hint` says what the operator can do. */
export class TokenError extends Error {
  override readonly name = 'TokenError';
  readonly hint: string;

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

export class TokenFile {
  readonly #path: string;
  readonly #onProblem: (message: string) => void;
  #version: string;
  #token: string;

  /** Throws a TokenError. */
  constructor(path: string, onProblem: (message: string) => void) {
    this.#path = path;
    this.#onProblem = onProblem;
    this.#version = this.#look();
    this.#token = this.#read();
  }

  /** Looks at the file, some microseconds, and reads it when it is another than before. */
  get current(): string {
    const version = this.#look();
    if (version !== this.#version) {
      this.#version = version;
      try {
        this.#token = this.#read();
      } catch (error) {
        const { message, hint } = error as TokenError;
        this.#onProblem(`the token before stays in use: ${message} (${hint})`);
      }
    }
    return this.#token;
  }

  #look(): string {
    const found = statSync(this.#path, { throwIfNoEntry: false, bigint: true });
    return found === undefined
      ? ''
      : `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
  }

  #read(): string {
    const what = `admin.tokenFile ${this.#path}`;
    let bytes: Uint8Array | undefined;
    try {
      bytes = readTrusted(this.#path, { mayBeLink: true, isSecret: true, maxBytes: FILE_BYTES });
    } catch (error) {
      const { message } = error as Error;
      throw new TokenError(`${what} cannot be used: ${message}`, KEEP_SECRET, { cause: error });
    }
    if (bytes === undefined)
      throw new TokenError(`${what} does not exist`, `(umask 077; openssl rand -hex 32 >${this.#path})`);
    const token = Buffer.from(bytes).toString('utf8').split('\n', 1)[0].trim();
    if (token.length >= LENGTH_MIN) return token;
    throw new TokenError(
      `${what}: its first line has ${token.length} characters, expected at least ${LENGTH_MIN}`,
      `(umask 077; openssl rand -hex 32 >${this.#path})`,
    );
  }
}

const KEEP_SECRET =
  "it must be a file of root or of the proxy's user that no others can write to and that not everybody can read: chown and chmod 0400, or 0440 with the proxy's group";
