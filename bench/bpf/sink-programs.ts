// The programs at the ends of the load's way: one counts what arrives at the forwarder's interfaces and lets it pass, one
// at the real server counts and drops or sends back, one at the client counts answers and how long they took.
import { Assembler, R0, R1, R2, R3, R4, R5, R7, R8, R9 } from '../../src/steer/ebpf-assembler.ts';
import {
  CONTROL,
  ETHERNET_LEN,
  ETHERTYPE_IPV4,
  FIELD,
  HISTOGRAM_BUCKETS,
  HISTOGRAM_SHIFT,
  KTIME_GET_NS,
  PROTOCOL_UDP,
  STAMP_LEN,
  UDP_LEN,
  XDP,
} from './control.ts';

/** Offsets from the UDP header, whose place depends on the IP options. */
const SPORT = 0;
const DPORT = 2;
const CHECKSUM = 6;

/**
 * For both interfaces of a forwarder. Needed there at all because veth takes frames that were redirected to its peer only
 * while it has a program of its own (drivers/net/veth.c, veth_xdp_xmit). `counts`: on the side that the load comes from.
 */
export function gateProgram(control: number, counts: boolean): Buffer {
  const asm = new Assembler();
  if (counts) asm.mapValue(R9, control).alu(R1, '=', 1).atomicAdd(R9, CONTROL.arrived, R1);
  return asm.exit(XDP.pass).assemble();
}

/** Counts datagrams to `port`; all to this port end here. */
export function realServerProgram(control: number, port: number): Buffer {
  const asm = new Assembler();
  matchDatagram(asm, control, DPORT, port);
  asm
    .alu(R1, '=', 1)
    .atomicAdd(R9, CONTROL.delivered, R1)
    .load(R1, 'u64', R9, CONTROL.echo)
    .jumpIf(R1, '==', 0, 'drop');
  exchange(asm, R7, FIELD.dstMac, FIELD.srcMac, 'u32');
  exchange(asm, R7, FIELD.dstMac + 4, FIELD.srcMac + 4, 'u16');
  exchange(asm, R7, FIELD.src, FIELD.dst, 'u32');
  exchange(asm, R5, SPORT, DPORT, 'u16');
  // A program that sends through sockets leaves the checksum to the network card, and there is none here: without one.
  asm.store('u16', R5, CHECKSUM, 0).exit(XDP.tx);
  return passAndDrop(asm);
}

/** Counts datagrams from `port`, the answers, and sorts them by the time that has passed since the one in their payload. */
export function clientProgram(control: number, port: number): Buffer {
  const asm = new Assembler();
  matchDatagram(asm, control, SPORT, port);
  asm
    .alu(R1, '=', 1)
    .atomicAdd(R9, CONTROL.answered, R1)
    .load(R7, 'u64', R5, UDP_LEN)
    .toNetworkOrder(R7, 64)
    .call(KTIME_GET_NS)
    .alu(R0, '-', [R7])
    .alu(R0, '>>', HISTOGRAM_SHIFT)
    .jumpIf(R0, '<', HISTOGRAM_BUCKETS, 'in range')
    .alu(R0, '=', HISTOGRAM_BUCKETS - 1)
    .label('in range')
    .alu(R0, '<<', 3)
    .alu(R9, '+', [R0])
    .alu(R1, '=', 1)
    .atomicAdd(R9, CONTROL.histogram, R1)
    .jump('drop');
  return passAndDrop(asm);
}

/**
 * Goes on for IPv4 UDP with this port and a payload of the right length, with r5 at the UDP header, r7 at the frame and
 * r9 at the control memory; to `drop` with this port and another length (a UOA that travels alone), else to `pass`.
 */
function matchDatagram(asm: Assembler, control: number, portOff: number, port: number): void {
  asm
    .load(R7, 'u32', R1, 0) // struct xdp_md: data, data_end
    .load(R8, 'u32', R1, 4)
    .alu(R2, '=', [R7])
    .alu(R2, '+', FIELD.payload)
    .jumpIf(R2, '>', [R8], 'pass')
    .load(R3, 'u16', R7, FIELD.ethertype)
    .toNetworkOrder(R3, 16)
    .jumpIf(R3, '!=', ETHERTYPE_IPV4, 'pass')
    .load(R3, 'u8', R7, FIELD.protocol)
    .jumpIf(R3, '!=', PROTOCOL_UDP, 'pass')
    .load(R4, 'u8', R7, FIELD.ip)
    .alu(R4, '&', 0x0f)
    .alu(R4, '<<', 2)
    .alu(R5, '=', [R7])
    .alu(R5, '+', [R4])
    .alu(R5, '+', ETHERNET_LEN)
    .alu(R2, '=', [R5])
    .alu(R2, '+', UDP_LEN)
    .jumpIf(R2, '>', [R8], 'pass')
    .load(R3, 'u16', R5, portOff)
    .toNetworkOrder(R3, 16)
    .jumpIf(R3, '!=', port, 'pass')
    .mapValue(R9, control)
    .load(R3, 'u16', R7, FIELD.totalLen)
    .toNetworkOrder(R3, 16)
    .alu(R3, '-', [R4])
    .alu(R3, '-', UDP_LEN)
    .load(R1, 'u64', R9, CONTROL.payloadLen)
    .jumpIf(R3, '!=', [R1], 'drop')
    .alu(R2, '+', STAMP_LEN)
    .jumpIf(R2, '>', [R8], 'drop');
}

function exchange(asm: Assembler, base: number, one: number, other: number, size: 'u32' | 'u16'): void {
  asm
    .load(R1, size, base, one)
    .load(R2, size, base, other)
    .store(size, base, one, [R2])
    .store(size, base, other, [R1]);
}

function passAndDrop(asm: Assembler): Buffer {
  return asm.label('pass').exit(XDP.pass).label('drop').exit(XDP.drop).assemble();
}
