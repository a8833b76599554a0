// `run --takeover`: the proxy that this one takes over from, found at the admin socket of the config. It
// works on until all of this one is ready; it ends when this one forwards, and goes on where that fails.

import { once } from 'node:events';
import { lstatSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { MissingAddress } from '../host/host-addresses.ts';
import { ownIdentity } from './process-identity.ts';
import { StartError } from './start-error.ts';
import {
  Conversation,
  type FastPathSuccession,
  type FromPredecessor,
  type Hello,
  PROTOCOL,
  STEP_MS,
  type SteppedAside,
  TAKEOVER_PATH,
} from './takeover-protocol.ts';

const ANSWER_MS = 10_000;

export class Predecessor {
  readonly hello: Hello;
  readonly #conversation: Conversation<FromPredecessor>;
  /** What it says behind that it stepped aside, or undefined when it goes on. */
  #next: Promise<FromPredecessor | undefined> = Promise.resolve(undefined);
  #isAside = false;

  private constructor(hello: Hello, conversation: Conversation<FromPredecessor>) {
    this.hello = hello;
    this.#conversation = conversation;
  }

  /**
   * The proxy that listens at one of these sockets; undefined: there is none. Throws a StartError where there
   * is one that cannot be taken over from.
   */
  static async find(sockets: readonly string[]): Promise<Predecessor | undefined> {
    for (const path of sockets) {
      const found = await ask(path);
      if (found === undefined) continue;
      const conversation = new Conversation<FromPredecessor>(found.socket, found.head);
      const first = await conversation.hear().catch(() => undefined);
      const hello = first?.said;
      if (hello?.kind !== 'hello') throw refusal(path, 'it closed the connection', 'see its log');
      if (hello.refusal !== '') {
        conversation.close();
        throw refusal(path, hello.refusal, 'it works on');
      }
      return new Predecessor(hello, conversation);
    }
    return undefined;
  }

  /** By which so many workers share the sessions as they do there; undefined where they are not as many. */
  steeringKey(workers: number): readonly number[] | undefined {
    return this.hello.workers === workers ? this.hello.steeringKey : undefined;
  }

  /** Throws a StartError where the address of the admin server is another one, and cannot be had. */
  async checkAdmin(host: string, port: number): Promise<void> {
    const { admin } = this.hello;
    if (port === 0 || (admin.host === host && admin.port === port)) return;
    const server = createServer();
    const failed = new Promise<Error>((resolve) => server.once('error', resolve));
    server.listen(port, host);
    const error = await Promise.race([failed, once(server, 'listening').then(() => undefined)]);
    if (error !== undefined)
      throw new StartError(
        `admin server cannot listen: ${error.message}`,
        'change admin.listen; the proxy before works on',
      );
    await new Promise((resolve) => server.close(resolve));
  }

  /**
   * From now on packets may come in to this process, too, and of its fast path there is what is
   * said. Throws a StartError where it does not: then it works on.
   */
  async prepare(fastPath: FastPathSuccession): Promise<void> {
    await this.#conversation.say({ kind: 'prepare', fastPath });
    const answer = await this.#conversation.hear();
    if (answer?.said.kind !== 'prepared') throw this.#refusal(answer?.said);
  }

  /** From now on it forwards nothing. Throws a StartError where it does: then it works on. */
  async stepAside(): Promise<SteppedAside & { state: Buffer }> {
    await this.#conversation.say({ kind: 'step aside' });
    const answer = await this.#conversation.hear();
    if (answer?.said.kind === 'stepped aside') {
      this.#isAside = true;
      this.#next = this.#conversation.hear(Number.POSITIVE_INFINITY).then(
        (next) => next?.said,
        () => undefined,
      );
      void this.#next.then(() => {
        this.#isAside = false;
      });
      return { ...answer.said, state: answer.bytes };
    }
    throw this.#refusal(answer?.said);
  }

  #refusal(said: FromPredecessor | undefined): StartError {
    const why = said?.kind === 'failed' ? said.message : 'it ended before it handed over, or works on';
    return new StartError(
      `the proxy before (process ${this.hello.pid}) did not step aside: ${why}`,
      'see its log',
    );
  }

  /**
   * Right before its programs are replaced: throws a StartError where it goes on, because this process stood
   * still for too long.
   */
  async requireAside(): Promise<void> {
    // What came meanwhile is read in the turn between.
    for (let turn = 0; turn < 2; turn++) await nextTurn();
    if (!this.#isAside) throw new StartError(GOES_ON, 'see its log');
  }

  /**
   * Right before packets are forwarded: from now on it goes on only when this process is gone. Throws a
   * StartError where it goes on already.
   */
  async begin(): Promise<void> {
    await this.#conversation.say({ kind: 'begin', process: ownIdentity() });
    const timer = setTimeout(() => this.abandon(), STEP_MS);
    const said = await this.#next;
    clearTimeout(timer);
    if (said?.kind !== 'begin') throw new StartError(GOES_ON, 'see its log');
  }

  /**
   * This process forwards, and it is to end; resolves when it is gone, with the addresses that it added to
   * the host and leaves. It forwards nothing any more, so that it is waited for however long it stands still,
   * which `onStill` is told again and again.
   */
  async end(onStill: () => void): Promise<readonly MissingAddress[]> {
    let isOver = false;
    // What came before is read first, where it was this process that stood still.
    const tell = () => setImmediate(() => setImmediate(() => isOver || onStill()));
    const timer = setInterval(tell, STEP_MS);
    try {
      await this.#conversation.say({ kind: 'done' });
      for (;;) {
        const heard = await this.#conversation.hear(Number.POSITIVE_INFINITY).catch(() => undefined);
        const said = heard?.said;
        if (said?.kind === 'ending') continue;
        return said?.kind === 'gone' ? said.added : [];
      }
    } finally {
      isOver = true;
      clearInterval(timer);
      this.#conversation.close();
    }
  }

  /** It works on, or again. */
  abandon(): void {
    this.#conversation.close();
  }
}

const GOES_ON = 'the proxy before did not end: it ended by itself, or goes on';

const refusal = (path: string, why: string, hint: string): StartError =>
  new StartError(`cannot take over from the proxy at ${path}: ${why}`, hint);

/** Undefined: nobody listens there. */
async function ask(path: string): Promise<{ socket: Duplex; head: Buffer } | undefined> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || !found.isSocket()) return undefined;
  if (found.uid !== 0 && found.uid !== process.getuid?.())
    throw refusal(path, `it is one of user ${found.uid}`, 'run this as that user');
  return await new Promise((resolve, reject) => {
    const asked = request({
      socketPath: path,
      path: TAKEOVER_PATH,
      headers: { connection: 'Upgrade', upgrade: PROTOCOL },
      timeout: ANSWER_MS,
    });
    asked.on('upgrade', (_, socket, head) => resolve({ socket, head }));
    asked.on('response', (response) => {
      response.resume();
      reject(
        refusal(
          path,
          'it is of a version that hands over in another way, or not at all',
          'stop it and start this one: with sessions.stateFile sessions go on',
        ),
      );
    });
    asked.on('timeout', () =>
      asked.destroy(refusal(path, `no answer within ${ANSWER_MS / 1000} s`, 'see its log')),
    );
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
      else if (error.code === 'EACCES')
        reject(refusal(path, 'its socket is for its own user and root', 'run this as that user'));
      else reject(error instanceof StartError ? error : refusal(path, error.message, 'see its log'));
    });
    asked.end();
  });
}
