// Where the fast path is: which kind is right for the interfaces, and the folder in which it outlives the
// process.
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachError, type FastPathKind, removeFilter } from '../fast/attachment.ts';
import { LAYOUT_VERSION } from '../fast/layout.ts';
import { BPFFS, holdPinRoot, openPinRoot, type PinRoot, pinRootOf } from '../fast/pins.ts';
import { isGuarded } from '../host/guard.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { IoError } from '../sys/io-error.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { SysError } from '../sys/libc.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';

import { familyOf } from '../wire/address.ts';
import type { FastPathBefore } from './takeover-protocol.ts';

/** The workers of a proxy that was killed a moment ago may still be there. */
const GONE_WITHIN_MS = 5_000;
const LOOK_AGAIN_MS = 50;

export interface Held {
  root?: PinRoot;
  /** Why nothing can be pinned. */
  loss?: string;
}

/**
 * The folder of this proxy; of one that tries no fast path only where there is one. 'taken': another process
 * has it. Of a predecessor that lives it is not locked yet.
 */
export async function hold(
  { name, guards }: { name: string; guards: readonly string[] },
  isTried: boolean,
  before?: FastPathBefore,
): Promise<Held | 'taken'> {
  // One that pins nothing has no lock.
  const isLiving = await isGuarded(name, guards).catch((error) => {
    if (error instanceof IoError) return false; // without nft there is no guard, and no start, which says why
    throw error;
  });
  if (isLiving) return 'taken';
  const path = pinRootOf(name);
  if (!isTried && !existsSync(path)) return {};
  try {
    if (isFolder(path, before?.pins)) return { root: openPinRoot(path) };
    const root = await untilNoneHas(() => holdPinRoot(name));
    return root === undefined ? 'taken' : { root };
  } catch (error) {
    const hint = `mount a bpffs: mount -t bpf -o mode=0755 bpf ${BPFFS}, and let this user make folders in it`;
    return { loss: `${(error as Error).message} (${hint})` };
  }
}

/** Throws an AttachError where packets of both directions cannot be forwarded at layer 2. */
export function requireEthernet(ports: readonly IoPort[]): void {
  for (const side of [SIDE.wan, SIDE.lan]) {
    const facing = ports.filter((port) => (port.side & side) !== 0);
    if (facing.some(({ mac }) => mac !== '')) continue;
    const names = facing.map(({ name }) => name).join(', ');
    throw new AttachError('refused', `no Ethernet at ${names}`);
  }
}

/** What `take` gets as soon as no other process has it; undefined: one has it all the time. */
export async function untilNoneHas<T>(take: () => T | undefined): Promise<T | undefined> {
  for (const deadline = performance.now() + GONE_WITHIN_MS; ; await sleep(LOOK_AGAIN_MS)) {
    const taken = take();
    if (taken !== undefined || performance.now() > deadline) return taken;
  }
}

/** The same in all processes that see it, by whatever path; undefined: it is not there. */
export function folderId(path: string): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

export const isFolder = (path: string | undefined, id: string | undefined): boolean =>
  path !== undefined && id !== undefined && folderId(path) === id;

/** Whether what is pinned at `path` is that of the predecessor, and of the layout that this process knows. */
export const hasPinsOf = ({ pins, layout }: FastPathBefore, path: string | undefined): boolean =>
  layout === LAYOUT_VERSION && isFolder(path, pins);

export interface Choice {
  kind: FastPathKind;
  why: string;
}

/** Why it is XDP. */
export const NATIVE = 'each driver has native XDP';

/**
 * What `auto` comes to: XDP where each interface is a card whose driver takes the program natively; else tc.
 * What XDP redirects between other devices may be lost there. Undefined: that is to be tried, unless a
 * predecessor's programs are in `pinned`. Beside `before`, which forwards, nothing is tried, because drivers
 * reset their link for it: what that one has is kept, and why it has it.
 */
export function chooseKind(
  wanted: 'auto' | FastPathKind,
  ports: readonly { readonly name: string }[],
  pinned: string | undefined,
  before?: FastPathBefore,
): Choice | undefined {
  if (wanted !== 'auto') return { kind: wanted, why: 'io.fastPath says so' };
  const others = ports.filter(({ name }) => !existsSync(`/sys/class/net/${name}/device`));
  if (others.length > 0) {
    const names = others.map(({ name }) => name).join(', ');
    return { kind: 'tc', why: `no card stands behind ${names}` };
  }
  if (before?.kind === 'xdp') return { kind: 'xdp', why: NATIVE };
  if (before !== undefined) {
    const isSame = before.kind === 'tc' && before.wanted === 'auto';
    return { kind: 'tc', why: isSame ? before.why : 'XDP is tried at a start, not in a takeover' };
  }
  const links = pinned === undefined || !existsSync(pinned) ? [] : readdirSync(pinned);
  return ports.every(({ name }) => links.includes(`xdp-${interfaceIndex(name)}`))
    ? { kind: 'xdp', why: NATIVE }
    : undefined;
}

/** Of clsact, of any process with this handle. Returns what it removed. */
export function removeFilters(ports: readonly { readonly name: string }[], handle: number): string[] {
  return ports
    .filter(({ name }) => {
      try {
        return removeFilter(interfaceIndex(name), handle);
      } catch (error) {
        // Without libbpf or its rights nothing was attached either; or the interface is gone.
        if (error instanceof SysError || error instanceof IoError) return false;
        throw error;
      }
    })
    .map(({ name }) => `the filter at ${name}`);
}

/** What an operator can do about it, by the name of the error. */
const HINTS: Readonly<Record<string, string>> = {
  EPERM: 'it takes CAP_BPF and CAP_NET_ADMIN',
  ENOMEM: 'no memory for its maps, whose size follows sessions.max',
};

/** In words. Throws what it does not know. */
export function explainFailure(error: unknown): string {
  if (error instanceof IoError) return `${error.message} (${error.hint})`;
  if (error instanceof SysError && error.code in HINTS) return `${error.message} (${HINTS[error.code]})`;
  if (error instanceof AttachError || error instanceof SysError || error instanceof RangeError)
    return error.message;
  // Of the file system, where things are pinned.
  if (error instanceof Error && 'syscall' in error && !(error instanceof BpfError)) return error.message;
  throw error;
}

/** Whether a session may be of IPv6. */
export const haveIpv6 = (services: readonly { readonly vips: readonly string[] }[]): boolean =>
  services.some(({ vips }) => vips.some((vip) => familyOf(vip) === 6));
