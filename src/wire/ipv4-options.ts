// IPv4 options (RFC 791, 3.1): a walk that checks every length, and one that clears what was written on the
// way.
import { type HeaderScan, isUoaOption } from './header-scan.ts';
import { IPV4_HEADER_LEN } from './ipv4.ts';

export const OPTION_END = 0;
export const OPTION_NOP = 1;
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;
const OPTION_RECORD_ROUTE = 7;
const OPTION_TIMESTAMP = 68;
/** RFC 1393: hops, and the address of who asked. */
const OPTION_TRACEROUTE = 82;
const OPTION_ROUTER_ALERT = 148;
/** Options with this bit are copied into every fragment. */
export const OPTION_COPIED = 0x80;

/**
 * Scans the options of the header at `off`. False: an option has a length below 2 or reaches beyond the
 * header.
 */
export function scanOptions(scan: HeaderScan, view: DataView, off: number, headerLen: number): boolean {
  scan.reset();
  const end = off + headerLen;
  let at = off + IPV4_HEADER_LEN;
  while (at < end) {
    const type = view.getUint8(at);
    if (type === OPTION_NOP) {
      at++;
      continue;
    }
    if (type === OPTION_END) {
      if (at + 1 < end) scan.tailOff = at + 1;
      return true;
    }
    if (at + 2 > end) return false;
    const len = view.getUint8(at + 1);
    if (len < 2 || at + len > end) return false;
    if (isUoaOption(type)) scan.noteUoa(at, len);
    else if (type === OPTION_LSRR || type === OPTION_SSRR) scan.sourceRoute = true;
    else if (isRecord(type)) scan.hasRecords = true;
    at += len;
  }
  return true;
}

const isRecord = (type: number): boolean =>
  type === OPTION_RECORD_ROUTE || type === OPTION_TIMESTAMP || type === OPTION_TRACEROUTE;

/**
 * Clears in place what hosts and routers on the way wrote into record route, timestamp and traceroute
 * options, as if the packet began its way here: each keeps its length. `isAll`: and the contents of all other
 * options but router alert, and what stands behind the end of the options. The options were scanned; the
 * header's checksum is left to finish.
 */
export function clearRecords(view: DataView, off: number, headerLen: number, isAll: boolean): void {
  const end = off + headerLen;
  let at = off + IPV4_HEADER_LEN;
  while (at < end) {
    const type = view.getUint8(at);
    if (type === OPTION_NOP) {
      at++;
      continue;
    }
    if (type === OPTION_END) {
      if (isAll) clear(view, at, end);
      return;
    }
    const next = at + view.getUint8(at + 1);
    if (type === OPTION_RECORD_ROUTE && next > at + 2) {
      rewind(view, at, 4, 4);
      clear(view, at + 3, next);
    } else if (type === OPTION_TIMESTAMP && next > at + 3) {
      const flag = view.getUint8(at + 3) & 0x0f;
      rewind(view, at, 5, flag === 0 ? 4 : 8);
      view.setUint8(at + 3, flag); // without the number of those that found no room
      clear(view, at + 4, next);
    } else if (type === OPTION_TRACEROUTE || (isAll && type !== OPTION_ROUTER_ALERT)) {
      clear(view, at + 2, next);
    }
    at = next;
  }
}

/** The pointer of the option at `at`, back to its first place; a wrong one was its sender's and stays. */
function rewind(view: DataView, at: number, first: number, step: number): void {
  const pointer = view.getUint8(at + 2);
  if (pointer > first && (pointer - first) % step === 0) view.setUint8(at + 2, first);
}

function clear(view: DataView, from: number, to: number): void {
  for (let at = from; at < to; at++) view.setUint8(at, 0);
}
