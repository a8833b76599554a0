// The fast path's program at an interface: natively at XDP, or at tc ingress, as a link (tcx) or where the
// kernel has none (before 6.6) as a filter of clsact. Each interface has a program of its own, which knows
// its row of `control`. A link that an earlier process pinned is taken over: its program is replaced between
// two packets.
import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import {
  attachFilter,
  attachTcx,
  attachXdp,
  detachFilter,
  type FilterPlace,
  openPinned,
  pin,
  programOfFilter,
  updateLink,
  XDP_NATIVE,
  xdpProgramOf,
} from '../sys/bpf-attachment.ts';
import { type BpfObject, deleteFromMap, loadObject, updateMap } from '../sys/libbpf.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { close } from '../sys/libc.ts';
import type { FastPathMaps } from './maps.ts';

const OBJECT = new URL('../bpf/fast-path.bpf.o', import.meta.url);

/** Where packets are taken: before the kernel has made its own structure of them, or after. */
export type FastPathKind = 'xdp' | 'tc';

const PROGRAM = { xdp: 'fast_path_xdp', tc: 'fast_path_tc' } as const;

/** Of filters of clsact; those for which the kernel chooses one come later. */
const PRIORITY = 0x7f0a;
const DEFAULT_HANDLE = 1;

/** The interface keeps the slow path. */
export class AttachError extends Error {
  override readonly name = 'AttachError';
  readonly why: 'other_program' | 'no_native_xdp' | 'refused';

  constructor(why: AttachError['why'], message: string, cause?: unknown) {
    super(message, { cause });
    this.why = why;
  }
}

export interface AttachOptions {
  kind: FastPathKind;
  interfaceIndex: number;
  /** Of `control`, see PortRows. */
  row: number;
  /** Packet sockets get what comes in there, too: at tc only what the steering program left is forwarded. */
  isSteered?: boolean;
  /** Not by tcx, as where the kernel does not have it. */
  withoutTcx?: boolean;
  /** Names the filter there: the same in each process of a proxy, another for another proxy; 1 by default. */
  filterHandle?: number;
}

export interface Attachment {
  readonly kind: FastPathKind;
  readonly how: 'xdp' | 'tcx' | 'clsact';
  /** Whether an earlier process had attached it. */
  readonly wasThere: boolean;
  readonly interfaceIndex: number;
  /** Pins its link, where maps are pinned by now. Throws a BpfError. */
  pin(): void;
  /** Takes the program off the interface. Throws a BpfError. */
  detach(): void;
  /** Lets go of it: a pinned link, or a filter, stays at work. */
  close(): void;
}

/** In the kernel, and nowhere at work. */
export interface LoadedFastPath {
  readonly programs: Record<FastPathKind, number>;
  close(): void;
}

/** The programs that a row's interface gets. Throws as loadObject does. */
export function loadFastPath({ fds }: FastPathMaps, row: number, isSteered = false): LoadedFastPath {
  const readOnly = Buffer.alloc(8); // `settings`
  readOnly.writeUInt32LE(row);
  readOnly.writeUInt32LE(isSteered ? 1 : 0, 4);
  const object: BpfObject = loadObject(OBJECT, { readOnly, reuse: fds });
  return {
    programs: { xdp: object.programFd(PROGRAM.xdp), tc: object.programFd(PROGRAM.tc) },
    close: object.close,
  };
}

/**
 * Attaches the fast path to an interface of the current namespace that has Ethernet. It forwards from then on
 * what is hot, if the row says so. `loaded` are its programs, if they are loaded already. Throws an
 * AttachError where that cannot be; a BpfError or IoError where the program cannot be loaded.
 */
export function attach(maps: FastPathMaps, options: AttachOptions, loaded?: LoadedFastPath): Attachment {
  const { kind, interfaceIndex, row, isSteered } = options;
  const { programs, close } = loaded ?? loadFastPath(maps, row, isSteered);
  try {
    const program = programs[kind];
    if (kind === 'xdp') return attachByXdp(maps, program, interfaceIndex);
    return attachByTc(maps, program, options);
  } finally {
    // Links and filters have it now.
    if (loaded === undefined) close();
  }
}

function attachByXdp(maps: FastPathMaps, program: number, interfaceIndex: number): Attachment {
  const link = takeLink(maps, 'xdp', program, interfaceIndex, () => {
    try {
      return attachXdp(program, interfaceIndex, XDP_NATIVE);
    } catch (error) {
      throw explainXdp(error, interfaceIndex);
    }
  });
  const key = numberOf(interfaceIndex);
  try {
    updateMap(maps.fds.ports, key, key);
  } catch (error) {
    link.remove();
    throw error;
  }
  return {
    ...attachmentOf('xdp', 'xdp', interfaceIndex, link),
    detach: () => {
      deleteFromMap(maps.fds.ports, key);
      link.remove();
    },
  };
}

