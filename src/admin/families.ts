// Which counter is which Prometheus series. A test holds these tables against the lists of counters, so that
// a new counter cannot be forgotten. Names lack the prefix that metrics.ts adds.
import type { CounterName } from '../datapath/counters.ts';
import type { ServerCounterName } from '../datapath/server-cells.ts';
import type { IoCounterName } from '../io/packet-io.ts';

export type Labels = Record<string, string>;
export type Put = (value: number, labels?: Labels) => void;

/** A family as it is read at each scrape. */
export interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  labels?: readonly string[];
  /**
   * Series that never counted are left out: a thousand services have 88,000, of which hardly any ever does.
   * So a series begins with its first value, not with 0.
   */
  isSparse?: boolean;
  /** Calls `put` for each series. */
  read(put: Put): void;
}

/** Counters of a service's row: each column is one series per service, with these labels. */
export interface ServiceFamily {
  name: string;
  help: string;
  type?: 'gauge';
  /** Its series are there before they count: without them nobody could tell that nothing is forwarded. */
  isAlwaysThere?: true;
  series: Partial<Record<CounterName, Labels>>;
}

export const SERVICE_FAMILIES: readonly ServiceFamily[] = [
  {
    name: 'packets_total',
    help: 'IP packets received, whatever became of them; without service and direction those of no service.',
    isAlwaysThere: true,
    series: {
      inboundPackets: { direction: 'inbound' },
      outboundPackets: { direction: 'outbound' },
      unassignedPackets: { direction: '' },
    },
  },
  {
    name: 'bytes_total',
    help: 'Bytes of IP packets received for a service, as they came.',
    isAlwaysThere: true,
    series: { inboundBytes: { direction: 'inbound' }, outboundBytes: { direction: 'outbound' } },
  },
  {
    name: 'forwarded_packets_total',
    help: 'Of them, sent on: the kernel took them.',
    isAlwaysThere: true,
    series: { inboundForwarded: { direction: 'inbound' }, outboundForwarded: { direction: 'outbound' } },
  },
  {
    name: 'fast_path_forwarded_packets_total',
    help: 'Of those sent on, by the fast path in the kernel; counted up to a second late.',
    series: { inboundFast: { direction: 'inbound' }, outboundFast: { direction: 'outbound' } },
  },
  {
    name: 'consumed_packets_total',
    help: 'Of them, ended here on purpose: echo ACKs, replies to carriers, ICMP errors about a UOA.',
    series: { consumed: {} },
  },
  {
    name: 'passed_packets_total',
    help: 'Of them, left to the host, because they are for no service.',
    series: { passed: {} },
  },
  {
    name: 'sessions',
    help: 'Sessions now, by state.',
    type: 'gauge',
    series: { sessionsOneway: { state: 'oneway' }, sessionsNormal: { state: 'normal' } },
  },
  {
    name: 'fast_path_sessions',
    help: 'Of these, forwarded by the fast path in the kernel.',
    type: 'gauge',
    series: { sessionsHot: {} },
  },
  { name: 'sessions_created_total', help: 'Sessions opened.', series: { sessionsCreated: {} } },
  {
    name: 'sessions_expired_total',
    help: 'Sessions ended by their timeout.',
    series: { sessionsExpired: {} },
  },
  {
    name: 'sessions_evicted_total',
    help: 'Sessions ended early to make room: the table was full, or no lport was free for a new session.',
    series: { sessionsEvicted: {} },
  },
  {
    name: 'sessions_displaced_total',
    help: 'Of the evicted sessions those whose lport a new session got, because none was free.',
    series: { sessionsDisplaced: {} },
  },
  {
    name: 'sessions_moved_total',
    help: 'Sessions that went on with another real server, because theirs was down.',
    series: { sessionsMoved: {} },
  },
  {
    name: 'sessions_reset_total',
    help: 'Sessions ended early, because their real server was down.',
    series: { sessionsReset: {} },
  },
  {
    name: 'sessions_removed_total',
    help: 'Sessions ended early by a change of the config.',
    series: { sessionsRemoved: {} },
  },
  {
    name: 'uoa_sent_total',
    help: 'UOAs sent to real servers, inside a client packet, in a carrier of their own, or as a header of PROXY protocol before its payload.',
    series: {
      uoaInserted: { carriage: 'inserted' },
      uoaCarrier: { carriage: 'carrier' },
      uoaHeader: { carriage: 'header' },
    },
  },
  {
    name: 'uoa_repeated_total',
    help: 'Datagrams that were sent again without the UOA inside that nobody answered (uoa.carriage auto).',
    series: { uoaRepeated: {} },
  },
  {
    name: 'uoa_failed_total',
    help: 'UOAs that were due and could not be sent.',
    series: { uoaFailed: {} },
  },
  { name: 'uoa_acked_total', help: "Rounds that a real server's echo ACK ended.", series: { uoaAcked: {} } },
  {
    name: 'uoa_ack_repeated_total',
    help: 'Echo ACKs of rounds that one before them had ended.',
    series: { uoaAckRepeated: {} },
  },
  {
    name: 'uoa_ack_rejected_total',
    help: 'UOAs from real servers that are no echo ACK of their session.',
    series: { uoaAckRejected: {} },
  },
  {
    name: 'uoa_exhausted_total',
    help: 'Rounds that used up maxTrials without an echo ACK.',
    series: { uoaExhausted: {} },
  },
  {
    name: 'uoa_forged_removed_total',
    help: 'Packets from clients that carried a UOA, which was removed.',
    series: { uoaForgedRemoved: {} },
  },
  {
    name: 'uoa_stripped_total',
    help: 'Packets with payload from real servers that carried a UOA, which was removed.',
    series: { uoaStripped: {} },
  },
  {
    name: 'empty_replies_swallowed_total',
    help: 'Empty replies to carriers, kept from the client.',
    series: { emptyRepliesSwallowed: {} },
  },
  {
    name: 'uoa_unsupported_total',
    help: 'ICMP errors of real servers that cannot read the UOA, summed over them.',
    series: { uoaUnsupported: {} },
  },
  {
    name: 'fragments_received_total',
    help: 'Fragments taken into reassembly; they belong to no service yet.',
    series: { fragmentsReceived: {} },
  },
  {
    name: 'fragments_joined_total',
    help: 'Of them, those whose datagram became whole.',
    series: { fragmentsJoined: {} },
  },
  {
    name: 'datagrams_reassembled_total',
    help: 'Datagrams put together from fragments.',
    series: { datagramsReassembled: {} },
  },
  {
    name: 'datagrams_fragmented_total',
    help: 'Datagrams sent on in fragments.',
    series: { datagramsFragmented: {} },
  },
  {
    name: 'fragments_sent_total',
    help: 'Fragments sent, also of datagrams of which another one was refused.',
    series: { fragmentsSent: {} },
  },
  {
    name: 'handed_over_total',
    help: 'Packets passed on to the datapath process that they belong to.',
    series: { handedOver: {} },
  },
  {
    name: 'icmp_sent_total',
    help: 'ICMP errors about packets that could not be forwarded.',
    series: { icmpSent: {} },
  },
  {
    name: 'icmp_translated_total',
    help: 'ICMP errors of other hosts passed on to the other side.',
    series: { icmpTranslated: {} },
  },
  {
    name: 'icmp_suppressed_total',
    help: 'ICMP errors not sent because of the rate limit.',
    series: { icmpSuppressed: {} },
  },
];

