// IPv4 options (RFC 791, 3.1): a walk that checks every length, and what it found, as plain numbers in one record.
import { IPV4_HEADER_LEN } from './ipv4.ts';

export const OPTION_END = 0;
export const OPTION_NOP = 1;
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;

/**
 * The option types that some receiver takes for a UOA: 31 (all), 30 and 29 (ByteDance's module). 0x9f, the same with
 * the copied bit, is read by nobody.
 */
export const isUoaOption = (type: number): boolean => type >= 29 && type <= 31;

export class OptionScan {
  /** Number of UOA options. */
  uoaCount = 0;
  /** Offset and length of the first UOA option; 0 without one. */
  uoaOff = 0;
  uoaLen = 0;
  sourceRoute = false;
  /** Offset of the first byte behind End-of-Options; 0 when there is no such byte. */
  tailOff = 0;
}

/** Scans the options of the header at `off`. False: an option has a length below 2 or reaches beyond the header. */
export function scanOptions(scan: OptionScan, view: DataView, off: number, headerLen: number): boolean {
  scan.uoaCount = 0;
  scan.uoaOff = 0;
  scan.uoaLen = 0;
  scan.sourceRoute = false;
  scan.tailOff = 0;
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
    if (isUoaOption(type)) {
      if (scan.uoaCount++ === 0) {
        scan.uoaOff = at;
        scan.uoaLen = len;
      }
    } else if (type === OPTION_LSRR || type === OPTION_SSRR) {
      scan.sourceRoute = true;
    }
    at += len;
  }
  return true;
}
