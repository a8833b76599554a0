// The receiver's programs at the hooks of a cgroup, each by a link. A link that an earlier process pinned is
// taken over: its program is replaced between two packets.
import { existsSync, unlinkSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import {
  attachToCgroup,
  cgroupOfLink,
  detachLink,
  openPinned,
  pin,
  updateLink,
} from '../sys/bpf-attachment.ts';
import { IoError } from '../sys/io-error.ts';
import { type BpfObject, loadObject } from '../sys/libbpf.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { close, SysError } from '../sys/libc.ts';
import type { OpenCgroup } from './cgroup.ts';
import type { ReceiverMaps } from './maps.ts';

const OBJECT = new URL('../bpf/receiver.bpf.o', import.meta.url);

/**
 * With their enum bpf_attach_type, in the order in which they are attached: who sees a client must be able to
 * answer to it. They are taken off the other way round.
 */
const HOOKS = {
  sendmsg4: 14,
  sendmsg6: 15,
  connect4: 10,
  connect6: 11,
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
  getsockopt: 21,
  ingress: 0,
} as const;
export type Hook = keyof typeof HOOKS;
export const HOOK_NAMES = Object.keys(HOOKS) as Hook[];

/** What answers go by: what a program holds of addresses stays good for as long as it is there. */
const ANSWERS: readonly Hook[] = ['sendmsg4', 'sendmsg6', 'connect4', 'connect6'];

const PREFIX = 'link-';
const OLDEST = 'Linux 5.15 with CONFIG_CGROUP_BPF is needed';

/** Throws an IoError. */
export function loadPrograms({ fds, ring }: ReceiverMaps): BpfObject {
  const { by_lip, by_client, trusted, ignored, counted } = fds;
  try {
    return loadObject(OBJECT, {
      reuse: { by_lip, by_client, trusted, ignored, counted, to_acknowledge: ring },
    });
  } catch (error) {
    throw explained('the programs cannot be loaded', error);
  }
}

/**
 * What the kernel says of programs, for the operator; any other error as it is. `attempt` says what was
 * tried.
 */
export function explained(attempt: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!(error instanceof SysError) && (code === 'EACCES' || code === 'EPERM'))
    return new IoError(`${attempt}: ${message}`, 'run it as root, to whom what is pinned belongs', error);
  if (!(error instanceof BpfError)) return error;
  return new IoError(`${attempt}: ${error.message}`, hintFor(error), error);
}

function hintFor({ code, syscall }: BpfError): string {
  switch (syscall === 'bpf_object__load' && code === 'E2BIG' ? '' : code) {
    case 'EPERM':
    case 'EACCES':
      return 'CAP_BPF and CAP_NET_ADMIN are needed, of the host and not of a user namespace; or a program that lets no other one in is attached there or above: bpftool cgroup tree';
    case 'ENOMEM':
      return 'there is no memory for it: lower maxClients, or raise the limit of the cgroup that this process is in';
    case 'E2BIG':
      return 'more than 64 programs are attached there and above: bpftool cgroup tree';
    default:
      return `${OLDEST}; this is ${release()}`;
  }
}

/** The links of a cgroup. */
export interface Links {
  /** How many an earlier process had attached. */
  readonly taken: number;
  /** False: the cgroup was removed, and they with it. */
  isAttached(): boolean;
  /** Lets go of them: pinned ones stay at work. */
  close(): void;
}

/** Throws an IoError, and what was there before stays. */
export function attachLinks(programs: BpfObject, cgroup: OpenCgroup, folder: string | undefined): Links {
  const links: number[] = [];
  let taken = 0;
  try {
    for (const hook of HOOK_NAMES) {
      const program = programs.programFd(`receiver_${hook}`);
      const path = folder && join(folder, PREFIX + hook);
      const found = path && openPinned(path);
      if (found !== undefined && found !== '') {
        if (cgroupOfLink(found) === cgroup.id) {
          links.push(found);
          updateLink(found, program);
          taken++;
          continue;
        }
        close(found); // of a cgroup that was removed
        unlinkSync(path!);
      }
      links.push(attachAt(hook, program, cgroup));
      if (path) pin(links.at(-1)!, path);
    }
  } catch (error) {
    for (const link of links) close(link);
    throw explained('the programs cannot be attached', error);
  }
  return {
    taken,
    isAttached: () => links.length > 0 && cgroupOfLink(links[0]!) === cgroup.id,
    close: () => {
      for (const link of links.splice(0)) close(link);
    },
  };
}

function attachAt(hook: Hook, program: number, { fd }: OpenCgroup): number {
  try {
    return attachToCgroup(program, fd, HOOKS[hook]);
  } catch (error) {
    throw explained(`hook ${hook} of the cgroup cannot be had`, error);
  }
}

/** Which hooks have a link that is pinned, and is attached. Throws a BpfError. */
export function pinnedHooks(folder: string): Hook[] {
  return HOOK_NAMES.filter((hook) => {
    const link = openPinned(join(folder, PREFIX + hook));
    if (link === undefined) return false;
    try {
      return cgroupOfLink(link) !== 0n;
    } finally {
      close(link);
    }
  });
}

/**
 * Takes the programs off that are pinned there. First those by which programs see clients; `beforeAnswers` is
 * waited for then, while answers that are under way still find their way. Throws a BpfError.
 */
export async function detachPinned(folder: string, beforeAnswers: () => Promise<void>): Promise<Hook[]> {
  const detached: Hook[] = [];
  const detach = (hook: Hook) => {
    const path = join(folder, PREFIX + hook);
    const link = openPinned(path);
    if (link === undefined) return;
    if (cgroupOfLink(link) !== 0n) {
      detachLink(link);
      detached.push(hook);
    }
    close(link);
    if (existsSync(path)) unlinkSync(path);
  };
  for (const hook of [...HOOK_NAMES].reverse()) if (!ANSWERS.includes(hook)) detach(hook);
  if (detached.length > 0) await beforeAnswers();
  for (const hook of ANSWERS) detach(hook);
  return detached;
}