/** Counters of a real server's row: each column is one series per real server, with these labels. */
export interface ServerFamily {
  name: string;
  help: string;
  type?: 'gauge';
  series: Partial<Record<ServerCounterName, Labels>>;
}

export const SERVER_FAMILIES: readonly ServerFamily[] = [
  {
    name: 'server_sessions',
    help: 'Sessions of a real server now, by state.',
    type: 'gauge',
    series: { sessionsOneway: { state: 'oneway' }, sessionsNormal: { state: 'normal' } },
  },
  {
    name: 'server_sessions_created_total',
    help: 'Sessions that a real server was chosen for, moved ones too.',
    series: { sessionsCreated: {} },
  },
  {
    name: 'server_sessions_unanswered_total',
    help: 'Sessions that expired and never got an answer of their real server.',
    series: { onewayEnded: {} },
  },
  {
    name: 'server_sessions_answered_total',
    help: 'Sessions that got the first answer of their real server.',
    series: { sessionsAnswered: {} },
  },
  {
    name: 'server_packets_total',
    help: 'Packets sent on to a real server (inbound), and of it to clients (outbound).',
    series: { inboundPackets: { direction: 'inbound' }, outboundPackets: { direction: 'outbound' } },
  },
  {
    name: 'server_bytes_total',
    help: 'Bytes of these IP packets, as they were received.',
    series: { inboundBytes: { direction: 'inbound' }, outboundBytes: { direction: 'outbound' } },
  },
  {
    name: 'server_unreachable_total',
    help: 'ICMP unreachable errors of a real server about packets that it was sent.',
    series: { unreachable: {} },
  },
  {
    name: 'uoa_refusals_total',
    help: 'ICMP errors of each real server that it cannot read the UOA.',
    series: { refusals: {} },
  },
  {
    name: 'uoa_first_answers_total',
    help: 'First answers of a real server in a session: to packets with the UOA inside, or only to one without.',
    series: { uoaAnswered: { to: 'uoa' }, uoaUnanswered: { to: 'plain' } },
  },
];

