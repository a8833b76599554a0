// Why a program that was run failed (execFile, spawn): what it said, else how it ended, or what kept it from
// being started.

const HINTS: Record<string, string> = {
  EMFILE: 'the process may open no more files: raise its limit (ulimit -n, in a unit LimitNOFILE)',
  ENFILE: 'the host may open no more files: raise the sysctl fs.file-max',
  EAGAIN: 'no more processes may be started: raise the limit (ulimit -u, in a unit TasksMax)',
  ENOMEM: 'the host has no memory left',
};

/** What to do when no descriptor, process or memory is to be had; undefined for another errno. */
export const startHint = (code: string): string | undefined => HINTS[code];

export interface ChildFailure {
  cause: string;
  /** Where the program was not started. */
  hint: string | undefined;
}

export function childFailure(error: unknown): ChildFailure {
  const { code, signal, killed, stderr, message } = error as Partial<{
    code: unknown;
    signal: string | null;
    killed: boolean;
    stderr: string;
    message: string;
  }>;
  const said = stderr?.trim() ?? '';
  const hint = typeof code === 'string' ? startHint(code) : undefined;
  if (said !== '') return { cause: said, hint };
  if (typeof code === 'number') return { cause: `exit code ${code}`, hint };
  if (signal) return { cause: killed ? `it was killed (${signal})` : `it was ended by ${signal}`, hint };
  return { cause: message ?? String(error), hint };
}
