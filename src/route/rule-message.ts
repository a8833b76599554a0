// The rtnetlink message about a rule of policy routing (ip-rule(8), linux/fib_rules.h), and what can be told from it about
// packets of a raw socket that is bound to nothing and has no mark. The kernel looks up the route of such a packet without
// a source, whatever its header says (raw_sendmsg, rawv6_sendmsg), and a rule is asked about that.
import { AF_INET, AF_INET6, ATTRIBUTE_LEN, clear, readAddress, TYPE_MASK, V4_PREFIX } from './rtnetlink.ts';

const RULE_LEN = 12; // struct fib_rule_hdr
const ACTION_LOOKUP = 1;
const IS_INVERTED = 2; // FIB_RULE_INVERT
const FINDS_SOURCE = 0x10000; // FIB_RULE_FIND_SADDR
const LOOPBACK = 'lo';

const FRA = {
  dst: 1,
  src: 2,
  iifName: 3,
  priority: 6,
  mark: 10,
  suppressIfGroup: 13,
  suppressPrefixLen: 14,
  table: 15,
  markMask: 16,
  oifName: 17,
  padding: 18,
  l3mdev: 19,
  protocol: 21,
} as const;

/** A rule of ip-rule(8). */
export interface Rule {
  isV4: boolean;
  /** The lowest is asked first. */
  priority: number;
  isLookup: boolean;
  table: number;
  isInverted: boolean;
  /** What it is restricted to; prefixLen as in RouteMessage. */
  dst: Int32Array;
  prefixLen: number;
  /**
   * It asks for what no packet from a raw socket of ours has while its route is looked up: an interface that it arrived on
   * or is bound to, a VRF's, a source, a mark.
   */
  isForOthers: boolean;
  /** It looks at something else: ports, user, ..., or a source or mark that such a packet may have. */
  hasOtherSelector: boolean;
  /** It does not take every route that it finds. */
  suppresses: boolean;
}

/** The rule at [off, end); undefined when it is of another family or not sound. */
export function readRule(view: DataView, off: number, end: number): Rule | undefined {
  if (off + RULE_LEN > end) return undefined;
  const family = view.getUint8(off);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const isV4 = family === AF_INET;
  const flags = view.getUint32(off + 8, true);
  const srcLen = view.getUint8(off + 2);
  const src = new Int32Array(4);
  let mark = 0;
  let markMask = 0;
  const rule: Rule = {
    isV4,
    priority: 0,
    isLookup: view.getUint8(off + 7) === ACTION_LOOKUP,
    table: view.getUint8(off + 4),
    isInverted: (flags & IS_INVERTED) !== 0,
    dst: new Int32Array(4),
    prefixLen: view.getUint8(off + 1) + (isV4 ? V4_PREFIX : 0),
    isForOthers: false,
    hasOtherSelector: view.getUint8(off + 3) !== 0, // type of service
    suppresses: false,
  };
  clear(rule.dst, isV4);
  for (let at = off + RULE_LEN; at + ATTRIBUTE_LEN <= end; ) {
    const attributeLen = view.getUint16(at, true);
    if (attributeLen < ATTRIBUTE_LEN || at + attributeLen > end) return undefined;
    const value = at + ATTRIBUTE_LEN;
    const valueLen = attributeLen - ATTRIBUTE_LEN;
    const number = valueLen >= 4 ? view.getUint32(value, true) : 0;
    switch (view.getUint16(at + 2, true) & TYPE_MASK) {
      case FRA.dst:
        if (!readAddress(view, value, valueLen, rule.dst)) return undefined;
        break;
      case FRA.src:
        if (!readAddress(view, value, valueLen, src)) return undefined;
        break;
      case FRA.priority:
        rule.priority = number;
        break;
      case FRA.mark:
        mark = number;
        break;
      case FRA.markMask:
        markMask = number;
        break;
      case FRA.table:
        rule.table = number;
        break;
      case FRA.iifName: // a socket's packets count as coming from the loopback interface
        if (textOf(view, value, valueLen) === LOOPBACK) rule.hasOtherSelector = true;
        else rule.isForOthers = true;
        break;
      case FRA.oifName:
        rule.isForOthers = true;
        break;
      case FRA.l3mdev:
        if (valueLen > 0 && view.getUint8(value) !== 0) rule.isForOthers = true;
        break;
      case FRA.suppressPrefixLen:
      case FRA.suppressIfGroup:
        if (number !== 0xffffffff) rule.suppresses = true;
        break;
      case FRA.padding:
      case FRA.protocol:
        break;
      default:
        rule.hasOtherSelector = true;
    }
    at += (attributeLen + 3) & ~3;
  }
  if (srcLen > 0) {
    // The source is not known yet: that is 0.0.0.0 for an IPv4 rule, and no source for an IPv6 one.
    const isForNone = isV4 ? src[3]! >>> (32 - srcLen) === 0 : (flags & FINDS_SOURCE) !== 0;
    if (isForNone) rule.hasOtherSelector = true;
    else rule.isForOthers = true;
  }
  // The mark is 0.
  if ((mark & markMask) !== 0) rule.isForOthers = true;
  else if (markMask !== 0) rule.hasOtherSelector = true;
  return rule;
}

function textOf(view: DataView, off: number, length: number): string {
  let text = '';
  for (let at = off; at < off + length && view.getUint8(at) !== 0; at++) {
    text += String.fromCharCode(view.getUint8(at));
  }
  return text;
}
