// Leaves 0xee in the buffer that all datapaths of a process share for embedded packets: a datapath that reads
// more of it than it has written then says something else than its twin.
import { Datapath } from '../../src/datapath/datapath.ts';
import { allocateMemory } from '../../src/datapath/memory.ts';
import { Frame, HEADROOM } from '../../src/wire/frame.ts';
import { pair } from '../datapath/pair.ts';
import { makePlan, PORT } from '../datapath/rig.ts';
import { icmp6 } from '../packets/builder6.ts';
import { concat } from '../packets/bytes.ts';

const V6 = pair(6, 6);
const plan = makePlan({ service: V6.service });
const datapath = new Datapath(plan, allocateMemory(plan), () => true);
const body = V6.toRealServer({ payload: new Uint8Array(1180).fill(0xee) });
const error = icmp6({ src: V6.rip, dst: V6.lip, type: 1, code: 4, body });
const frame = new Frame(concat(new Uint8Array(HEADROOM), error));
let nowMs = 0;

receive(new Frame(concat(new Uint8Array(HEADROOM), V6.fromClient())), PORT.wan);

export function smear(): void {
  nowMs = (nowMs + 1000) | 0; // more often than any rate limit
  receive(frame, PORT.lan);
}

function receive(from: Frame, port: number): void {
  if (datapath.receive(from, HEADROOM, from.bytes.length, port, nowMs) !== 0)
    throw new Error('not passed on');
}
