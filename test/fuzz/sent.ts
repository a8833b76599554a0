// What must be true of every packet that the proxy sends, whatever it received: read by the strict dissector
// of test/packets. Each check fails with the packet in words.
import assert from 'node:assert/strict';
import { type Family, familyOf, hex, unhex } from '../packets/bytes.ts';
import { type Dissected, dissect, options } from '../packets/dissect.ts';
import { reassemble } from '../packets/fragments.ts';
import { type Form, type Named, uoaOf } from '../packets/uoa-builder.ts';
import { AT, RPORT, VPORT } from './plan.ts';
import type { Attempt } from './twin.ts';

/** A datagram that was handed to `send`, from one packet or from fragments. */
export interface SentDatagram {
  packet: Uint8Array;
  seen: Dissected;
  wasSent: boolean;
  isFragmented: boolean;
}

/**
 * Puts fragments together; of fragments that could not all be sent nothing is known but that the last one
 * failed.
 */
export function datagramsOf(attempts: readonly Attempt[], mtuTo: (dst: string) => number): SentDatagram[] {
  const found: SentDatagram[] = [];
  let pieces: Uint8Array[] = [];
  for (const { packet, wasSent } of attempts) {
    const seen = dissect(packet, { fragment: true });
    assert.ok(seen.ipChecksumOk, 'IP checksum');
    assert.ok(packet.length <= mtuTo(seen.dst), `${packet.length} bytes for an MTU of ${mtuTo(seen.dst)}`);
    if (!seen.fragment) {
      assert.equal(pieces.length, 0, 'a packet between fragments');
      found.push({ packet, seen, wasSent, isFragmented: false });
      continue;
    }
    assertNoUoa(seen);
    assert.notEqual(seen.id, 0, 'identification of a fragment');
    pieces.push(packet);
    if (!wasSent) {
      assert.equal(packet, attempts.at(-1)?.packet, 'nothing is sent behind a fragment that cannot be');
      return found;
    }
    if (seen.fragment.more) continue;
    const whole = reassemble(pieces);
    found.push({ packet: whole, seen: dissect(whole), wasSent, isFragmented: true });
    pieces = [];
  }
  assert.equal(pieces.length, 0, 'fragments without the last');
  return found;
}

/** A datagram to a real server; returns the form that it tells `named` in, if it does. */
export function checkTowardsRealServer(
  sent: SentDatagram,
  named: Named,
  allowed: readonly Form[],
): Form | undefined {
  const { seen } = sent;
  const { family } = seen;
  assert.deepEqual(
    [seen.src, seen.dst, seen.dport],
    [AT[family].lip, AT[family].rip, RPORT],
    'from LIP to the real server',
  );
  assert.ok(seen.udpChecksumOk, 'UDP checksum');
  assert.ok(seen.ttl > 0, 'TTL');
  checkOptions(seen);
  const form = allowed.find((one) => tells(seen, one, named));
  if (form === undefined) assertNoUoa(seen);
  checkDeadly(seen, form);
  return form;
}

export function checkTowardsClient({ seen }: SentDatagram, client: Named): void {
  assert.deepEqual(
    [seen.src, seen.sport, seen.dst, seen.dport],
    [client.vip, VPORT, client.cip, client.cport],
    'from VIP to the client',
  );
  assert.ok(seen.udpChecksumOk, 'UDP checksum');
  assert.ok(seen.ttl > 0, 'TTL');
  checkOptions(seen);
  assertNoUoa(seen);
  assertNothingWritten(unhex(seen.options), false);
}

/**
 * Whether the packet has exactly the UOA of this form, where receivers look for it, and nothing else of the
 * kind.
 */
function tells(seen: Dissected, form: Form, named: Named): boolean {
  const uoa = uoaOf(form, seen.family, named);
  if (uoa === undefined) return false;
  if ('option' in uoa) {
    if (seen.opp === undefined || uoaTypes(seen).length > 0) return false;
    const { version, inner, length, option } = seen.opp;
    const isSame = option === hex(uoa.option) && length === 4 + uoa.option.length;
    return (
      seen.extensions.length === 0 && inner === 17 && version === (uoa.option.length === 8 ? 1 : 2) && isSame
    );
  }
  if (seen.opp !== undefined) return false;
  if ('extensions' in uoa) {
    const header = uoa.extensions[0];
    const bytes = `11${hex(header.bytes).slice(2)}`;
    return seen.extensions.length === 1 && seen.extensions[0].bytes === bytes;
  }
  if (uoaTypes(seen).length !== 1) return false;
  const isAlone = form === 'unified' || form === 'type30';
  const text = hex(uoa.options);
  return isAlone ? seen.options === text : seen.options.startsWith(text);
}

/** IPv4 option types and IPv6 destination option types that some receiver reads. */
function uoaTypes(seen: Dissected): number[] {
  const inHeader = options(unhex(seen.options)).map((option) => option[0]);
  const inExtensions = seen.destOptions.map((option) => Number.parseInt(option.slice(0, 2), 16));
  return [...inHeader, ...inExtensions].filter((type) => type >= 29 && type <= 31);
}

export function assertNoUoa(seen: Dissected): void {
  assert.deepEqual(uoaTypes(seen), [], 'a UOA that must not be there');
  assert.equal(seen.opp, undefined, 'a protocol-248 header that must not be there');
  const others = seen.extensions.filter(({ header }) => header !== 44);
  assert.deepEqual(others, [], 'an extension header that must not be there');
}

/** The list of docs/wire-formats.md, once more, by itself. Lengths of UDP against IP are the dissector's. */
function checkDeadly(seen: Dissected, form: Form | undefined): void {
  if (seen.opp) {
    assert.ok(seen.family === 4 || seen.payload === '', 'opp over IPv6 with a payload');
    assert.ok([16, 40].includes(seen.opp.option.length), 'opp with other than one option of 8 or 20 bytes');
    assert.ok(seen.options.length / 2 + seen.opp.length <= 40, 'opp behind too many options');
  }
  const isLong =
    options(unhex(seen.options)).some((option) => option[0] >= 29 && option[0] <= 31 && option.length > 20) ||
    seen.destOptions.some((option) => option.length / 2 > 20);
  if (isLong) assert.ok(form === 'unified' || form === 'type30', 'a long option that nobody configured');
}

/** Nothing that sends the packet elsewhere, nothing behind End-of-Options. */
function checkOptions(seen: Dissected): void {
  const area = unhex(seen.options);
  const found = options(area);
  assert.ok(!found.some((option) => option[0] === 131 || option[0] === 137), 'a source route');
  const length = found.reduce((sum, option) => sum + option.length, 0);
  assert.ok(
    area.subarray(length).every((byte) => byte === 0),
    `bytes behind End-of-Options: ${seen.options}`,
  );
}

/** Where what others write begins in an option: record route, timestamp, traceroute. */
const WRITTEN_FROM: Record<number, number> = { 7: 3, 68: 4, 82: 2 };

/** Nothing that hosts or routers wrote; `isAll`: in no option but router alert. */
export function assertNothingWritten(area: Uint8Array, isAll: boolean): void {
  for (const option of options(area)) {
    const from = WRITTEN_FROM[option[0]] ?? (isAll && option[0] !== 148 ? 2 : option.length);
    assert.ok(
      option.subarray(from).every((byte) => byte === 0),
      `what others wrote into an option: ${hex(option)}`,
    );
  }
}

/** The family of the real server whose LIP sends, or undefined: a packet from a VIP. */
export function realServerFamily({ seen }: SentDatagram): Family | undefined {
  const family = familyOf(seen.src);
  return seen.src === AT[family].lip ? family : undefined;
}
