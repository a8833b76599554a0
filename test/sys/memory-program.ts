// A program for tests: maps the shared memory that it gets as descriptor 3, adds 1 to its first number and
// sets its last.
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';

const numbers = new Int32Array(mapSharedMemory(3, Number(process.argv[2])));
numbers[0] += 1;
numbers[numbers.length - 1] = 7;
