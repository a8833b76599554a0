// What the lab's clients put into a datagram that has room for it: who sends it, so that a real server can
// hold what it learned from the UOA against the truth. Layout, big endian: magic 4, sequence 4, CIP 16 (IPv4
// in its mapped form), cport 2, then random bytes.
import { randomFillSync } from 'node:crypto';
import { endpointText, MAPPED_LEN } from '../sniff/endpoint.ts';
import { addressBytes } from '../wire/address.ts';

const MAGIC = 0x754f4131;
const CIP_OFF = 8;
const CPORT_OFF = CIP_OFF + MAPPED_LEN;
/** Datagrams shorter than this carry random bytes only. */
export const MARK_LEN = CPORT_OFF + 2;

/** A payload of `len` bytes from `ip`:`port`. */
export function makePayload(len: number, sequence: number, ip: string, port: number): Buffer {
  const payload = randomFillSync(Buffer.alloc(len));
  if (len < MARK_LEN) return payload;
  payload.writeUInt32BE(MAGIC, 0);
  payload.writeUInt32BE(sequence >>> 0, 4);
  payload.set(addressBytes(ip), CIP_OFF);
  payload.writeUInt16BE(port, CPORT_OFF);
  return payload;
}

/** The sender that a payload names, as ip:port; undefined when it names none. */
export function senderOf(payload: Uint8Array): string | undefined {
  if (payload.length < MARK_LEN) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (view.getUint32(0) !== MAGIC) return undefined;
  return endpointText(payload.subarray(CIP_OFF, CPORT_OFF), view.getUint16(CPORT_OFF));
}
