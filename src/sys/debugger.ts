// Keeps Node's debugger shut. SIGUSR1 opens it by default, on a port of the loopback address that asks nobody
// who he is: every user of the host could then run code with the rights of this process. Loads nothing,
// because it is to be the first thing that a process does.
import inspector from 'node:inspector';

const OPENS_DEBUGGER = /^--(inspect|debug)(-|=|$)/;
/** Options whose value may be the next word. */
const TAKES_VALUE = /^--(inspect-port|debug-port|inspect-publish-uid)$/;

/** To be called before anything else is loaded. SIGUSR1 does nothing from then on. */
export function keepDebuggerShut(): void {
  process.on('SIGUSR1', () => {});
  closeUnwanted();
  // The signal may have come before: what it asked for is done between two turns of the event loop.
  setImmediate(closeUnwanted);
}

/** Where a debugger can come in, because the operator asked for it. */
export function debuggerAddress(): string | undefined {
  return inspector.url();
}

function closeUnwanted(): void {
  const asked = [...process.execArgv, ...wordsOf(process.env.NODE_OPTIONS)];
  if (inspector.url() !== undefined && !asked.some((word) => OPENS_DEBUGGER.test(word))) inspector.close();
}

/** Options of Node for a child, without those that open a debugger: it would want the port of its parent. */
export function withoutDebugger(options: readonly string[]): string[] {
  return options.filter(
    (word, index) => !OPENS_DEBUGGER.test(word) && !TAKES_VALUE.test(options[index - 1] ?? ''),
  );
}

/** The same for an environment, which may hold options too. */
export function environmentWithoutDebugger(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (env.NODE_OPTIONS === undefined) return env;
  return { ...env, NODE_OPTIONS: withoutDebugger(wordsOf(env.NODE_OPTIONS)).join(' ') };
}

const wordsOf = (options: string | undefined): string[] =>
  (options ?? '').split(' ').filter((word) => word !== '');
