// The cgroups (of version 2) whose programs are to see their clients: what a path leads to, and the cgroup of
// this process.
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  realpathSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { IoError } from '../sys/io-error.ts';

const CGROUP2_MAGIC = 0x63677270;
const CGROUP1_MAGIC = 0x27e0eb;

const HINT = 'a path as /sys/fs/cgroup/system.slice/game.service is expected, or --self';

/** A cgroup that is open. */
export interface OpenCgroup {
  readonly fd: number;
  /** The kernel's number for it, which no later one has. */
  readonly id: bigint;
  close(): void;
}

/**
 * The path as the kernel has it, of a cgroup that may still have to be made, within one that is there. Throws
 * an IoError.
 */
export function cgroupPath(path: string): string {
  const missing: string[] = [];
  let at = resolve(path);
  while (!existsSync(at)) {
    missing.unshift(basename(at));
    at = dirname(at);
  }
  const real = realpathSync(at);
  const { type } = statfsSync(real);
  if (type === CGROUP1_MAGIC)
    throw new IoError(
      `${path} is a cgroup of version 1, for which the kernel runs no such programs`,
      hintForV1(),
    );
  if (type !== CGROUP2_MAGIC || !lstatSync(real).isDirectory())
    throw new IoError(
      missing.length > 0 ? `there is no ${path}, nor is ${real} a cgroup` : `${path} is no cgroup`,
      HINT,
    );
  return join(real, ...missing);
}

function hintForV1(): string {
  const mount = mountOfCgroup2();
  return mount === undefined
    ? 'mount the hierarchy of version 2: mount -t cgroup2 none /sys/fs/cgroup/unified; with systemd boot with systemd.unified_cgroup_hierarchy=1'
    : `version 2 is mounted at ${mount}: name the cgroup below it`;
}

/**
 * What the cgroup at a path of cgroupPath is called, wherever it is mounted: by its path below what is
 * mounted there, and the number of that, which is another one in containers that see their own cgroups only.
 */
export function cgroupName(path: string): string {
  let root = path;
  let at = path;
  for (; at !== dirname(at); at = dirname(at)) {
    if (!existsSync(at)) continue;
    if (statfsSync(at).type !== CGROUP2_MAGIC) break;
    root = at;
  }
  return `${statSync(root, { bigint: true }).ino} ${path.slice(root.length)}`;
}

/** Undefined while there is none at the path. Throws an error of the file system. */
export function openCgroup(path: string): OpenCgroup | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return { fd, id: fstatSync(fd, { bigint: true }).ino, close: () => closeSync(fd) };
}

/** The cgroup that this process is in. Throws an IoError. */
export function ownCgroup(): string {
  const within = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1];
  if (within === undefined)
    throw new IoError(
      'this process is in no cgroup of version 2',
      'the kernel must have cgroups of version 2',
    );
  const mount = mountOfCgroup2();
  if (mount === undefined)
    throw new IoError(
      'cgroups of version 2 are mounted nowhere',
      'mount -t cgroup2 none /sys/fs/cgroup/unified',
    );
  if (within.startsWith('/..'))
    throw new IoError(
      `the cgroup of this process (${within}) is outside of what it is shown`,
      'name a cgroup that is seen here with --cgroup',
    );
  return cgroupPath(join(mount, within));
}

/** Where version 2 is mounted. */
function mountOfCgroup2(): string | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((mount) => / - cgroup2 /.test(mount));
  return line?.split(' ')[4];
}
