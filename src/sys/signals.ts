// Which signals this process ignores (signal(7)); for each process and signal docs/operations.md says what it
// does. Ignored by the kernel, not by a handler: so none interrupts a system call, and none stands in a
// queue.
import os from 'node:os';
import { ignoreSignal } from './libc.ts';

/** Those that say nothing to a proxy, and would end it. */
const STRAY = [
  'SIGUSR1',
  'SIGALRM',
  'SIGVTALRM',
  'SIGPROF',
  'SIGSTKFLT',
  'SIGIO',
  'SIGPWR',
  'SIGXCPU',
] as const;

/**
 * Those that a terminal, a service manager or an operator sends to a proxy, and maybe to all of its processes
 * at once.
 */
const OF_OPERATORS = [
  ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR2'] as const),
  ...(['SIGTSTP', 'SIGTTIN', 'SIGTTOU'] as const),
];

/** The C library keeps the two before for itself. */
const FIRST_REALTIME = 34;
const LAST_REALTIME = 64;

export function ignoreStraySignals(): void {
  // A profiler that was asked for has a handler by now, which must stay.
  const isProfiled = /--(cpu-)?prof\b/.test([...process.execArgv, process.env.NODE_OPTIONS].join(' '));
  for (const name of STRAY) if (name !== 'SIGPROF' || !isProfiled) ignoreSignal(os.constants.signals[name]);
  for (let number = FIRST_REALTIME; number <= LAST_REALTIME; number++) ignoreSignal(number);
}

/** For a process whose parent decides when it ends. What is left are SIGKILL, SIGSTOP and its own faults. */
export function ignoreOperatorsSignals(): void {
  for (const name of OF_OPERATORS) ignoreSignal(os.constants.signals[name]);
}
