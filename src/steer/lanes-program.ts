// The extended BPF program that a packet fanout group asks for the ring of each packet (packet(7), PACKET_FANOUT_EBPF). It
// sees packets as steering-program.ts does, whose classic program chooses the worker; then it looks up whether the source is
// a known one (known-sources.ts). The result counts the rings in the order in which they joined the group: first those for
// strangers, one per worker, then those for known sources. Whatever is no whole UDP packet is a stranger's, also when the
// program ends early, with 0, for a packet that is too short.
import { PROTOCOL_UDP } from '../wire/ipv4.ts';
import { IPV6_HEADER_LEN } from '../wire/ipv6.ts';
import { translateBpf } from './bpf-translation.ts';
import { Assembler, R0, R1, R2, R6, R7, R8, R9, R10 } from './ebpf-assembler.ts';
import { type KnownPlan, PORT_FACTOR, SOURCE, type SourceHash, startOn, TAGS } from './known-sources.ts';
import { MIX } from './steering.ts';
import { IPV4, IPV4_ANY_FRAGMENT, IPV6 } from './steering-program.ts';

const WORD = 4;
const KEY_LEN = 4;
const COUNT_OFF = TAGS * WORD;

/** bpf-helpers(7) */
const MAP_LOOKUP_ELEM = 1;
const KTIME_GET_COARSE_NS = 160;
/** Periods of 2^27 ns, 134 ms. */
const PERIOD_SHIFT = 27;
/** Packets of a bucket in one of them that come by the ring of known sources: some 30,000 per second. */
export const MOST_PER_PERIOD = 4096;
const COUNT_MASK = (1 << 20) - 1;
const TOO_MANY_BEFORE = 1 << 20;
const PERIOD_AT = 21;
const PERIODS = 1 << 11;

/** For the interface at `portIndex`; `steering` is the classic program of several workers, `knownFd` the table's map. */
export function lanesProgram(
  portIndex: number,
  steering: Uint8Array | undefined,
  workers: number,
  plan: KnownPlan,
  knownFd: number,
): Uint8Array {
  const asm = new Assembler();
  asm.alu(R6, '=', [R1]);
  if (steering === undefined) {
    asm.alu(R9, '=', 0);
  } else {
    translateBpf(asm, steering, 'steered');
    asm.label('steered').alu32(R0, '%', workers).alu(R9, '=', [R0]);
  }
  readSource(asm, plan, portIndex);
  for (const [index, shift] of MIX.shifts.entries()) {
    asm.alu32(R1, '=', [R7]).alu32(R1, '>>', shift).alu32(R7, '^', [R1]);
    if (index < MIX.factors.length) asm.alu32(R7, '*', MIX.factors[index]!);
  }
  asm
    .alu32(R7, '&', plan.buckets - 1)
    .store('u32', R10, -KEY_LEN, [R7])
    .map(R1, knownFd)
    .alu(R2, '=', [R10])
    .alu(R2, '+', -KEY_LEN)
    .call(MAP_LOOKUP_ELEM)
    .jumpIf(R0, '==', 0, 'stranger')
    .jumpIf(R8, '!=', 0, 'tag')
    .alu(R8, '=', 1)
    .label('tag');
  for (let i = 0; i < TAGS; i++) asm.load(R1, 'u32', R0, i * WORD).jumpIf(R1, '==', [R8], 'known');
  asm.label('stranger').exit([R9]).label('known');
  countInBucket(asm);
  return asm.alu(R9, '+', workers).exit([R9]).assemble();
}

/**
 * Counts a packet of the bucket at r0 and leaves for `stranger` when there are too many: more than MOST_PER_PERIOD in this
 * period, or in the one before, so that one who sends too many all the time does not change the ring all the time. The
 * word: number of the period, whether there were too many in the one before, count. Processors may count at
 * the same time and lose some.
 */
function countInBucket(asm: Assembler): void {
  asm
    .alu(R7, '=', [R0])
    .call(KTIME_GET_COARSE_NS)
    .alu(R0, '>>', PERIOD_SHIFT)
    .alu(R0, '&', PERIODS - 1)
    .load(R1, 'u32', R7, COUNT_OFF)
    .alu(R2, '=', [R1])
    .alu(R2, '>>', PERIOD_AT)
    .jumpIf(R2, '==', [R0], 'same period')
    .alu(R1, '&', COUNT_MASK)
    .alu(R0, '<<', PERIOD_AT)
    .jumpIf(R1, '<', MOST_PER_PERIOD, 'few before')
    .alu(R0, '+', TOO_MANY_BEFORE)
    .label('few before')
    .alu(R1, '=', [R0])
    .label('same period')
    .alu(R2, '=', [R1])
    .alu(R2, '&', COUNT_MASK)
    .jumpIf(R2, '>=', MOST_PER_PERIOD, 'stranger')
    .alu(R1, '+', 1)
    .store('u32', R7, COUNT_OFF, [R1])
    .jumpIf(R1, '&', TOO_MANY_BEFORE, 'stranger');
}

/** Leaves the sum for the place in r7 and the tag in r8, or for `stranger`. */
function readSource(asm: Assembler, { place, tag }: KnownPlan, portIndex: number): void {
  const start = (portAt: number, inFrontAt: number | undefined) => {
    if (inFrontAt === undefined) asm.loadPacket('u16', portAt);
    else asm.loadPacketAt(inFrontAt, 'u16', portAt);
    asm.alu32(R7, '=', startOn(place, portIndex)).alu32(R8, '=', startOn(tag, portIndex));
    addHalf(asm, place, tag, PORT_FACTOR);
  };
  const addSource = ({ at, halves }: { at: number; halves: number }) => {
    for (let half = 0; half < halves; half++) {
      asm.loadPacket('u16', at + 2 * half);
      addHalf(asm, place, tag, half);
    }
  };
  asm
    .loadPacket('u8', 0)
    .alu(R7, '=', [R0])
    .alu(R0, '&', 0xf0)
    .jumpIf(R0, '==', 0x60, 'ipv6')
    .jumpIf(R0, '!=', 0x40, 'stranger')
    .loadPacket('u16', IPV4.fragment)
    .jumpIf(R0, '&', IPV4_ANY_FRAGMENT, 'stranger')
    .loadPacket('u8', IPV4.protocol)
    .jumpIf(R0, '!=', PROTOCOL_UDP, 'stranger')
    .alu(R7, '&', 0x0f)
    .alu(R7, '<<', 2);
  start(0, R7);
  addSource(SOURCE.ipv4);
  asm
    .jump('source')
    .label('ipv6')
    .loadPacket('u8', IPV6.nextHeader)
    .jumpIf(R0, '!=', PROTOCOL_UDP, 'stranger');
  start(IPV6_HEADER_LEN, undefined);
  addSource(SOURCE.ipv6);
  asm.label('source');
}

/** r0: the half. */
function addHalf(asm: Assembler, place: SourceHash, tag: SourceHash, factor: number): void {
  asm
    .alu32(R1, '=', [R0])
    .alu32(R1, '*', place.factors[factor]!)
    .alu32(R7, '+', [R1])
    .alu32(R0, '*', tag.factors[factor]!)
    .alu32(R8, '+', [R0]);
}
