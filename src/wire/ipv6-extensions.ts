// IPv6 extension headers (RFC 8200, 4): a walk along the chain that checks every length and looks into the
// options.
import { type HeaderScan, isUoaOption } from './header-scan.ts';
import * as ipv6 from './ipv6.ts';

const OPTION_PAD1 = 0;
/**
 * Option types with one of these bits must not be skipped by a node that does not know them (RFC 8200, 4.2).
 */
const OPTION_ACTION = 0xc0;

/** Where the walk ended: at what is no extension header, or at a fragment header that is not alone. */
export class ExtensionChain {
  /** The protocol of what stands at `endOff`, or NEXT_FRAGMENT. */
  protocol = 0;
  endOff = 0;
}

/**
 * Walks from the fixed header at `off` and never beyond `end`. False: a header reaches beyond, an option
 * does, or a hop-by-hop header does not stand first. Fragment headers of whole packets (RFC 6946) are
 * skipped.
 */
export function walkExtensions(
  chain: ExtensionChain,
  scan: HeaderScan,
  view: DataView,
  off: number,
  end: number,
): boolean {
  scan.reset();
  let protocol = ipv6.nextHeader(view, off);
  let at = off + ipv6.IPV6_HEADER_LEN;
  for (let isFirst = true; ; isFirst = false) {
    chain.protocol = protocol;
    chain.endOff = at;
    if (!isExtension(protocol)) return true;
    if (end - at < 8 || (protocol === ipv6.NEXT_HOP_BY_HOP && !isFirst)) return false;
    let len = ipv6.FRAGMENT_HEADER_LEN;
    if (protocol === ipv6.NEXT_FRAGMENT) {
      if (ipv6.fragmentOffset(view, at) !== 0 || ipv6.hasMoreFragments(view, at)) return true;
    } else {
      len = (view.getUint8(at + 1) + 1) << 3;
      if (len > end - at) return false;
      if (protocol === ipv6.NEXT_ROUTING) {
        if (view.getUint8(at + 3) !== 0) scan.sourceRoute = true; // segments left
      } else if (!scanOptions(scan, view, at, at + len)) {
        return false;
      }
    }
    protocol = view.getUint8(at);
    at += len;
  }
}

export const isExtension = (protocol: number): boolean =>
  protocol === ipv6.NEXT_DESTINATION ||
  protocol === ipv6.NEXT_FRAGMENT ||
  protocol === ipv6.NEXT_ROUTING ||
  protocol === ipv6.NEXT_HOP_BY_HOP;

/** The options of a hop-by-hop or destination options header at [headerOff, end). */
function scanOptions(scan: HeaderScan, view: DataView, headerOff: number, end: number): boolean {
  let at = headerOff + 2;
  while (at < end) {
    const type = view.getUint8(at);
    if (type === OPTION_PAD1) {
      at++;
      continue;
    }
    if (at + 2 > end) return false;
    const len = 2 + view.getUint8(at + 1);
    if (at + len > end) return false;
    if (isUoaOption(type)) scan.noteUoa(at, len);
    else if ((type & OPTION_ACTION) !== 0 && scan.refusedOff === 0) scan.refusedOff = at;
    at += len;
  }
  return true;
}
