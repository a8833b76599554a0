// The proxy at work when another process takes over from it: when packets come to both it works off what came
// in, says what that was, and hands over its sessions. It keeps all that it has until the other one forwards,
// and what comes in meanwhile; where that one fails it goes on with it.
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import type { MissingAddress } from '../host/host-addresses.ts';
import { allUntil, joined, NOTHING, toText } from '../io/dealt-with.ts';
import { nowMs } from '../worker-protocol.ts';
import type { HealthWatch } from './health-watch.ts';
import { killProcess, type ProcessIdentity } from './process-identity.ts';
import type { Reloader } from './reload.ts';
import type { Runtime } from './runtime.ts';
import { encodeForSuccessor } from './saved-sessions.ts';
import type { StateLock } from './state-lock.ts';
import { Conversation, type FastPathSuccession, type FromSuccessor, NOBODY_MS } from './takeover-protocol.ts';

/** No packet waits for so long in the kernel between its stamp and where processes find it. */
const UNDER_WAY_MS = 1000;

/** How far a takeover came. */
type Stage = 'prepared' | 'aside' | 'begun';

/** What stepping aside needs of the control plane. */
export interface SteppingParts {
  readonly runtime: Runtime;
  readonly reloader: Reloader;
  readonly health: HealthWatch;
  readonly version: string;
  readonly admin: () => { host: string; port: number };
  readonly stateLock: Pick<StateLock, 'id'>;
  readonly isDraining: () => boolean;
  /** Another proxy forwards. */
  readonly end: () => void;
  /** Nobody does, and this one cannot. */
  readonly fail: () => void;
}

export class SteppingAside {
  readonly #parts: SteppingParts;
  readonly #log: Logger;
  #successor: Conversation<FromSuccessor> | undefined;
  #added: readonly MissingAddress[] = [];
  /** This process ends: it does not step aside any more. */
  #isEnding = false;
  /** Resolves when it goes on, or is handed over. Never rejects. */
  #underWay: Promise<void> = Promise.resolve();
  /** Another process forwards in place of this one. */
  isHandedOver = false;

  constructor(parts: SteppingParts) {
    this.#parts = parts;
    this.#log = parts.runtime.log;
  }

  /** Speaks with who connected for it. Never throws. */
  accept(socket: Duplex, head: Buffer): void {
    const successor = new Conversation<FromSuccessor>(socket, head);
    void this.#speak(successor)
      .catch((error: Error) => this.#log.error(`takeover: ${error.message}`))
      .finally(() => {
        if (!this.isHandedOver) successor.close();
        if (this.#successor === successor && !this.isHandedOver) this.#successor = undefined;
      });
  }

  /** The first of an end: who is taking over has all that this process has until it forwards, or is gone. */
  async settle(): Promise<void> {
    this.#isEnding = true;
    await this.#underWay;
  }

  /** To be called when all is closed. */
  async leave(): Promise<void> {
    if (!this.isHandedOver) return;
    await this.#successor?.say({ kind: 'gone', added: this.#added });
    this.#successor?.socket.end();
  }

  async #speak(successor: Conversation<FromSuccessor>): Promise<void> {
    const { runtime, version, admin, stateLock } = this.#parts;
    const { layout, steeringKey, io, hostSetup } = runtime;
    await successor.say({
      kind: 'hello',
      version,
      pid: process.pid,
      workers: layout.workers,
      steeringKey,
      isSteered: io.isSteered,
      fastPath: runtime.fast.description,
      guard: hostSetup.guardTable,
      admin: admin(),
      stateLock: stateLock.id,
      refusal: this.#refusal(),
    });
    // It makes all ready meanwhile.
    const asked = await successor.hear(Number.POSITIVE_INFINITY);
    if (asked?.said.kind !== 'prepare') return;
    const refusal = this.#refusal();
    if (refusal !== '') return await successor.say({ kind: 'failed', message: refusal });
    this.#successor = successor;
    const handingOver = this.#handOver(successor, asked.said.fastPath);
    this.#underWay = handingOver.catch(() => {}); // who accepted it says so
    await handingOver;
  }

  async #handOver(successor: Conversation<FromSuccessor>, fastPath: FastPathSuccession): Promise<void> {
    this.#log.info('another process takes over: stepping aside');
    let stage: Stage = 'prepared';
    try {
      const sinceUs = await this.#prepare(fastPath);
      await successor.say({ kind: 'prepared' });
      if ((await successor.hear(NOBODY_MS))?.said.kind === 'step aside') {
        stage = 'aside';
        await this.#stepAside(successor, sinceUs);
        const answer = (await successor.hear(NOBODY_MS))?.said;
        if (answer?.kind === 'begin') {
          stage = 'begun';
          await successor.say({ kind: 'begin' });
          if (await this.#hearDone(successor, answer.process)) return await this.#leaveAll(successor);
        }
      }
      successor.close();
      this.#log.error(
        `the process that was to take over ended before it forwarded, or did not within ${NOBODY_MS / 1000} s: going on`,
      );
    } catch (error) {
      await successor.say({ kind: 'failed', message: (error as Error).message });
      this.#log.error(`stepping aside failed, going on: ${(error as Error).message}`);
    }
    await this.#goOn(stage);
  }

