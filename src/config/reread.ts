// A text that differs little from one that was right: only the services whose text is another one are read
// and checked again, because for a thousand services that takes a thousandth of the time. What cannot be read
// so for certain, and what is wrong, is left to load.ts, which knows the words and the places.
import { isDeepStrictEqual } from 'node:util';
import { type Place, type ReadConfig, readRaw } from './load.ts';
import { findConflictsBetween, findConflictsWithin, isSameToOthers } from './rules.ts';
import { type Config, MAX_SERVICES, readService } from './schema.ts';

/** A text that is right, with what it says. */
export interface CheckedText extends ReadConfig {
  text: string;
}

/** More is not read while everybody waits. */
const CHANGED_MAX_CHARS = 64 << 10;
/** So many services that follow one another may be gone. */
const GONE_MAX = 16;

/** Undefined where `text` must be read as a whole. Services whose text is the same are those of `before`. */
export function reread(before: CheckedText, text: string): CheckedText | undefined {
  if (text === before.text) return before;
  const parts = compare(before, text);
  const merged = parts && merge(before, parts);
  if (merged === undefined || !isFreeOfConflicts(before.config.services, merged.services)) return undefined;
  const { services, places } = merged;
  return { ...before, text, config: { ...before.config, services }, places };
}

/** A piece of the text: services first to last of the text before, or what stands there instead. */
type Part =
  | { kind: 'kept'; first: number; last: number; at: number }
  | { kind: 'new'; at: number; text: string };

interface Parts {
  /** What stands around the services, the same in both texts. */
  head: string;
  tail: string;
  /** In the order of the text. */
  between: readonly Part[];
}

/**
 * Each service is kept whose text stands where it did among the others, up to where the next one begins.
 * Undefined where more than the services is different, or too much.
 */
function compare({ text: before, config, places, isFlow }: CheckedText, text: string): Parts | undefined {
  if (places.length !== config.services.length) return undefined;
  const head = before.slice(0, places[0].start);
  const tail = before.slice(places[places.length - 1].end);
  const end = text.length - tail.length;
  if (end < head.length || !text.startsWith(head) || !text.endsWith(tail)) return undefined;
  const pieces = places.map(({ start }, index) => before.slice(start, nextOf(places, index)));
  /** Behind the last one nothing may follow that could belong to it. */
  const isAt = (index: number, at: number) =>
    at + pieces[index].length <= end &&
    (index < pieces.length - 1 || at + pieces[index].length === end) &&
    text.startsWith(pieces[index], at) &&
    !pieces[index].includes(ALIAS);
  const isAsIndented = (index: number, at: number) =>
    isFlow || isSameLead(before, places[index].start, text, at);
  const find = (index: number, from: number): number => {
    const at = text.slice(from, from + CHANGED_MAX_CHARS).indexOf(pieces[index]);
    return at >= 0 && isAt(index, from + at) && isAsIndented(index, from + at) ? from + at : -1;
  };
  const between: Part[] = [];
  let changed = 0;
  let at = head.length;
  for (let index = 0; index < pieces.length || at < end; ) {
    const first = index;
    const start = at;
    for (; index < pieces.length && isAt(index, at); index++) at += pieces[index].length;
    if (index > first) between.push({ kind: 'kept', first, last: index - 1, at: start });
    if (index === pieces.length && at === end) break;
    // What stands here instead goes on to the next service that is kept, or to the end.
    let next = index;
    let goesTo = -1;
    for (; next < pieces.length && next <= index + GONE_MAX && goesTo < 0; next++) goesTo = find(next, at);
    const upTo = goesTo < 0 ? end : goesTo;
    changed += upTo - at;
    const instead = text.slice(at, upTo);
    if (changed > CHANGED_MAX_CHARS || PROPERTY.test(instead)) return undefined;
    between.push({ kind: 'new', at, text: instead });
    at = upTo;
    index = goesTo < 0 ? pieces.length : next - 1;
  }
  return { head, tail, between };
}

/** What begins an alias in YAML: its value would depend on another service. */
const ALIAS = '*';
/** What begins a tag or an anchor, which a word can have and the service that it stands for cannot. */
const PROPERTY = /(?<![A-Za-z0-9])[!&]/;

/**
 * Whether a block begins in the same column of a line like the one before. Behind anything but spaces and one
 * dash its indentation would follow from more than this line.
 */
function isSameLead(before: string, beforeAt: number, text: string, at: number): boolean {
  const lead = leadOf(before, beforeAt);
  return /^ *- +$/.test(lead) && lead === leadOf(text, at);
}

const leadOf = (text: string, at: number): string => text.slice(text.lastIndexOf('\n', at - 1) + 1, at);

/** Where the next one begins; of the last one where it ends. */
const nextOf = (places: readonly Place[], index: number): number =>
  index === places.length - 1 ? places[index].end : places[index + 1].start;

/**
 * Reads the new parts, with a word in the place of each kept one: where this is sound, and each word is a
 * service of its own, so is the whole text, because what is kept was a service in the same surroundings: in
 * the same list, in the same column unless columns say nothing, with the same behind it, and no property.
 */
function merge(
  { text: before, config, places: oldPlaces, others }: CheckedText,
  { head, tail, between }: Parts,
): { services: Config['services']; places: Place[] } | undefined {
  let reduced = head;
  const begins = between.map((part) => {
    const begin = reduced.length;
    reduced += part.kind === 'new' ? part.text : `"${wordFor(part)}"${behind(before, oldPlaces, part.last)}`;
    return begin;
  });
  const read = readWithoutThrowing(reduced + tail);
  if (read === undefined || !isDeepStrictEqual(read.others, others)) return undefined;
  const services: Config['services'] = [];
  const places: Place[] = [];
  let next = 0;
  for (const [index, raw] of read.services.entries()) {
    const { start, end } = read.places[index];
    while (next < between.length && between[next].kind === 'new' && start >= begins[next + 1]) next++;
    const part = between[next];
    if (part === undefined) return undefined;
    if (part.kind === 'kept') {
      if (raw !== wordFor(part) || start !== begins[next]) return undefined;
      const shift = part.at - oldPlaces[part.first].start;
      for (let kept = part.first; kept <= part.last; kept++) {
        services.push(config.services[kept]);
        places.push({ start: oldPlaces[kept].start + shift, end: oldPlaces[kept].end + shift });
      }
      next++;
      continue;
    }
    const service = readService(raw);
    if (service === undefined) return undefined;
    services.push(service);
    const shift = part.at - begins[next];
    places.push({ start: start + shift, end: end + shift });
  }
  const isWhole = between.slice(next).every(({ kind }) => kind === 'new');
  return isWhole && services.length > 0 && services.length <= MAX_SERVICES ? { services, places } : undefined;
}

const wordFor = ({ first, last }: { first: number; last: number }): string => `services ${first} to ${last}`;

/** What stands between a service and the next one. */
const behind = (text: string, places: readonly Place[], index: number): string =>
  text.slice(places[index].end, nextOf(places, index));

/** Undefined where the reader of YAML gives up, too. */
function readWithoutThrowing(text: string): ReturnType<typeof readRaw> {
  try {
    return readRaw(text);
  } catch {
    return undefined;
  }
}

/** Those `before` have none. */
function isFreeOfConflicts(before: Config['services'], after: Config['services']): boolean {
  const known = new Set(before);
  for (const service of after)
    if (!known.has(service) && findConflictsWithin(service).length > 0) return false;
  const isSame =
    before.length === after.length && after.every((service, index) => isSameToOthers(before[index], service));
  return isSame || findConflictsBetween(after.map((service, index) => ({ index, service }))).length === 0;
}
