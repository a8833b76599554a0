// What a row expects to be sent: bytes, or a check of them. Failures show the packets taken apart.
import assert from 'node:assert/strict';
import { withId } from '../packets/builder.ts';
import { hex } from '../packets/bytes.ts';
import { dissect } from '../packets/dissect.ts';
import { type Cut, fragments4, fragments6 } from '../packets/fragments.ts';

/** A sent packet that a row expects: its bytes, or what must be true of it. */
export type Expected = Uint8Array | ((sent: Uint8Array) => void);

/**
 * Equal to `packet` but for the IPv4 identification, which may be any but zero: a packet that the proxy
 * itself made.
 */
export function anyId(packet: Uint8Array): Expected {
  return (sent) => {
    const { family, id } = dissect(sent, { fragment: true });
    assert.notEqual(id, 0, 'identification');
    assertSame(sent, family === 4 ? withId(packet, id) : packet);
  };
}

/**
 * The fragments of `packet` for an MTU (or cut so), in order, all of one identification, which may be any but
 * zero.
 */
export function inFragments(packet: Uint8Array, cut: Cut): Expected[] {
  let id = 0;
  const isV6 = packet[0] >> 4 === 6;
  const all = () => (isV6 ? fragments6(packet, cut, id) : fragments4(withId(packet, id), cut));
  return all().map((_, index) => (sent) => {
    if (index === 0) id = dissect(sent, { fragment: true }).id;
    assert.notEqual(id, 0, 'identification');
    assertSame(sent, all()[index]);
  });
}

/** Byte equality that fails with the two packets taken apart. */
export function assertSame(sent: Uint8Array, expected: Uint8Array): void {
  if (hex(sent) === hex(expected)) return;
  assert.deepEqual(dissect(sent, { fragment: true }), dissect(expected, { fragment: true }));
  assert.equal(hex(sent), hex(expected));
}

/**
 * An ICMP error about `about`, of which it embeds as much as 576 bytes of IPv4 or 1,280 of IPv6 have room
 * for.
 */
export function icmpError(
  src: string,
  dst: string,
  { type, code, rest = 0, about }: { type: number; code: number; rest?: number; about: Uint8Array },
): Expected {
  return (sent) => {
    const seen = dissect(sent);
    const room = seen.family === 4 ? 576 - 20 - 8 : 1280 - 40 - 8;
    assert.deepEqual(
      { src: seen.src, dst: seen.dst, ipChecksumOk: seen.ipChecksumOk, icmp: seen.icmp },
      {
        src,
        dst,
        ipChecksumOk: true,
        icmp: { type, code, rest, body: hex(about.slice(0, room)), checksumOk: true },
      },
    );
    assert.ok(seen.ttl >= 32, `TTL ${seen.ttl}`);
  };
}