/** Counters of the I/O rows; with `perInterface` false the rows are summed. */
export interface IoFamily {
  name: string;
  help: string;
  perInterface: boolean;
  series: Partial<Record<IoCounterName, Labels>>;
}

export const IO_FAMILIES: readonly IoFamily[] = [
  {
    name: 'io_received_total',
    help: 'Frames that the kernel handed over.',
    perInterface: true,
    series: { received: {} },
  },
  {
    name: 'io_split_total',
    help: 'Packets more than frames, because super packets were taken apart.',
    perInterface: true,
    series: { split: {} },
  },
  {
    name: 'io_judged_total',
    help: 'Packets that the datapath judged: all that are neither foreign nor lost.',
    perInterface: true,
    series: { judged: {} },
  },
  {
    name: 'io_lost_total',
    help: 'Frames lost before they were looked at: kernel capture buffer full, or our backlog full or gone with its process.',
    perInterface: true,
    series: { lostKernel: { where: 'kernel' }, lostBacklog: { where: 'backlog' } },
  },
  {
    name: 'io_foreign_total',
    help: 'Captured frames that are no IP packet of ours.',
    perInterface: true,
    series: { foreign: {} },
  },
  { name: 'io_sent_total', help: 'Packets that the kernel took.', perInterface: false, series: { sent: {} } },
  {
    name: 'io_sent_in_super_total',
    help: 'Those of them that went whole in super packets, several datagrams in one.',
    perInterface: false,
    series: { sentInSuper: {} },
  },
  {
    name: 'io_sent_by_ip_total',
    help: "Those of them that the kernel's IP layer sent, not layer 2.",
    perInterface: false,
    series: { sentByIp: {} },
  },
  {
    name: 'io_send_errors_total',
    help: 'Packets that the kernel refused to send, or would have kept for a neighbor that does not answer.',
    perInterface: false,
    series: {
      sendTooBig: { error: 'too_big' },
      sendNoBuffer: { error: 'no_buffer' },
      sendUnresolved: { error: 'unresolved' },
      sendUnreachable: { error: 'unreachable' },
      sendError: { error: 'other' },
    },
  },
];
