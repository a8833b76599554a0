// How many processors the cgroups of this process let it use: cpu.max
// (Documentation/admin-guide/cgroup-v2.rst), or cpu.cfs_quota_us of version 1 (scheduler/sched-bwc.rst). What
// Node.js 20 tells of processors knows nothing of it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The least that its cgroup and those above it allow, 1.5 for one and a half; undefined where none limits it.
 * In a container the path in /proc/self/cgroup may be the host's: then the container's own cgroup is what
 * stands at the mount.
 */
export function cpuQuota(root = '/'): number | undefined {
  const quotas = (read(join(root, 'proc/self/cgroup')) ?? '')
    .split('\n')
    .flatMap((line) => cgroupsOf(line, join(root, 'sys/fs/cgroup')))
    .map(quotaOf)
    .filter((quota) => quota !== undefined);
  return quotas.length === 0 ? undefined : Math.min(...quotas);
}

/**
 * Folders from the mount down to the cgroup that a line of /proc/self/cgroup names, where it is one for
 * processor time.
 */
function cgroupsOf(line: string, mount: string): string[] {
  const [, controllers, path] = /^\d+:([^:]*):\/(.*)$/.exec(line) ?? [];
  if (controllers === undefined || path === undefined) return [];
  if (controllers !== '' && !controllers.split(',').includes('cpu')) return [];
  const names = path.split('/');
  const top = controllers === '' ? mount : join(mount, 'cpu');
  return [top, ...names.map((_, index) => join(top, ...names.slice(0, index + 1)))];
}

function quotaOf(folder: string): number | undefined {
  const [quota, period] =
    read(join(folder, 'cpu.max'))?.split(' ') ??
    ['quota', 'period'].map((name) => read(join(folder, `cpu.cfs_${name}_us`)));
  const processors = Number(quota) / Number(period);
  return processors > 0 ? processors : undefined; // without a limit max, or -1
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // there is none, as in the topmost
  }
}
