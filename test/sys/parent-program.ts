// A program for tests: a parent that starts itself as a child, which asks to die with it. The child prints
// its process id.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { dieWithParent } from '../../src/sys/process.ts';
import { TYPESCRIPT } from '../suite/programs.ts';

if (process.argv[2] === 'child') {
  dieWithParent();
  console.log(`${process.pid}`); // of a number the colors depend on the terminal
} else {
  fork(fileURLToPath(import.meta.url), ['child'], { execArgv: [...TYPESCRIPT] });
}
setInterval(() => {}, 1_000);
