// What a file of saved sessions says besides them, as JSON: what an operator set of real servers and of the
// fast path at run time, where the lports of each leg stand, and which addresses a proxy left on the host for
// its next process. By names, as the sessions; whatever is there no more is left out.

/** A real server that is not as the config says, by an operator. */
export interface SavedServer {
  readonly service: string;
  /** ADDRESS:PORT */
  readonly rs: string;
  readonly isDrained: boolean;
  /** The weight of the config that `weight` was set instead of. */
  readonly configured: number;
  /** Null: it has the weight of the config. */
  readonly weight: number | null;
}

/**
 * Of each worker that had lports of a leg: the one that it began with, and the one that would have been next.
 */
export type SavedArc = readonly [first: number, next: number];

/** A VIP or LIP that the proxy had added to the host. */
export interface SavedAddress {
  readonly ip: string;
  readonly device: string;
  /** The command that adds it. */
  readonly command: string;
}

/** For which services an operator switched the fast path off. */
export interface SavedSwitch {
  readonly all: boolean;
  readonly services: readonly string[];
}
export const NOTHING_OFF: SavedSwitch = { all: false, services: [] };

export interface StateNotes {
  readonly servers: readonly SavedServer[];
  readonly fastPathOff: SavedSwitch;
  /** By the leg's place in the file. Legs that nobody used are left out. */
  readonly arcs: readonly (readonly [leg: number, arcs: readonly SavedArc[]])[];
  readonly added: readonly SavedAddress[];
}

export const NO_NOTES: StateNotes = { servers: [], fastPathOff: NOTHING_OFF, arcs: [], added: [] };

export const encodeNotes = (notes: StateNotes): Uint8Array => new TextEncoder().encode(JSON.stringify(notes));

/** Undefined when it is not what encodeNotes makes; whether what it names is there is not judged. */
export function decodeNotes(bytes: Uint8Array): StateNotes | undefined {
  let found: unknown;
  try {
    found = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  const { servers, fastPathOff = NOTHING_OFF, arcs, added = [] } = recordOf(found);
  if (!Array.isArray(servers) || !servers.every(isServer)) return undefined;
  if (!Array.isArray(arcs) || !arcs.every(isLegWithArcs)) return undefined;
  if (!Array.isArray(added) || !added.every(isAddress)) return undefined;
  if (!isSwitch(fastPathOff)) return undefined;
  return { servers, fastPathOff, arcs, added };
}

const recordOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

const isNumber = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;

function isServer(value: unknown): value is SavedServer {
  const { service, rs, isDrained, configured, weight } = recordOf(value);
  const isWeight = weight === null || isNumber(weight);
  return (
    typeof service === 'string' &&
    typeof rs === 'string' &&
    typeof isDrained === 'boolean' &&
    isNumber(configured) &&
    isWeight
  );
}

function isSwitch(value: unknown): value is SavedSwitch {
  const { all, services } = recordOf(value);
  return (
    typeof all === 'boolean' && Array.isArray(services) && services.every((name) => typeof name === 'string')
  );
}

function isAddress(value: unknown): value is SavedAddress {
  const { ip, device, command } = recordOf(value);
  return [ip, device, command].every((text) => typeof text === 'string');
}

const isArc = (value: unknown): value is SavedArc =>
  Array.isArray(value) && value.length === 2 && value.every(isNumber);

const isLegWithArcs = (value: unknown): value is StateNotes['arcs'][number] =>
  Array.isArray(value) &&
  value.length === 2 &&
  isNumber(value[0]) &&
  Array.isArray(value[1]) &&
  value[1].every(isArc);

/**
 * Where each of `workers` begins with the lports from `first` to `last`, as `arcs` tell what was in use of
 * late: each where it stopped itself, where they are as many as before. Else all of them behind the arc that
 * the most lports follow which nobody used; -1: nothing is known.
 */
export function lportsFrom(
  arcs: readonly SavedArc[],
  worker: number,
  workers: number,
  { first, last }: { readonly first: number; readonly last: number },
): number {
  if (arcs.length === workers) return arcs[worker][1] || -1;
  const count = last - first + 1;
  const distance = (from: number, to: number): number => (((to - from) % count) + count) % count;
  let best = -1;
  let most = -1;
  for (const [, next] of arcs) {
    if (next < first || next > last) continue;
    let free = count;
    for (const [from, to] of arcs) {
      if (distance(from, next) < distance(from, to)) free = 0;
      else if (from !== next) free = Math.min(free, distance(next, from));
    }
    if (free <= most) continue;
    most = free;
    best = next;
  }
  return best;
}
