// What a process asks the kernel about itself (prctl(2)).
import { check, prctl } from './libc.ts';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Makes the kernel kill this process when its parent ends, however it ends. `parentPid` is the parent as the
 * caller knew it when it was started; a parent that is gone already would never be noticed, so this process
 * exits then. The signal is bound to the parent's thread that forked us: for Node, its main thread.
 */
export function dieWithParent(parentPid: number = process.ppid): void {
  check(prctl(PR_SET_PDEATHSIG, SIGKILL), 'prctl');
  if (process.ppid !== parentPid) process.exit(1);
}
