// What a walk over IPv4 options or IPv6 extension headers found, as plain numbers in one record, and which of
// it some receiver takes for a UOA.

/**
 * The option types that some receiver takes for a UOA: 31 (all), 30 and 29 (ByteDance's module), as an IPv4
 * option and as an IPv6 destination option alike. 0x9f, the same with IPv4's copied bit, is read by nobody.
 */
export const isUoaOption = (type: number): boolean => type >= 29 && type <= 31;

export class HeaderScan {
  /** Number of UOA options. */
  uoaCount = 0;
  /** Offset and length of the first UOA option; 0 without one. */
  uoaOff = 0;
  uoaLen = 0;
  /** The packet wants to be sent on by another route. */
  sourceRoute = false;
  /** IPv4: an option into which hosts and routers on the way write their addresses, or could. */
  hasRecords = false;
  /** IPv4: offset of the first byte behind End-of-Options; 0 when there is no such byte. */
  tailOff = 0;
  /** IPv6: offset of an option that a node which does not know it must not accept; 0 without one. */
  refusedOff = 0;

  reset(): void {
    this.uoaCount = 0;
    this.uoaOff = 0;
    this.uoaLen = 0;
    this.sourceRoute = false;
    this.hasRecords = false;
    this.tailOff = 0;
    this.refusedOff = 0;
  }

  noteUoa(off: number, len: number): void {
    if (this.uoaCount++ !== 0) return;
    this.uoaOff = off;
    this.uoaLen = len;
  }
}
