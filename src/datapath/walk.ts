// What the walks of a packet work with. One object per datapath, made once, so that V8 sees one shape; a
// function that needs a part of it says so in its type. What only keeps a datapath going is in datapath.ts.
import type { SessionTable } from '../session/table.ts';
import type { Packet } from '../wire/packet.ts';
import type { Admission } from './admission.ts';
import type { Attempts } from './attempts.ts';
import type { Departures } from './departures.ts';
import type { Directory } from './directory.ts';
import type { Identifications } from './fragment.ts';
import type { IcmpSender } from './icmp-sender.ts';
import type { Loans } from './loans.ts';
import type { DatapathMemory } from './memory.ts';
import type { Routing, Siblings } from './options.ts';
import type { PacketMetadata } from './packet-metadata.ts';

/** The sessions that there are, what they belong to by the plan at work, and where they are counted. */
export interface Sessions {
  readonly table: SessionTable;
  readonly directory: Directory;
  readonly memory: DatapathMemory;
}

export interface Walk extends Sessions {
  /** The packet under way. */
  readonly packet: Packet;
  readonly metadata: PacketMetadata;
  /** Who may open a session, and whether that is for a sibling to do. */
  readonly admission: Admission;
  readonly loans: Loans;
  readonly siblings: Siblings | undefined;
  readonly routing: Routing | undefined;
  /** The way out. */
  readonly departures: Departures;
  readonly attempts: Attempts;
  readonly icmp: IcmpSender;
  readonly identifications: Identifications;
}
