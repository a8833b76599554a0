// Judges the ICMP errors that the proxy sends: its own, about what it could not forward, and those of others
// that it passes on to the other side of a session.
import assert from 'node:assert/strict';
import { at16, familyOf, hex, unhex } from '../packets/bytes.ts';
import { type Dissected, dissect, options } from '../packets/dissect.ts';
import { proxyHeader } from '../packets/uoa-builder.ts';
import type { Model } from './model.ts';
import { AT, RPORT, VPORT } from './plan.ts';
import { read, type Seen } from './reader.ts';
import { assertNothingWritten } from './sent.ts';
import type { Outcome } from './twin.ts';

/** Type and code over IPv4 and IPv6. */
const OWN: Record<string, { 4: string; 6: string }> = {
  'drop:ttl_exceeded': { 4: '11/0', 6: '3/0' },
  'drop:too_big': { 4: '3/4', 6: '2/0' },
  'drop:unknown_ip_option': { 4: 'none', 6: '4/2' },
};

/** The proxy could not forward `seen` and says so to its sender. */
export function judgeOwnIcmp(seen: Seen, { verdict, attempts, changed }: Outcome): void {
  assert.equal(attempts.length, 1, 'one error for one packet');
  const { packet, wasSent } = attempts[0];
  const sent = checkError(packet);
  assert.deepEqual([sent.src, sent.dst], [seen.dst, seen.src], 'to the sender, from where it sent to');
  const { type, code, rest, body } = sent.icmp!;
  assert.equal(`${type}/${code}`, OWN[verdict]?.[seen.family], `what ${verdict} tells`);
  if (verdict === 'drop:too_big') {
    assert.ok(rest >= (seen.family === 4 ? 68 : 1280), `an MTU of ${rest}`);
    assert.ok(rest < seen.packet.length, `an MTU of ${rest} for a packet of ${seen.packet.length} bytes`);
  }
  assert.equal(changed.icmpSent ?? 0, wasSent ? 1 : 0, 'icmpSent');
  const room = seen.family === 4 ? 576 - 28 : 1280 - 48;
  // What a size forbids is found out behind what a forged UOA took: its sender then sees its packet without
  // it.
  const isAsItCame = seen.dst === AT[seen.family].vip && !changed.uoaForgedRemoved;
  // Of the header the end of the options may be cleared by then.
  const from = verdict === 'drop:too_big' && seen.family === 4 ? 8 * (seen.packet[0] & 15) : 0;
  if (isAsItCame)
    assert.equal(body.slice(from), hex(seen.packet).slice(from, 2 * room), 'the embedded packet');
  else if (seen.family === 4) assertPlain(unhex(body), 'the sender is told');
}

/** Somebody's error `seen` about a packet of a session was passed on. */
export function judgeIcmp(model: Model, seen: Seen, { verdict, attempts, changed }: Outcome): void {
  assert.equal(attempts.length, 1, 'one error for one error');
  const { packet, wasSent } = attempts[0];
  const sent = checkError(packet);
  assert.equal(verdict === 'forward', wasSent, verdict);
  assert.equal(changed.icmpTranslated ?? 0, wasSent ? 1 : 0, 'icmpTranslated');
  const about = readHead(seen.icmp!.body);
  assert.ok(about, 'an error about nothing that can be read is passed on');
  assert.equal(about.src, seen.dst, 'an error to another than the sender of its packet is passed on');
  const told = readHead(unhex(sent.icmp!.body));
  assert.ok(told, 'what is passed on cannot be read');
  const body = unhex(sent.icmp!.body);
  assertPlain(body, 'an error shows');
  if (sent.family === 4) assertNothingWritten(body.subarray(20, (body[0] & 15) * 4), true);
  const { lip } = AT[seen.family];
  const isInbound = about.src === lip;
  const client = isInbound ? model.clientOf(seen.family, about.sport) : { ip: about.dst, port: about.dport };
  assert.ok(client, 'an error about a session that was never opened');
  const named = model.named(client);
  if (isInbound) {
    assert.deepEqual([sent.src, sent.dst], [named.vip, named.cip], 'from VIP to the client');
    assert.deepEqual(
      told,
      { src: named.cip, sport: named.cport, dst: named.vip, dport: VPORT },
      'about its packet',
    );
  } else {
    const { lip: from, rip } = AT[familyOf(sent.src)];
    assert.deepEqual([sent.src, sent.dst], [from, rip], 'from LIP to the real server');
    const { sport, dport, src, dst } = told;
    assert.deepEqual([src, sport, dst], [rip, RPORT, from], 'about its packet');
    assert.deepEqual(model.clientOf(familyOf(sent.src), dport), client, 'to the real server of its client');
  }
  const isProxied = isInbound && model.headerTowards(seen.family, new Uint8Array(0)) !== 'never';
  checkEmbeddedSum(seen.icmp!.body, body, isProxied ? hex(proxyHeader(named)) : undefined);
}

