// Which process another one is: by its number alone it could be one that came after it, or be one of another
// PID namespace.
import { readFileSync, readlinkSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** In ticks of the kernel since the machine started (proc(5), stat). */
  readonly started: string;
  readonly namespace: string;
}

const OWN_NAMESPACE = '/proc/self/ns/pid';
/** Of stat, counted from behind the name, which may hold anything. */
const STARTED = 20;

export const ownIdentity = (): ProcessIdentity => ({
  pid: process.pid,
  started: startOf('self'),
  namespace: readlinkSync(OWN_NAMESPACE),
});

/** Kills it, which takes its workers along. Returns why that cannot be, in words; '': it is done, or gone. */
export function killProcess({ pid, started, namespace }: ProcessIdentity): string {
  if (namespace !== readlinkSync(OWN_NAMESPACE)) return 'it is in another PID namespace';
  try {
    process.kill(pid, 0);
    if (startOf(pid) === started) process.kill(pid, 'SIGKILL');
    return '';
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ESRCH') return '';
    // A /proc with hidepid (systemd's ProtectProc) has no entry for a process that lives, either.
    if (code === 'ENOENT') return isThere(pid) ? 'this /proc hides it, so that it could be another one' : '';
    return message;
  }
}

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function startOf(pid: number | 'self'): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 1).split(' ')[STARTED]!;
}
