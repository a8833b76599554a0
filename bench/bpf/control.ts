// The memory that the programs of one network and the bench share (struct control of load.h): 64-bit words,
// then a histogram. Offsets in bytes.

export const CONTROL = {
  /**
   * Set before a run: nanoseconds between packets and of the whole run; number of flows and the first one's
   * number.
   */
  intervalNs: 0,
  durationNs: 8,
  flows: 16,
  firstFlow: 24,
  /** Length of the payload that counts; shorter or longer ones are dropped and not counted. */
  payloadLen: 32,
  /** Not 0: the real server sends back what it gets. */
  echo: 40,
  /** The run's clock, nanoseconds since boot; all 0 before it. */
  startNs: 128,
  dueNs: 136,
  endNs: 144,
  /** Flow of the next packet, counted from firstFlow. */
  nextFlow: 152,
  /**
   * Packets since the network was made: made, arrived at the forwarder, at the real server, back at the
   * client.
   */
  sent: 160,
  arrived: 256,
  delivered: 384,
  answered: 512,
  /** The last three as they were when the run's time was over; ended is 1 then. */
  ended: 168,
  arrivedAtEnd: 176,
  deliveredAtEnd: 184,
  answeredAtEnd: 192,
  /** Times from the client and back: how many took n times 2^HISTOGRAM_SHIFT nanoseconds. */
  histogram: 640,
} as const;

/** 256 ns per bucket, 33 ms in all; the last bucket holds what took longer. */
export const HISTOGRAM_SHIFT = 8;
export const HISTOGRAM_BUCKETS = 1 << 17;
export const CONTROL_LEN = CONTROL.histogram + 8 * HISTOGRAM_BUCKETS;

/** A payload begins with the time at which it was made. */
export const STAMP_LEN = 8;
