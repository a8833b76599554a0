// What became of a packet. Two closed tables: a Verdict is a small integer, a Drop is DROP_BASE + index of
// its reason, and the reason's text is the metric label `reason`. `receive` is the only producer for the
// outside and the only counter.
import { PARSE_FAULTS } from '../wire/packet.ts';

export const VERDICT = {
  /** Rewritten and sent, or gathered by the packet I/O, which may still be refused it. */
  forward: 0,
  /** Not addressed to any service or local address of ours: the host's own business. */
  pass: 1,
  /** Ours, ended here on purpose (echo ACK, rejected UOA, answer to a carrier). */
  consumed: 2,
  /** A fragment that is kept until the others are there. */
  held: 3,
  /** Another datapath's, and passed on to it. */
  handedOver: 4,
} as const;

/** A VERDICT value, or DROP_BASE + an index into DROP_REASONS. */
export type Verdict = number;

export const DROP_BASE = 16;

export const DROP_REASONS = [
  ...PARSE_FAULTS,
  // the packet as it came
  'source_route', // LSRR or SSRR, or an IPv6 routing header with segments left
  'unknown_ip_option', // an IPv6 option that whoever does not know it must not accept
  'bad_udp_checksum',
  'super_packet', // several in one, merged by GRO or GSO in a way that cannot be taken apart
  'bad_source', // no client's: an own one, one that would answer the answer, or the only real server's
  'wrong_interface', // a packet to LIP:lport from an interface that does not face the real servers
  // what we could not do with it
  'ttl_exceeded',
  'too_big', // above the outgoing MTU and not to be fragmented: the sender was told by ICMP
  'no_session', // to LIP:lport, but no session has that tuple
  'no_real_server', // every real server is down or has weight 0, and there is no fallback
  'server_down', // its session was ended, because its real server is down (onDown: reset)
  'draining', // the proxy takes no new sessions any more
  'denied', // by the service's allow and deny lists
  'session_limit', // of the service
  'client_session_limit',
  'new_session_limit', // of the service, per second
  'client_new_session_limit',
  'lports_exhausted',
  'lports_reserved', // what is left is kept for clients that were answered before
  'bad_icmp', // an ICMP error about a session of ours whose lengths or checksums are wrong
  'icmp_untranslatable', // an ICMP error that has no equivalent in the other family
  'icmp_rate_limited',
  'send_failed', // the device or the kernel refused it, at once or when its batch was sent
  'worker_ended', // begun or held by a datapath process that ended; counted by its successor
  'handover_failed', // another worker's, which could not take it
  // fragments
  'bad_fragment', // no data, not a multiple of 8 bytes, over 65,535 bytes, or behind its datagram's end
  'fragment_tiny_first', // a first piece with less than a UDP header and 40 bytes
  'fragment_overlap', // overlaps another piece of its datagram: all of it is dropped
  'fragment_duplicate', // came twice
  'fragment_too_many', // more than 64 pieces: all of the datagram is dropped
  'fragment_evicted', // pieces that newer datagrams pushed out
  'fragment_timeout', // pieces whose datagram was not whole in time
] as const;

export type DropReason = (typeof DROP_REASONS)[number];

const indexByReason = Object.fromEntries(DROP_REASONS.map((reason, index) => [reason, DROP_BASE + index]));

/** The Verdict for each reason, e.g. `DROP.no_session`. */
export const DROP = indexByReason as Record<DropReason, Verdict>;

export function verdictName(verdict: Verdict): string {
  if (verdict >= DROP_BASE) return `drop:${DROP_REASONS[verdict - DROP_BASE]}`;
  return Object.keys(VERDICT)[verdict] ?? `unknown:${verdict}`;
}
