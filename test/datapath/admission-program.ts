// A program for tests: a datapath that opens, answers and ends sessions of a few clients in the table that it
// gets as descriptor 3, as fast as it can, and ends them all at last. Arguments: bytes, its number, rounds,
// plan as JSON.
import type { ServiceAccess } from '../../src/datapath/admission.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';
import { Worker } from './admission-rig.ts';

const [byteLength, number, rounds] = process.argv.slice(2, 5).map(Number) as [number, number, number];
const plan = JSON.parse(process.argv[5]) as ServiceAccess;
const worker = new Worker([plan], new Int32Array(mapSharedMemory(3, byteLength)), number);
const bases: number[] = [];
for (let round = 0; round < rounds; round++) {
  worker.now = round >> 6;
  const base = worker.open(`192.0.2.${round % 23}`);
  if (typeof base === 'number') {
    bases.push(base);
    if (round % 3 === 0) worker.answer(base);
  }
  if (bases.length > 20) worker.end(bases.shift()!);
}
for (const base of bases) worker.end(base);
