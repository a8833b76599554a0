// IPv4 options (RFC 791, 3.1): a walk that checks every length.
import { type HeaderScan, isUoaOption } from './header-scan.ts';
import { IPV4_HEADER_LEN } from './ipv4.ts';

export const OPTION_END = 0;
export const OPTION_NOP = 1;
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;
/** Options with this bit are copied into every fragment. */
export const OPTION_COPIED = 0x80;

/** Scans the options of the header at `off`. False: an option has a length below 2 or reaches beyond the header. */
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
    at += len;
  }
  return true;
}
