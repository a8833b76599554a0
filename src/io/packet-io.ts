// Where packets come from and go to. Implementations strip and add the link header; the datapath sees IP
// packets only.

import type { NextHops } from '../route/next-hop.ts';
import type { Frame, Sending, SendSuper } from '../wire/frame.ts';
import type { DealtWith } from './dealt-with.ts';

/** A port faces clients, real servers, or (one-arm, sidecar) both. */
export const SIDE = { wan: 1, lan: 2, both: 3 } as const;

export interface IoPort {
  /** Interface name, e.g. eth0. */
  name: string;
  /** A SIDE value. */
  side: number;
  mtu: number;
  /** Ethernet address as aa:bb:cc:dd:ee:ff, or '' for a device without one. */
  mac: string;
  loopback: boolean;
}

/**
 * Called for each received packet: the IP header starts at `off`, captured bytes end at `end` (exclusive), at
 * least HEADROOM bytes before `off` may be overwritten, and nothing of `frame` may be kept after the return.
 * `portIndex` is the index in the list of ports that the I/O was opened with, `nowMs` when it was taken in
 * (IoOptions.nowMs). `isMerged`: it is several packets in one, which cannot be told apart any more.
 * `isVerified`: its UDP checksum is known to be right. True: it belongs to a session that both ends have
 * used, so its source is a known one (see PacketIo.noteClient).
 */
export type OnPacket = (
  frame: Frame,
  off: number,
  end: number,
  portIndex: number,
  nowMs: number,
  isMerged: boolean,
  isVerified: boolean,
) => boolean;

/** Super packets that nothing need be decided about go on as they came. */
export interface SuperPackets {
  /**
   * Of how many datagrams the received super packet at frame.bytes[off, end) is, if it may go on; 0: it is to
   * be taken apart. `segmentLen` is the payload of all but the last, and its UDP header, whose checksum is
   * unfinished, stands at `udpOff`. All else as for OnPacket.
   */
  accept(
    frame: Frame,
    off: number,
    end: number,
    portIndex: number,
    nowMs: number,
    segmentLen: number,
    udpOff: number,
  ): number;
  /** Forwards the one that was accepted just now. What it returns: see OnPacket. */
  forward(frame: Frame): boolean;
}

/** What several packets need is fetched at the same time, before the first of them is handed over. */
export interface LookAhead {
  /** Packets follow, LOOK_AHEAD_MAX at most, other ones than before. False: there is nothing to be gained. */
  begin(): boolean;
  /** The IP packet at `off` is handed over soon, after those that were seen already. */
  see(frame: Frame, off: number): void;
  /** All were seen. */
  fetch(): void;
}

/**
 * By mode, what the control plane tells a worker about its packet I/O: plain data that fits in a message. The
 * file of each mode adds its own (`declare module`), because nobody else knows it.
 */
export interface IoStarts extends Record<never, never> {}

export type ModeName = keyof IoStarts;
export type StartOf<Name extends ModeName> = IoStarts[Name] & { readonly mode: Name };
/** A union that `mode` tells apart. */
export type IoStart = { [Name in ModeName]: StartOf<Name> }[ModeName];

/** What the worker gives to its packet I/O, whatever the mode. */
export interface IoOptions {
  ports: readonly IoPort[];
  onPacket: OnPacket;
  /**
   * Rows of IO_COUNTERS: one per port, in their order, one for what has no port (sending), and once more one
   * per port for what comes in apart from it, of known sources; ioRows in all.
   */
  counters: Float64Array;
  /**
   * Called with a sentence when an interface went down, and with `final` when it was removed. Receiving goes
   * on by itself once an interface is up again, but not when it is made anew.
   */
  onFailure: (message: string, final: boolean) => void;
  /** What may go on whole; only asked by a mode that can send such. */
  superPackets?: SuperPackets | undefined;
  /** Told of packets before they come, by a mode that can. */
  lookAhead?: LookAhead;
  /** Called for each packet that `send` gathered, in their order: whether it was sent. */
  onSettled: (wasSent: boolean) => void;
  /**
   * Milliseconds as an int32 that wraps. Asked once for several packets, because it costs as much as a tenth
   * of one.
   */
  nowMs: () => number;
  /** The host's routes; kept current by the packet I/O and closed with it. */
  hops: NextHops;
  /**
   * Further descriptors that packets come from, each with what takes them in and says how many there were.
   */
  others: readonly { fd: number; receive: (nowMs: number) => number }[];
  /** Where messages to this process arrive, for which it must not wait for packets; -1: nowhere. */
  messagesFd: number;
  /** It takes no packet in before `begin` (PacketIo), where it has that. */
  isWaiting?: boolean | undefined;
}

