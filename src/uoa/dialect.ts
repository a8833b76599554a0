// What every UOA dialect can do, and the table of dialects. A dialect knows bytes: not which service or real server it
// serves, nor how often it is sent (handshake.ts). Layouts: docs/wire-formats.md.
import type { Frame } from '../wire/frame.ts';
import type { Packet } from '../wire/packet.ts';
import { ipo } from './ipo.ts';
import { opp } from './opp.ts';

export interface UoaDialect {
  /** Bytes that the UOA of an IPv4 client adds to a packet. */
  readonly size: number;
  /**
   * Inserts the UOA for client cip:cport into the IPv4/UDP packet at `off`, growing it towards lower addresses: needs
   * `size` bytes of headroom and IP header + size <= 60. Header length, protocol and total length are set, checksums
   * are not. Returns the packet's new offset, off - size.
   */
  insert(frame: Frame, off: number, cip: number, cport: number): number;
  /** Undoes `insert`: takes what it returned, returns the offset it was given. */
  remove(frame: Frame, off: number): number;
  /** Whether the parsed packet carries exactly the UOA that `insert` writes for cip:cport, and no other. */
  matches(frame: Frame, packet: Packet, cip: number, cport: number): boolean;
}

export const UOA_DIALECTS = { ipo, opp } as const;
