// Asks a running proxy over its admin HTTP. Whatever goes wrong becomes a ControlError that says what the
// operator can do.
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

/** Where the admin HTTP is, and what it wants to see. */
export interface Target {
  /** Without a slash at the end. */
  url: string;
  /** Path of the unix socket where it is asked; undefined: at `url`. */
  socket: string | undefined;
  token: string | undefined;
}

/**
 * The proxy cannot be asked, or refuses; `hint` says what the operator can do, '' if nothing more can be
 * said.
 */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly hint: string;

  constructor(message: string, hint = '', options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

export interface Answer {
  status: number;
  json: unknown;
}

const ANSWER_MS = 10_000;
/** It looks at the host, and may start datapath processes. */
const RELOAD_MS = 120_000;

export class AdminClient {
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  /** Throws a ControlError unless the answer is 200. */
  async get<T>(path: string): Promise<T> {
    return this.#expectOk(await this.#ask('GET', path, undefined, ANSWER_MS)) as T;
  }

  /** Throws a ControlError unless the answer is 200. */
  async post<T>(path: string, body?: object): Promise<T> {
    return this.#expectOk(await this.#ask('POST', path, body, ANSWER_MS)) as T;
  }

  /** Resolves also when the proxy refuses the new config (422). Throws a ControlError otherwise. */
  async reload(): Promise<Answer> {
    const answer = await this.#ask('POST', '/reload', undefined, RELOAD_MS);
    if (answer.status !== 422) this.#expectOk(answer);
    return answer;
  }

  #expectOk({ status, json }: Answer): unknown {
    if (status === 200) return json;
    const said = (json as { error?: unknown } | null)?.error;
    const message = typeof said === 'string' ? said : `answered with ${status}`;
    if (status === 401)
      throw new ControlError(
        `${this.#name}: ${message}`,
        'give --token-file FILE, or --config FILE, whose admin.tokenFile is read',
      );
    if (status === 403)
      throw new ControlError(
        `${this.#name}: ${message}`,
        "run it on the proxy's host as root or as the proxy's user: --config FILE, or --admin with its admin.socket",
      );
    throw new ControlError(message);
  }

  async #ask(method: string, path: string, body: object | undefined, timeoutMs: number): Promise<Answer> {
    const { url, token, socket } = this.#target;
    const headers = {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    };
    const { status, text } = await exchange(
      url + path,
      { method, headers, ...(socket === undefined ? {} : { socketPath: socket }) },
      body === undefined ? '' : JSON.stringify(body),
      timeoutMs,
    ).catch((error: NodeJS.ErrnoException) => {
      throw this.#unreachable(error, timeoutMs);
    });
    try {
      return { status, json: JSON.parse(text) as unknown };
    } catch {
      throw new ControlError(
        `${this.#name} answered with something else than JSON (status ${status})`,
        'is that the admin.listen of uoa-proxy?',
      );
    }
  }

  get #name(): string {
    return this.#target.socket ?? this.#target.url;
  }

  #unreachable(error: NodeJS.ErrnoException, timeoutMs: number): ControlError {
    const reasons: Record<string, string> = {
      ECONNREFUSED: 'connection refused',
      ENOENT: 'there is no such socket',
      EACCES: 'its socket is for its own user and root',
      ENOTFOUND: 'no such host',
      EHOSTUNREACH: 'host unreachable',
      ENETUNREACH: 'network unreachable',
      ECONNRESET: 'connection reset',
      ABORT_ERR: `no answer within ${timeoutMs / 1000} s`,
    };
    return new ControlError(
      `cannot reach the proxy at ${this.#name}: ${reasons[error.code ?? ''] ?? error.message}`,
      'is it running, in this network namespace, and is that its admin.listen or admin.socket? --admin or --config FILE names another one',
      { cause: error },
    );
  }
}

/** Not fetch, which refuses some ports, 6000 among them. */
function exchange(
  url: string,
  options: { method: string; headers: Record<string, string>; socketPath?: string },
  body: string,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  const start = url.startsWith('https:') ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const asked = start(url, { ...options, signal: AbortSignal.timeout(timeoutMs) }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.end(body);
  });
}