export interface PacketIo {
  /**
   * See Send; of the IP packet at frame.bytes[off, off + len), IPv4 or IPv6 as its version says, nothing is
   * needed any more when it returns, but received frames may go from where they are. Routing, neighbors and
   * link header are the implementation's business. Where it goes through the kernel's IP layer, an IPv4
   * packet with the identification 0 gets one there. Why a packet was refused is counted in the I/O counters.
   */
  send(frame: Frame, off: number, len: number): Sending;
  /** What was sent while no packet was received is sent now, and not with the next ones. */
  flush?(): void;
  /** See SendSuper; undefined where the mode takes in each datagram by itself. */
  readonly sendSuper?: SendSuper;
  /** Reads the kernel's loss counters into the I/O counters; called a few times per second. */
  poll(): void;
  /**
   * A session's first answer was forwarded: its client's packets may come by a way that a flood of others
   * does not block. Address as in wire/address.ts, at words[at], and port.
   */
  noteClient(words: Int32Array, at: number, port: number): void;
  /**
   * Goes by a description, of its own mode, that took the place of the one that it was opened from. Throws an
   * IoError.
   */
  reconfigure(start: IoStart): void;
  /** While it waits: what came in already and another process has dealt with, by port, is not its own. */
  leaveOut?(dealtWith: readonly DealtWith[]): void;
  /** Begins, where that was to wait. */
  begin?(): void;
  /** Before another process goes on: works off what is there now, and takes in nothing more. */
  drain?(): void;
  /**
   * Works off what others handed over meanwhile. Returns, by port, what of the packets that came in after
   * `sinceUs` it has dealt with.
   */
  leave?(sinceUs: number): readonly DealtWith[];
  close(): void;
}

/** Rows of the I/O counters for so many ports. */
export const ioRows = (ports: number): number => 2 * ports + 1;
/** The row of what packets come in by: one per port, and maybe another one per port for known sources. */
export const rowOfIntake = (intake: number, ports: number): number => (intake < ports ? intake : intake + 1);

/**
 * What a predecessor had taken in and not given to the datapath when it ended is lost; to be called before
 * anything is received. `row` is the port's first cell.
 */
export function bookLostFrames(counters: Float64Array, row: number): void {
  const cell = (name: IoCounterName): number => counters[row + IO_COLUMN[name]];
  const lost = cell('received') + cell('split') - cell('foreign') - cell('lostBacklog') - cell('judged');
  if (lost > 0) counters[row + IO_COLUMN.lostBacklog] += lost;
}

/** Columns of the I/O counters. */
export const IO_COUNTERS = [
  // At rest received + split = foreign + lostBacklog + judged.
  'received', // frames handed to us by the kernel
  'split', // packets more than frames, because super packets were taken apart
  'lostKernel', // the kernel's capture buffer was full; not among those received
  'lostBacklog', // our own queue was full, or its process ended
  'foreign', // no IP packet of ours after all (VLAN-tagged, other link protocol)
  'judged', // given to the datapath
  'sent',
  'sentInSuper', // of these, whole in a super packet
  'sentByIp', // of these, through the kernel's IP layer instead of at layer 2
  'sendTooBig', // EMSGSIZE
  'sendNoBuffer', // ENOBUFS, EAGAIN
  'sendUnresolved', // enough wait for a neighbor that does not answer
  'sendUnreachable', // no route, host or network unreachable, interface down
  'sendError', // any other
] as const;
export type IoCounterName = (typeof IO_COUNTERS)[number];
export const IO_COLUMN = Object.fromEntries(IO_COUNTERS.map((name, index) => [name, index])) as Record<
  IoCounterName,
  number
>;