function attachByTc(maps: FastPathMaps, program: number, options: AttachOptions): Attachment {
  const { interfaceIndex, withoutTcx = false, filterHandle } = options;
  const place = placeOf(interfaceIndex, filterHandle);
  if (!withoutTcx) {
    const link = takeTcx(maps, program, interfaceIndex);
    if (link !== undefined) {
      detachFilter(place); // of a process that had no tcx
      return attachmentOf('tc', 'tcx', interfaceIndex, link);
    }
  }
  const wasThere = programOfFilter(place) !== 0;
  try {
    attachFilter(program, place);
  } catch (error) {
    throw refused('tc', interfaceIndex, error);
  }
  return {
    kind: 'tc',
    how: 'clsact',
    wasThere,
    interfaceIndex,
    pin: () => {},
    detach: () => detachFilter(place),
    close: () => {},
  };
}

/** Undefined: the kernel has no tcx. */
function takeTcx(maps: FastPathMaps, program: number, interfaceIndex: number): Link | undefined {
  try {
    return takeLink(maps, 'tcx', program, interfaceIndex, () => attachTcx(program, interfaceIndex));
  } catch (error) {
    if (error instanceof BpfError && error.code === 'EINVAL') return undefined;
    throw refused('tc', interfaceIndex, error);
  }
}

interface Link {
  wasThere: boolean;
  pin(): void;
  close(): void;
  remove(): void;
}

/** The link that is pinned, with this program, or a new one, which is pinned where the maps are. */
function takeLink(
  maps: FastPathMaps,
  how: 'xdp' | 'tcx',
  program: number,
  interfaceIndex: number,
  create: () => number,
): Link {
  const path = maps.folder && join(maps.folder, `${how}-${interfaceIndex}`);
  const linkOf = (fd: number, wasThere: boolean): Link => {
    let isPinned = wasThere;
    return {
      wasThere,
      pin: () => {
        if (path === undefined || isPinned || !maps.isPinned) return;
        pin(fd, path);
        isPinned = true;
      },
      close: () => close(fd),
      remove: () => {
        if (path !== undefined && isPinned && existsSync(path)) unlinkSync(path);
        close(fd);
      },
    };
  };
  const found = path === undefined ? undefined : openPinned(path);
  if (found !== undefined) {
    const link = linkOf(found, true);
    try {
      updateLink(found, program);
      return link;
    } catch {
      // Its interface is gone, and another one has its number.
      link.remove();
    }
  }
  const link = linkOf(create(), false);
  try {
    link.pin();
  } catch (error) {
    link.close();
    throw error;
  }
  return link;
}

const attachmentOf = (
  kind: FastPathKind,
  how: 'xdp' | 'tcx',
  interfaceIndex: number,
  link: Link,
): Attachment => ({
  kind,
  how,
  wasThere: link.wasThere,
  interfaceIndex,
  pin: link.pin,
  detach: link.remove,
  close: link.close,
});

/**
 * Removes pinned links of interfaces that are not wanted any more, or not in this kind. Returns what was
 * removed. Throws an error of the file system.
 */
export function removeOtherLinks(
  { folder }: FastPathMaps,
  isWanted: (kind: FastPathKind, interfaceIndex: number) => boolean,
): string[] {
  if (folder === undefined) return [];
  const removed = readdirSync(folder).filter((name) => {
    const [, how, index] = /^(xdp|tcx)-(\d+)$/.exec(name) ?? [];
    return how !== undefined && !isWanted(how === 'xdp' ? 'xdp' : 'tc', Number(index));
  });
  for (const name of removed) unlinkSync(join(folder, name));
  return removed;
}

/**
 * Takes the filter off that a process with this handle left on an interface, if there is one: true. Throws a
 * BpfError.
 */
export function removeFilter(interfaceIndex: number, filterHandle?: number): boolean {
  const place = placeOf(interfaceIndex, filterHandle);
  if (programOfFilter(place) === 0) return false;
  detachFilter(place);
  return true;
}

const placeOf = (interfaceIndex: number, handle = DEFAULT_HANDLE): FilterPlace => ({
  interfaceIndex,
  priority: PRIORITY,
  handle,
});

function explainXdp(error: unknown, interfaceIndex: number): unknown {
  if (!(error instanceof BpfError)) return error;
  const other = xdpProgramOf(interfaceIndex);
  if (other !== 0) {
    return new AttachError(
      'other_program',
      `interface ${interfaceIndex} has another XDP program (id ${other}), which keeps it`,
      error,
    );
  }
  if (error.code === 'EOPNOTSUPP') {
    return new AttachError(
      'no_native_xdp',
      `the driver of interface ${interfaceIndex} has no native XDP`,
      error,
    );
  }
  return refused('xdp', interfaceIndex, error);
}

function refused(kind: FastPathKind, interfaceIndex: number, error: unknown): unknown {
  if (!(error instanceof BpfError)) return error;
  return new AttachError('refused', `interface ${interfaceIndex} refuses ${kind}: ${error.message}`, error);
}

function numberOf(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
