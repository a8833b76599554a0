// A program for tests: spoofed datagrams, each of another source, that come in at an interface as fast as
// they can be made, or at a given rate. Made by the bench's XDP source, because a socket could not make so
// many beside everything else, and taken as received at once: on their way through a link they would push
// others out of its queue, which is not what is looked at. Prints {"event": "ready"}, begins when standard
// input says anything, and prints at last how many it sent. Argument, JSON: see FloodOptions.
import { once } from 'node:events';
import { CONTROL, CONTROL_LEN } from '../../bench/bpf/control.ts';
import {
  emptyFrame,
  type FrameFields,
  loadSource,
  MAX_BATCH,
  runLive,
  XDP,
} from '../../bench/bpf/programs.ts';
import { enterNamespace } from '../../bench/namespace.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';
import { dieWithParent } from '../../src/sys/process.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';

export interface FloodOptions {
  fields: FrameFields;
  namespace: string;
  /** Where the packets come in. */
  device: string;
  /** Per second; 0: as many as there can be. */
  rate: number;
  seconds: number;
}

/** Runs of the source while nothing is due take at least so long. */
const LEAST_WAIT_NS = 5_000;
/** More than one processor makes. */
const MOST_PER_SECOND = 4_000_000;
/** More than are sent: each source sends once. */
const FLOWS = 1 << 28;

dieWithParent();
const { fields, namespace, device, rate, seconds } = JSON.parse(process.argv[2]) as FloodOptions;
const { program, controlFd } = loadSource(fields, { verdict: XDP.pass });
const words = new BigUint64Array(mapSharedMemory(controlFd, CONTROL_LEN));
const write = (word: keyof typeof CONTROL, value: number): void => {
  words[CONTROL[word] / 8] = BigInt(Math.round(value));
};
enterNamespace(namespace);
write('intervalNs', rate === 0 ? 0 : 1e9 / rate);
write('durationNs', seconds * 1e9);
write('flows', FLOWS);
write('payloadLen', fields.payloadLen);
console.log(JSON.stringify({ event: 'ready' }));
await once(process.stdin, 'data');
process.stdin.destroy();
runLive(program, {
  frame: emptyFrame(fields.payloadLen),
  interfaceIndex: interfaceIndex(device),
  repeat:
    rate === 0
      ? MOST_PER_SECOND * seconds
      : Math.ceil(rate * seconds * 1.05 + (seconds * 1e9) / LEAST_WAIT_NS + 10 * MAX_BATCH),
  batch: rate === 0 ? MAX_BATCH : 4,
});
console.log(JSON.stringify({ event: 'result', sent: Number(words[CONTROL.sent / 8]) }));
