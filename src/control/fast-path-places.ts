// Where the fast path is: which kind is right for the interfaces, and the folder in which it outlives the
// process.
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AttachError, type Attachment, type FastPathKind, removeFilter } from '../fast/attachment.ts';
import type { FastPathMaps } from '../fast/maps.ts';
import { BPFFS, holdPinRoot, type PinRoot, pinRootOf } from '../fast/pins.ts';
import { isGuarded } from '../host/guard.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import { IoError } from '../sys/io-error.ts';
import { BpfError } from '../sys/libbpf-library.ts';
import { SysError } from '../sys/libc.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { familyOf } from '../wire/address.ts';

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
 * has it.
 */
export async function hold(
  { name, guards }: { name: string; guards: readonly string[] },
  isTried: boolean,
): Promise<Held | 'taken'> {
  // One that pins nothing has no lock.
  const isLiving = await isGuarded(name, guards).catch((error) => {
    if (error instanceof IoError) return false; // without nft there is no guard, and no start, which says why
    throw error;
  });
  if (isLiving) return 'taken';
  if (!isTried && !existsSync(pinRootOf(name))) return {};
  try {
    for (const deadline = performance.now() + GONE_WITHIN_MS; ; await sleep(LOOK_AGAIN_MS)) {
      const root = holdPinRoot(name);
      if (root !== undefined) return { root };
      if (performance.now() > deadline) return 'taken';
    }
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

interface PlacedPort {
  readonly name: string;
  readonly interfaceIndex: number;
  readonly mac: string;
}

export interface Choice {
  kind: FastPathKind;
  why: string;
  /** By interface: what was tried and stays. */
  attachments: Map<string, Attachment>;
}

/**
 * What `auto` comes to: XDP where each interface is a card whose driver takes the program natively, which is
 * tried; else tc. What XDP redirects between other devices may be lost there.
 */
export function chooseKind<T extends PlacedPort>(
  wanted: 'auto' | FastPathKind,
  ports: readonly T[],
  { folder }: FastPathMaps,
  attachXdp: (port: T) => Attachment,
): Choice {
  const attachments = new Map<string, Attachment>();
  if (wanted !== 'auto') return { kind: wanted, why: 'io.fastPath says so', attachments };
  const others = ports.filter(({ name }) => !existsSync(`/sys/class/net/${name}/device`));
  if (others.length > 0) {
    const names = others.map(({ name }) => name).join(', ');
    return { kind: 'tc', why: `no card stands behind ${names}`, attachments };
  }
  const why = 'each driver has native XDP';
  const pinned = folder === undefined ? [] : readdirSync(folder);
  // Tried by a predecessor, whose programs are replaced when packets come in.
  if (ports.every((port) => pinned.includes(`xdp-${port.interfaceIndex}`)))
    return { kind: 'xdp', why, attachments };
  try {
    for (const port of ports) attachments.set(port.name, attachXdp(port));
    return { kind: 'xdp', why, attachments };
  } catch (error) {
    for (const attachment of attachments.values()) attachment.detach();
    return { kind: 'tc', why: `no XDP: ${explainFailure(error)}`, attachments: new Map() };
  }
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