  /**
   * Whether the other one forwards, or is gone. Its workers may forward already: one that stands still is
   * killed, or both would.
   */
  async #hearDone(successor: Conversation<FromSuccessor>, other: ProcessIdentity): Promise<boolean> {
    let isOver = false;
    const end = () => {
      if (isOver) return;
      const problem = killProcess(other);
      const who = `process ${other.pid}, which was to take over, stands still`;
      if (problem === '') this.#log.error(`${who}: it is killed`);
      else
        this.#log.error(
          `${who} and cannot be killed: ${problem}. Its workers may forward, so that this process does not: end it, and this one goes on`,
        );
    };
    // What came before is read first, where it was this process that stood still.
    const timer = setInterval(() => setImmediate(() => setImmediate(end)), NOBODY_MS);
    try {
      return (await successor.hear(Number.POSITIVE_INFINITY))?.said.kind === 'done';
    } finally {
      isOver = true;
      clearInterval(timer);
    }
  }

  async #leaveAll(successor: Conversation<FromSuccessor>): Promise<void> {
    const { fast, hostSetup } = this.#parts.runtime;
    this.isHandedOver = true;
    fast.leave();
    this.#added = hostSetup.leaveAddresses();
    await successor.say({ kind: 'ending' });
    this.#log.info('another process has taken over');
    this.#parts.end();
  }

  #refusal(): string {
    if (this.#parts.isDraining()) return 'it is draining: uoa-proxy ctl drain --cancel takes that back';
    if (this.#isEnding) return 'it is stopping';
    return this.#successor === undefined ? '' : 'another process is taking over from it';
  }

  /**
   * Before packets come to both: whatever the kernel forwards from now on it leaves to the programs of both.
   * Returns from when on what is dealt with matters, microseconds since 1970.
   */
  async #prepare(fastPath: FastPathSuccession): Promise<number> {
    const { fast, workers } = this.#parts.runtime;
    await this.#parts.reloader.pause();
    await workers.hold(true);
    fast.stepAside(fastPath);
    return (Date.now() - UNDER_WAY_MS) * 1000;
  }

  async #stepAside(successor: Conversation<FromSuccessor>, sinceUs: number): Promise<void> {
    const { runtime, reloader } = this.#parts;
    const { workers } = runtime;
    const started = performance.now();
    const byWorker = await workers.stepAside(sinceUs);
    const left = performance.now();
    const { services } = reloader;
    const down = this.#parts.health.down();
    const { set: servers } = runtime.serverStates;
    const { set: fastPathOff } = runtime.fastSwitch;
    const parts = encodeForSuccessor({ ...runtime, services, servers, fastPathOff }, nowMs());
    const byPort = reloader.host.ports.map(({ name }, port) => {
      const all = byWorker.map((byPort) => byPort[port] ?? NOTHING);
      return [name, toText(joined(all))];
    });
    await successor.say({ kind: 'stepped aside', dealtWith: Object.fromEntries(byPort), down }, parts);
    const ms = { workers: Math.round(left - started), state: Math.round(performance.now() - left) };
    this.#log.info({ ms }, 'stepped aside: nothing is forwarded until the other process does, or is gone');
  }

  async #goOn(stage: Stage): Promise<void> {
    const { fast, fastSwitch } = this.#parts.runtime;
    const started = performance.now();
    try {
      await Promise.all([this.#resume(stage), fast.goOn()]);
      // The workers may have been told of one.
      if (!fast.isOn) fastSwitch.withdraw();
    } catch (error) {
      this.#log.fatal(`it cannot go on: ${(error as Error).message}`);
      this.#parts.fail();
      return;
    }
    this.#parts.reloader.resume();
    this.#log.warn({ ms: Math.round(performance.now() - started) }, 'forwarding again, with all sessions');
  }

  async #resume(stage: Stage): Promise<void> {
    const { workers } = this.#parts.runtime;
    if (stage === 'prepared') {
      // One that does not answer hangs, is ended and starts again.
      await workers.hold(false).catch((error: Error) => this.#log.error(error.message));
      return;
    }
    // What waits here the other process has forwarded, if it has begun.
    const { ports } = this.#parts.reloader.host;
    const dealtWith = stage === 'begun' ? allUntil(Date.now() * 1000) : NOTHING;
    await workers.resume(ports.map(() => dealtWith));
  }
}
