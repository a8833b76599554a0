// A program for tests, run in the clients' namespace: spoofed datagrams at a given rate, each of another source, made by the
// bench's XDP source, because a socket could not make so many beside everything else. Prints {"event": "ready"}, begins when
// standard input says anything, and prints at last how many it sent. Argument, JSON: see FloodOptions.
import { once } from 'node:events';
import { CONTROL, CONTROL_LEN } from '../../bench/bpf/control.ts';
import {
  attachXdp,
  createSharedMap,
  enterNamespace,
  loadXdp,
  MAX_BATCH,
  runLive,
} from '../../bench/bpf/kernel.ts';
import { gateProgram } from '../../bench/bpf/sink-programs.ts';
import { emptyFrame, type FrameFields, sourceProgram } from '../../bench/bpf/source-program.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';
import { dieWithParent } from '../../src/sys/process.ts';

export interface FloodOptions {
  fields: FrameFields;
  client: { namespace: string; device: string };
  /** Where the packets come in; a veth takes them from XDP only with a program of its own. */
  wan: { namespace: string; device: string };
  rate: number;
  seconds: number;
}

/** Runs of the source while nothing is due take at least so long. */
const LEAST_WAIT_NS = 5_000;
/** More than are sent: each source sends once. */
const FLOWS = 1 << 26;

dieWithParent();
const { fields, client, wan, rate, seconds } = JSON.parse(process.argv[2]!) as FloodOptions;
const { fd, memory } = createSharedMap(CONTROL_LEN);
const words = new BigUint64Array(memory, 0, CONTROL_LEN / 8);
const write = (word: keyof typeof CONTROL, value: number): void => {
  words[CONTROL[word] / 8] = BigInt(Math.round(value));
};
enterNamespace(wan.namespace);
attachXdp(loadXdp(gateProgram(fd, true)), interfaceIndex(wan.device));
enterNamespace(client.namespace);
const source = loadXdp(sourceProgram(fd, fields));
write('intervalNs', 1e9 / rate);
write('durationNs', seconds * 1e9);
write('flows', FLOWS);
write('payloadLen', fields.payloadLen);
console.log(JSON.stringify({ event: 'ready' }));
await once(process.stdin, 'data');
process.stdin.destroy();
runLive(source, {
  frame: emptyFrame(fields.payloadLen),
  interfaceIndex: interfaceIndex(client.device),
  repeat: Math.ceil(rate * seconds * 1.05 + (seconds * 1e9) / LEAST_WAIT_NS + 10 * MAX_BATCH),
  batch: 4,
});
const counted = (word: keyof typeof CONTROL): number => Number(words[CONTROL[word] / 8]);
console.log(JSON.stringify({ event: 'result', sent: counted('sent'), arrived: counted('arrived') }));
