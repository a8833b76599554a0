// What is known of the packet under way besides its bytes: where it came from, whose it is, and whether it
// was counted as received. Begins anew with each packet.
import type { Service } from '../service/service.ts';
import type { Packet } from '../wire/packet.ts';
import { COUNTER, counterRow } from './counters.ts';
import type { Departures, Direction } from './departures.ts';

const RECEIVED_PACKETS = [COUNTER.inboundPackets, COUNTER.outboundPackets];
const RECEIVED_BYTES = [COUNTER.inboundBytes, COUNTER.outboundBytes];

export class PacketMetadata {
  /** The plan's port that it came by. */
  portIndex = 0;
  /** The service that it belongs to, -1 for none; see belongsTo. */
  serviceIndex = -1;
  /** Its service has counted it. */
  isReceived = false;
  /** It comes from a sibling, and is not passed on again. */
  isHandedOver = false;
  /** It is several in one. */
  isMerged = false;
  /** Its UDP checksum was verified before it came here. */
  isVerified = false;
  /**
   * It opens a session that a sibling had no lport for, to the real server of this number; -1: it does not.
   */
  lentServer = -1;
  readonly #packet: Packet;
  readonly #counters: Float64Array;
  readonly #departures: Departures;

  constructor(packet: Packet, counters: Float64Array, departures: Departures) {
    this.#packet = packet;
    this.#counters = counters;
    this.#departures = departures;
  }

  /** As it was parsed it belongs to a service, which has received it. */
  belongsTo(service: Service, direction: Direction): void {
    this.concerns(service, direction);
    this.countReceived();
  }

  /**
   * As belongsTo, but that it was received is said by countReceived before anything is sent, unless it is
   * passed on.
   */
  concerns({ index }: Service, direction: Direction): void {
    const departures = this.#departures;
    this.isReceived = false;
    this.serviceIndex = index;
    departures.direction = direction;
    departures.receivedLen = this.#packet.totalLen;
  }

  /** `datagrams`: of a super packet, which is as long as all of them. */
  countReceived(datagrams = 1): void {
    this.isReceived = true;
    const { direction, receivedLen } = this.#departures;
    const counters = this.#counters;
    const row = counterRow(this.serviceIndex);
    counters[row + RECEIVED_PACKETS[direction]] += datagrams;
    counters[row + RECEIVED_BYTES[direction]] += receivedLen;
  }
}
