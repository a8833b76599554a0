// The program that makes the load: each run writes the headers of one UDP datagram (RFC 768, 791) over the frame it is
// given, which holds an earlier packet, waits until that datagram is due, and sends it. Flows follow each other in turn,
// told apart by source address and port; the payload begins with the time, so that the way back can be measured.
import { Assembler, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9 } from '../../src/steer/ebpf-assembler.ts';
import {
  CONTROL,
  ETHERNET_LEN,
  ETHERTYPE_IPV4,
  FIELD,
  IP_LEN,
  KTIME_GET_NS,
  PROTOCOL_UDP,
  STAMP_LEN,
  UDP_LEN,
  XDP,
} from './control.ts';

export interface FrameFields {
  srcMac: string;
  dstMac: string;
  dst: string;
  dport: number;
  /** At least STAMP_LEN. */
  payloadLen: number;
}

/** Flow n comes from address FIRST_CIP + n / PORTS, port FIRST_CPORT + n % PORTS. */
export const FIRST_CIP = 0x0b00_0001; // 11.0.0.1
export const FIRST_CPORT = 10_000;
const PORTS_SHIFT = 14;

/** A late source catches up on this much; what it owes beyond is forgiven, and shows as a lower rate. */
const MAX_DEBT_NS = 1_000_000;
/** Looks at the clock while a packet is not due, about 20 µs in all; the verifier follows each. */
const MAX_LOOKS = 800;
const TTL = 64;
const DONT_FRAGMENT = 0x4000;

/** The bytes of the frame that the program does not write: the payload behind the time counts up. */
export function emptyFrame(payloadLen: number): Buffer {
  const frame = Buffer.alloc(FIELD.payload + payloadLen);
  for (let i = STAMP_LEN; i < payloadLen; i++) frame[FIELD.payload + i] = i;
  return frame;
}

/**
 * `control` is the descriptor of the map that control.ts describes, `verdict` what becomes of each frame: it is sent from the
 * interface it was given to, or taken as received there.
 */
export function sourceProgram(control: number, fields: FrameFields, verdict: number = XDP.tx): Buffer {
  const asm = new Assembler();
  asm
    .load(R7, 'u32', R1, 0) // struct xdp_md: data, data_end
    .load(R8, 'u32', R1, 4)
    .alu(R2, '=', [R7])
    .alu(R2, '+', FIELD.payload + STAMP_LEN)
    .jumpIf(R2, '>', [R8], 'drop')
    .mapValue(R9, control)
    .call(KTIME_GET_NS);
  waitUntilDue(asm);
  countAndChooseFlow(asm);
  writeHeaders(asm, fields);
  asm.exit(verdict).label('drop').exit(XDP.drop);
  return asm.assemble();
}

/** r0: the time, before and after. Leaves for `drop` when nothing is due. */
function waitUntilDue(asm: Assembler): void {
  asm
    .load(R1, 'u64', R9, CONTROL.startNs)
    .jumpIf(R1, '!=', 0, 'running')
    .store('u64', R9, CONTROL.startNs, [R0])
    .store('u64', R9, CONTROL.dueNs, [R0])
    .load(R1, 'u64', R9, CONTROL.durationNs)
    .alu(R1, '+', [R0])
    .store('u64', R9, CONTROL.endNs, [R1])
    .label('running')
    .load(R1, 'u64', R9, CONTROL.endNs)
    .jumpIf(R0, '<', [R1], 'in time');
  // The rest of the run only drops. What has arrived by now is what counts: later packets come out of some queue.
  asm.load(R1, 'u64', R9, CONTROL.ended).jumpIf(R1, '!=', 0, 'drop').store('u64', R9, CONTROL.ended, 1);
  for (const [from, to] of [
    [CONTROL.arrived, CONTROL.arrivedAtEnd],
    [CONTROL.delivered, CONTROL.deliveredAtEnd],
    [CONTROL.answered, CONTROL.answeredAtEnd],
  ] as const) {
    asm.load(R1, 'u64', R9, from).store('u64', R9, to, [R1]);
  }
  asm
    .jump('drop')
    .label('in time')
    .load(R1, 'u64', R9, CONTROL.dueNs)
    .alu(R2, '=', [R0])
    .alu(R2, '-', MAX_DEBT_NS)
    .jumpIf(R1, '>=', [R2], 'no debt')
    .store('u64', R9, CONTROL.dueNs, [R2])
    .label('no debt')
    .alu(R6, '=', MAX_LOOKS)
    .label('look')
    .load(R1, 'u64', R9, CONTROL.dueNs)
    .jumpIf(R0, '>=', [R1], 'due')
    .alu(R6, '-', 1)
    .jumpIf(R6, '==', 0, 'drop')
    .call(KTIME_GET_NS)
    .jump('look')
    .label('due')
    .load(R2, 'u64', R9, CONTROL.intervalNs)
    .alu(R1, '+', [R2])
    .store('u64', R9, CONTROL.dueNs, [R1]);
}

