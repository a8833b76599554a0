// What capture files and interfaces have in common: a packet and when and where it was seen.
export interface CapturedPacket {
  /** The interface; empty where that is not known. */
  device: string;
  /** Microseconds since 1970. */
  timeUs: number;
  /** How long the packet was, of which `bytes` may be the first part. */
  wireLen: number;
  /** From the IP header on. */
  bytes: Uint8Array;
}
