// Datapaths that share the services, for rows: which owns what follows from the ports, and what one hands
// over waits.
import assert from 'node:assert/strict';
import { COUNTER, counterRow } from '../../src/datapath/counters.ts';
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory, type DatapathMemory } from '../../src/datapath/memory.ts';
import type { Siblings as DatapathSiblings } from '../../src/datapath/options.ts';
import { verdictName } from '../../src/datapath/verdict.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { hex } from '../packets/bytes.ts';
import { makePlan, type PlanChange } from './rig.ts';

export const PLAIN: PlanChange = { service: { maxTrials: 0 } };
const WORKERS = 2;

export interface HandedOver {
  to: number;
  portIndex: number;
  largestFragment: number;
  packet: string;
}

/** Of the plan's service; nobody else has such ports here. */
const isLport = (port: number) => port >= 20_005 && port <= 20_104;

/**
 * Datapaths of one plan, of which client ports and lports belong to number `port % 2`. What is handed over
 * waits until `deliver`.
 */
export class Siblings {
  readonly memories: DatapathMemory[] = [];
  readonly handedOver: HandedOver[] = [];
  /** By datapath, as hexadecimal digits. */
  readonly sent: string[][] = [[], []];
  isQueueFull = false;
  readonly #datapaths: Datapath[];
  now = 5_000;

  constructor(change: PlanChange = PLAIN) {
    const plan = makePlan(change);
    const plans = Array.from({ length: WORKERS }, (_, worker) => ({
      ...plan,
      worker: { worker, workers: WORKERS },
    }));
    const { common } = allocateMemory(plans[0]);
    for (const own of plans) this.memories.push({ ...allocateMemory(own), common });
    this.#datapaths = plans.map((own, self) => {
      const memory = this.memories[self];
      const send = (frame: Frame, off: number, len: number) => {
        this.sent[self].push(hex(frame.bytes.subarray(off, off + len)));
        return true;
      };
      const siblings: DatapathSiblings = {
        self,
        memories: this.memories,
        ownerOf: (_, sport, dport) => (isLport(dport) ? dport : sport) % WORKERS,
        handOver: (to, frame, off, end, portIndex, largestFragment) => {
          if (this.isQueueFull) return false;
          assert.notEqual(to, self, 'nobody passes on to itself');
          const packet = hex(frame.bytes.subarray(off, end));
          this.handedOver.push({ to, portIndex, largestFragment, packet });
          return true;
        },
      };
      return new Datapath(own, memory, send, { seed: [1, 2], siblings });
    });
  }

  receive(at: number, packet: Uint8Array, port: number): string {
    return this.#give(packet, (frame, off, end) =>
      this.#datapaths[at].receive(frame, off, end, port, this.now),
    );
  }

  /** Gives the packets that were passed on to those they were passed on to. */
  deliver(): string[] {
    return this.handedOver
      .splice(0)
      .map(({ to, portIndex, largestFragment, packet }) =>
        this.#give(Buffer.from(packet, 'hex'), (frame, off, end) =>
          this.#datapaths[to].receiveHandedOver(frame, off, end, portIndex, largestFragment, this.now),
        ),
      );
  }

  tick(): void {
    for (const datapath of this.#datapaths) datapath.tick(this.now);
  }

  /** As receive, until nothing is under way any more: what became of it at last. */
  finish(at: number, packet: Uint8Array, port: number): string {
    let verdict = this.receive(at, packet, port);
    for (let hops = 0; this.handedOver.length > 0; hops++) {
      assert.ok(hops < 3, 'nothing goes in circles');
      verdict = this.deliver()[0]!;
    }
    return verdict;
  }

  counted(at: number, column: number): number {
    return this.memories[at].counters[counterRow(-1) + column];
  }

  /** Those that each datapath opened. */
  get created(): number[] {
    return this.memories.map(({ counters }) => counters[counterRow(0) + COUNTER.sessionsCreated]);
  }

  #give(packet: Uint8Array, receive: (frame: Frame, off: number, end: number) => number): string {
    const frame = new Frame(new Uint8Array(HEADROOM + packet.length + 64));
    frame.bytes.set(packet, HEADROOM);
    return verdictName(receive(frame, HEADROOM, HEADROOM + packet.length));
  }
}
