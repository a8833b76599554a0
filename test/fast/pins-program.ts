// A program for tests: takes the folder of a proxy in a bpffs and gives it up, again and again.
import { holdPinRoot, pinRoots, removePinned, removePinRoot } from '../../src/fast/pins.ts';

const [, , bpffs = '', name = '', times = ''] = process.argv;
let taken = 0;
for (let n = 0; n < Number(times); n++) {
  const root = holdPinRoot(name, bpffs);
  pinRoots(bpffs);
  if (root === undefined) continue;
  taken++;
  removePinned(root.path);
  removePinRoot(root.path);
  root.lock.release();
}
console.log(`${taken}`); // of a number the colors depend on the terminal
