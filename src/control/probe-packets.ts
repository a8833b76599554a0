// The datagrams of a path probe, as the datapath would send them, and the socket filter for what comes back.
// In the UOA stands where the datagram itself comes from: whoever learns it learns nothing that is wrong.
import { encodeProgram, type Instruction } from '../sys/socket-filter.ts';
import { insertUoa, type UoaForm } from '../uoa/form.ts';
import { Origin } from '../uoa/origin.ts';
import type { Family } from '../wire/address.ts';
import { sumBytes } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from '../wire/ethernet.ts';
import { Frame, HEADROOM } from '../wire/frame.ts';
import * as ipv4 from '../wire/ipv4.ts';
import * as ipv6 from '../wire/ipv6.ts';
import * as udp from '../wire/udp.ts';

const TTL = 64;
const FRAME_LEN = 4096;

/** What it goes by: LIP in words 0..3, RIP in 4..7. */
export interface ProbeWay {
  readonly family: Family;
  readonly addresses: Int32Array;
  readonly port: number;
}

export interface ProbePacket {
  readonly frame: Frame;
  readonly off: number;
  readonly len: number;
}

/**
 * A datagram from the LIP's `lport`, with the UOA in `form` where there is one; one that is never inserted
 * makes it a carrier, which has no payload.
 */
export function probePacket(
  { family, addresses, port }: ProbeWay,
  lport: number,
  payload: Uint8Array,
  form?: UoaForm,
): ProbePacket {
  const frame = new Frame(new Uint8Array(new ArrayBuffer(FRAME_LEN)));
  const { bytes, view } = frame;
  const content = form === undefined || form.inserted ? payload : payload.subarray(0, 0);
  const headerLen = family === 4 ? ipv4.IPV4_HEADER_LEN : ipv6.IPV6_HEADER_LEN;
  const udpLen = udp.UDP_HEADER_LEN + content.length;
  const at = HEADROOM;
  if (family === 4)
    ipv4.writeHeader(view, at, 0, headerLen + udpLen, 0, true, TTL, ipv4.PROTOCOL_UDP, addresses);
  else ipv6.writeHeader(view, at, ipv6.wordOfTrafficClass(0), udpLen, ipv4.PROTOCOL_UDP, TTL, addresses);
  const udpOff = at + headerLen;
  bytes.set(content, udpOff + udp.UDP_HEADER_LEN);
  udp.writePorts(view, udpOff, lport, port);
  udp.writeLength(view, udpOff, udpLen);
  const sum = sumBytes(view, udpOff + udp.UDP_HEADER_LEN, content.length);
  udp.writeChecksum(view, udpOff, udp.computeChecksum(view, udpOff, addresses, sum));
  const off =
    form === undefined ? at : insertUoa(form, frame, at, headerLen, originOf(family, addresses, lport, port));
  if (family === 4) ipv4.fillChecksum(view, off);
  return { frame, off, len: headerLen + udpLen + (form?.size ?? 0) };
}

function originOf(family: Family, addresses: Int32Array, lport: number, port: number): Origin {
  const origin = new Origin();
  origin.family = family;
  origin.cport = lport;
  origin.vport = port;
  for (let i = 0; i < 4; i++) {
    origin.addresses[i] = addresses[i];
    origin.addresses[4 + i] = addresses[i];
  }
  return origin;
}

/** The packet's EtherType (SKF_AD_OFF + SKF_AD_PROTOCOL). */
const ANCILLARY_PROTOCOL = -0x1000;
const ACCEPT = 0x4_0000;
/**
 * Codes of linux/bpf_common.h: A = a word, half or byte at k, or a half at X + k; X = the length of an IPv4
 * header.
 */
const [WORD, HALF, BYTE, HALF_BEHIND, HEADER, EQUAL, RETURN] = [0x20, 0x28, 0x30, 0x48, 0xb1, 0x15, 0x06];
const DPORT = 2;
const TO_IPV4 = 16;
const TO_IPV6 = 24;

/**
 * Lets through what comes to the LIP at one of these lports, and what may be about them: ICMP, and what has a
 * header before UDP.
 */
export function answersFilter({ family, addresses }: ProbeWay, lports: readonly number[]): Uint8Array {
  const isOurPort = lports.map((lport): [number, number] => [EQUAL, lport]);
  const tests: [code: number, k: number][] =
    family === 4
      ? [
          [HALF, ANCILLARY_PROTOCOL],
          [EQUAL, ETHERTYPE_IPV4],
          [WORD, TO_IPV4],
          [EQUAL, addresses[3]],
          [BYTE, 9],
        ]
      : [
          [HALF, ANCILLARY_PROTOCOL],
          [EQUAL, ETHERTYPE_IPV6],
          ...[0, 1, 2, 3].flatMap((word): [number, number][] => [
            [WORD, TO_IPV6 + 4 * word],
            [EQUAL, addresses[word]],
          ]),
          [BYTE, 6],
        ];
  const others = family === 4 ? [ipv4.PROTOCOL_ICMP] : [ipv6.NEXT_ICMPV6, ipv6.NEXT_DESTINATION];
  const kinds = [...others, ipv4.PROTOCOL_OPP];
  const ports: Instruction[] =
    family === 4
      ? [
          [HEADER, 0],
          [HALF_BEHIND, DPORT],
        ]
      : [[HALF, ipv6.IPV6_HEADER_LEN + DPORT]];
  // The end: DROP behind all conditions, ACCEPT behind it.
  const drop = tests.length + kinds.length + 1 + ports.length + isOurPort.length;
  const program: Instruction[] = [];
  const add = (code: number, k: number, yes: number, no: number): void => {
    const next = program.length + 1;
    program.push([code, k, yes - next, no - next]);
  };
  for (const [code, k] of tests) {
    const next = program.length + 1;
    if (code === EQUAL) add(code, k, next, drop);
    else program.push([code, k]);
  }
  for (const kind of kinds) add(EQUAL, kind, drop + 1, program.length + 1);
  add(EQUAL, ipv4.PROTOCOL_UDP, program.length + 1, drop);
  program.push(...ports);
  for (const [, lport] of isOurPort) add(EQUAL, lport, drop + 1, program.length + 1);
  program.push([RETURN, 0], [RETURN, ACCEPT]);
  return encodeProgram(program);
}
