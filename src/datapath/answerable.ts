// About which packets an ICMP error may be sent at all (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4
// (e)). Asked before any is made. What those forbid besides cannot come here: ICMP errors are no datagrams;
// the destination is a VIP or LIP, never a group; and the capture takes in only what the link brings to the
// interface's own address.
import type { Packet } from '../wire/packet.ts';
import type { AddressBook } from './address-book.ts';
import type { DatapathPort } from './plan.ts';

/** Not about a piece of a datagram but the first, and not to a source that is not a single other host. */
export function isAnswerable(
  { addresses, fragment }: Packet,
  book: AddressBook,
  port: DatapathPort,
): boolean {
  return fragment.offset === 0 && book.isHost(addresses, port);
}