function checkError(packet: Uint8Array): Dissected {
  const sent = dissect(packet);
  assert.ok(sent.ipChecksumOk, 'IP checksum');
  assert.ok(sent.icmp?.checksumOk, 'ICMP checksum');
  assert.ok(packet.length <= (sent.family === 4 ? 576 : 1280), `an error of ${packet.length} bytes`);
  assert.equal(sent.options + sent.extensions.length, '0', 'no options');
  assert.ok(sent.ttl > 0, 'TTL');
  assert.doesNotMatch(sent.dst, /^(0|127|22[4-9]|2[3-5]\d)\.|^(::1?|ff.*)$/, 'an error to nobody');
  return sent;
}

/** An embedded packet that shows no UOA: UDP directly behind a header without types 29 to 31. */
function assertPlain(body: Uint8Array, what: string): void {
  const isV4 = body[0] >> 4 === 4;
  const headerLen = (body[0] & 15) * 4;
  assert.equal(isV4 ? body[9] : body[6], 17, `${what} a protocol that is not UDP`);
  if (!isV4) return;
  const types = options(body.subarray(20, headerLen)).map((option) => option[0]);
  assert.ok(!types.some((type) => type >= 29 && type <= 31), `${what} a UOA`);
}

/**
 * A datagram that is whole inside the error and had a right checksum has one still. A `header` of PROXY
 * protocol that it begins with is not told.
 */
function checkEmbeddedSum(about: Uint8Array, told: Uint8Array, header: string | undefined): void {
  const before = read(about);
  const after = read(told);
  if (!before?.udp || !after?.udp) return;
  if (before.udp.sum === 'zero') assert.equal(after.udp.sum, 'zero', 'no UDP checksum inside the error');
  if (before.udp.sum !== 'right') return;
  assert.equal(after.udp.sum, 'right', 'the UDP checksum inside the error');
  const payload = hex(before.udp.payload);
  const isHeaded = header !== undefined && payload.startsWith(header);
  const own = isHeaded ? payload.slice(header.length) : payload;
  assert.equal(hex(after.udp.payload), own, 'the payload inside the error');
}

interface Head {
  src: string;
  sport: number;
  dst: string;
  dport: number;
}

/** The tuple of a packet of which only the head may be there. */
function readHead(body: Uint8Array): Head | undefined {
  const length = body[0] >> 4 === 4 ? at16(body, 2) : 40 + at16(body, 4);
  const filled = new Uint8Array(Math.max(length, body.length));
  filled.set(body);
  const seen = read(filled);
  if (!seen) return undefined;
  const { src, dst } = seen;
  const upper = seen.udp ?? upperOf(seen);
  return upper && { src, dst, sport: upper.sport, dport: upper.dport };
}

/** Ports where the datagram's length makes no sense, or of a first fragment. */
function upperOf({ packet, proto, family, fragment }: Seen): { sport: number; dport: number } | undefined {
  if (fragment && fragment.offset > 0) return undefined;
  let data = fragment?.data ?? packet.subarray(family === 4 ? (packet[0] & 15) * 4 : lengthOfHeaders(packet));
  if (proto === 248) data = data.subarray(data[2] * 256 + data[3]);
  if (data.length < 4) return undefined;
  return { sport: data[0] * 256 + data[1], dport: data[2] * 256 + data[3] };
}

function lengthOfHeaders(packet: Uint8Array): number {
  let off = 40;
  for (let header = packet[6]; [0, 43, 44, 60].includes(header) && off + 8 <= packet.length; ) {
    const length = header === 44 ? 8 : (packet[off + 1] + 1) * 8;
    header = packet[off]!;
    off += length;
  }
  return off;
}
