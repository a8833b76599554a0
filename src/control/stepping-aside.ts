// The proxy at work when another process takes over from it: it lets nothing in any more, works off what came
// in, and hands over its sessions. It keeps all that it has until the other one forwards; where that fails
// it goes on with it.
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { MissingAddress } from '../host/host-addresses.ts';
import { nowMs } from '../worker-protocol.ts';
import type { HealthWatch } from './health-watch.ts';
import type { Reloader } from './reload.ts';
import type { Runtime } from './runtime.ts';
import { encodeForSuccessor } from './saved-sessions.ts';
import { Conversation, type FastPathSuccession, type FromSuccessor, NOBODY_MS } from './takeover-protocol.ts';

/** More than a millisecond, which the clock may be behind. */
const FORWARDED_MS = 3;

/** What stepping aside needs of the control plane. */
export interface SteppingParts {
  readonly runtime: Runtime;
  readonly reloader: Reloader;
  readonly health: HealthWatch;
  readonly version: string;
  readonly admin: () => { host: string; port: number };
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
    const { runtime, version, admin } = this.#parts;
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
      refusal: this.#refusal(),
    });
    // It makes all ready meanwhile.
    const asked = await successor.hear(Number.POSITIVE_INFINITY);
    if (asked?.said.kind !== 'step aside') return;
    const refusal = this.#refusal();
    if (refusal !== '') return await successor.say({ kind: 'failed', message: refusal });
    this.#successor = successor;
    const handingOver = this.#handOver(successor, asked.said.fastPath);
    this.#underWay = handingOver.catch(() => {}); // who accepted it says so
    await handingOver;
  }

  async #handOver(successor: Conversation<FromSuccessor>, fastPath: FastPathSuccession): Promise<void> {
    this.#log.info('another process takes over: stepping aside');
    try {
      await this.#stepAside(successor, fastPath);
      const answer = await successor.hear(NOBODY_MS);
      if (answer?.said.kind === 'done') {
        this.isHandedOver = true;
        this.#parts.runtime.fast.leave();
        this.#added = this.#parts.runtime.hostSetup.leaveAddresses();
        await successor.say({ kind: 'ending' });
        this.#log.info('another process has taken over');
        this.#parts.end();
        return;
      }
      successor.close();
      this.#log.error(
        `the process that was to take over ended before it forwarded, or did not within ${NOBODY_MS / 1000} s: going on`,
      );
    } catch (error) {
      await successor.say({ kind: 'failed', message: (error as Error).message });
      this.#log.error(`stepping aside failed, going on: ${(error as Error).message}`);
    }
    await this.#goOn();
  }

  #refusal(): string {
    if (this.#parts.isDraining()) return 'it is draining: uoa-proxy ctl drain --cancel takes that back';
    if (this.#isEnding) return 'it is stopping';
    return this.#successor === undefined ? '' : 'another process is taking over from it';
  }

  async #stepAside(successor: Conversation<FromSuccessor>, fastPath: FastPathSuccession): Promise<void> {
    const { runtime, reloader } = this.#parts;
    const { io, fast, workers } = runtime;
    await reloader.pause();
    const started = performance.now();
    let forwardedUntilUs = 0;
    if (fast.stepAside(fastPath)) {
      // The other process may have got what the kernel forwarded until now. What is hot no more comes in
      // here, too, before nothing does.
      forwardedUntilUs = (Date.now() + 1) * 1000;
      await sleep(FORWARDED_MS);
    }
    io.pause?.();
    const lastFrameUs = await workers.stepAside();
    const left = performance.now();
    const { services } = reloader;
    const down = this.#parts.health.down();
    const { set: servers } = runtime.serverStates;
    const { set: fastPathOff } = runtime.fastSwitch;
    const parts = encodeForSuccessor({ ...runtime, services, servers, fastPathOff }, nowMs());
    const times = reloader.host.ports.map(({ name }, port): [string, number] => [
      name,
      Math.max(lastFrameUs[port] ?? 0, forwardedUntilUs),
    ]);
    const message = { kind: 'stepped aside', lastFrameUs: Object.fromEntries(times), down } as const;
    await successor.say(message, parts);
    // They wait here, too, in case that the other process does not go on.
    io.resume?.();
    const ms = { workers: Math.round(left - started), state: Math.round(performance.now() - left) };
    this.#log.info({ ms }, 'stepped aside: nothing is forwarded until the other process does, or is gone');
  }

  async #goOn(): Promise<void> {
    const { fast, fastSwitch, io, workers } = this.#parts.runtime;
    const started = performance.now();
    io.resume?.(); // where stepping aside failed before that
    try {
      await Promise.all([workers.resume(), fast.goOn()]);
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
}