/** Leaves the source address in r3 and the source port in r2. */
function countAndChooseFlow(asm: Assembler): void {
  asm
    .load(R1, 'u64', R9, CONTROL.sent)
    .alu(R1, '+', 1)
    .store('u64', R9, CONTROL.sent, [R1])
    .load(R2, 'u64', R9, CONTROL.nextFlow)
    .alu(R1, '=', [R2])
    .alu(R1, '+', 1)
    .load(R3, 'u64', R9, CONTROL.flows)
    .jumpIf(R1, '<', [R3], 'same turn')
    .alu(R1, '=', 0)
    .label('same turn')
    .store('u64', R9, CONTROL.nextFlow, [R1])
    .load(R1, 'u64', R9, CONTROL.firstFlow)
    .alu(R2, '+', [R1])
    .alu(R3, '=', [R2])
    .alu(R3, '>>', PORTS_SHIFT)
    .alu(R3, '+', FIRST_CIP)
    .alu(R2, '&', (1 << PORTS_SHIFT) - 1)
    .alu(R2, '+', FIRST_CPORT);
}

/** r0: the time, r2: source port, r3: source address. */
function writeHeaders(asm: Assembler, fields: FrameFields): void {
  const udpLen = UDP_LEN + fields.payloadLen;
  const totalLen = IP_LEN + udpLen;
  const dst = fields.dst.split('.').map(Number);
  const dstSum = (dst[0]! << 8) + dst[1]! + (dst[2]! << 8) + dst[3]!;
  const ipSum = 0x4500 + totalLen + DONT_FRAGMENT + (TTL << 8) + PROTOCOL_UDP + dstSum;
  let udpSum = dstSum + PROTOCOL_UDP + udpLen + fields.dport + udpLen;
  emptyFrame(fields.payloadLen).forEach((byte, at) => {
    udpSum += at % 2 === 0 ? byte << 8 : byte;
  });
  const macs = Buffer.from(`${fields.dstMac}${fields.srcMac}`.replaceAll(':', ''), 'hex');
  for (const at of [0, 4, 8]) asm.store('u32', R7, FIELD.dstMac + at, macs.readInt32LE(at));
  asm
    .store('u16', R7, FIELD.ethertype, swap(ETHERTYPE_IPV4))
    .store('u16', R7, FIELD.ip, swap(0x4500))
    .store('u16', R7, FIELD.totalLen, swap(totalLen))
    .store('u32', R7, FIELD.totalLen + 2, swap(DONT_FRAGMENT) << 16) // identification 0, fragment
    .store('u16', R7, FIELD.ttlProtocol, swap((TTL << 8) | PROTOCOL_UDP))
    .store('u32', R7, FIELD.dst, Buffer.from(dst).readInt32LE())
    .store('u16', R7, FIELD.dport, swap(fields.dport))
    .store('u16', R7, FIELD.udpLen, swap(udpLen))
    // r4: the halves of the source address, added, which both checksums need.
    .alu(R4, '=', [R3])
    .alu(R4, '>>', 16)
    .alu(R5, '=', [R3])
    .alu(R5, '&', 0xffff)
    .alu(R4, '+', [R5])
    .alu(R5, '=', [R4])
    .alu(R5, '+', ipSum);
  writeChecksum(asm, R5, FIELD.ipChecksum);
  asm.alu(R4, '+', [R2]).alu(R4, '+', udpSum);
  for (const shift of [48, 32, 16, 0]) {
    asm.alu(R5, '=', [R0]).alu(R5, '>>', shift).alu(R5, '&', 0xffff).alu(R4, '+', [R5]);
  }
  writeChecksum(asm, R4, FIELD.udpChecksum);
  asm
    .toNetworkOrder(R3, 32)
    .store('u32', R7, FIELD.src, [R3])
    .toNetworkOrder(R2, 16)
    .store('u16', R7, FIELD.sport, [R2])
    .toNetworkOrder(R0, 64)
    .store('u64', R7, FIELD.payload, [R0]);
}

/** Folds the sum in `register` (below 2^32) and stores its complement; never 0, which over UDP means none. Uses r1. */
function writeChecksum(asm: Assembler, register: number, offset: number): void {
  for (let fold = 0; fold < 3; fold++) {
    asm.alu(R1, '=', [register]).alu(R1, '>>', 16).alu(register, '&', 0xffff).alu(register, '+', [R1]);
  }
  const isNotZero = `checksum at ${offset} is not zero`;
  asm
    .alu(register, '^', 0xffff)
    .jumpIf(register, '!=', 0, isNotZero)
    .alu(register, '=', 0xffff)
    .label(isNotZero)
    .toNetworkOrder(register, 16)
    .store('u16', R7, offset, [register]);
}

const swap = (word: number): number => ((word & 0xff) << 8) | (word >>> 8);

export const FRAME_OVERHEAD = ETHERNET_LEN + IP_LEN + UDP_LEN;
