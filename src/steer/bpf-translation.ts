// Classic BPF as extended BPF, instruction by instruction, as far as bpf-assembler.ts makes it: so that what is written for a
// socket filter can be a part of a program that does more (Linux Documentation/bpf/classic_vs_extended.rst).
import { BPF, BPF_IF } from './bpf-assembler.ts';
import { type Alu, type Assembler, type Condition, R0, R7, R8, R10, type Size } from './ebpf-assembler.ts';

const INSTRUCTION_LEN = 8;
const JUMP_ALWAYS = 0x05;
const SCRATCH_WORDS = 16;
const WORD = 4;

const LOADS: Partial<Record<number, Exclude<Size, 'u64'>>> = {
  [BPF.loadWord]: 'u32',
  [BPF.loadHalf]: 'u16',
  [BPF.loadByte]: 'u8',
};
const LOADS_AT_X: Partial<Record<number, Exclude<Size, 'u64'>>> = {
  [BPF.loadWordAtX]: 'u32',
  [BPF.loadHalfAtX]: 'u16',
  [BPF.loadByteAtX]: 'u8',
};
const ALU_K: Partial<Record<number, Alu>> = {
  [BPF.add]: '+',
  [BPF.multiply]: '*',
  [BPF.and]: '&',
  [BPF.shiftLeft]: '<<',
  [BPF.shiftRight]: '>>',
};
const ALU_X: Partial<Record<number, Alu>> = { [BPF.addX]: '+', [BPF.xorX]: '^' };
const IF: Partial<Record<number, Condition>> = {
  [BPF_IF.equal]: '==',
  [BPF_IF.greater]: '>',
  [BPF_IF.atLeast]: '>=',
  [BPF_IF.anyBit]: '&',
};

/**
 * Emits `classic` (struct sock_filter), with r6 the argument of the program; where it returns, goes to `end` with the result
 * in r0. The accumulator is r0, the index register r7; r8 and 64 bytes of stack are used, too.
 */
export function translateBpf(asm: Assembler, classic: Uint8Array, end: string): void {
  const view = new DataView(classic.buffer, classic.byteOffset, classic.byteLength);
  const count = classic.length / INSTRUCTION_LEN;
  const label = (index: number) => `classic ${index}`;
  // The kernel refuses an extended program with instructions that nothing leads to. Jumps lead forward only.
  const isReached = new Uint8Array(count);
  isReached[0] = 1;
  const reach = (index: number): string => {
    isReached[index] = 1;
    return label(index);
  };
  asm.alu(R0, '=', 0).alu(R7, '=', 0);
  for (let index = 0; index < count; index++) {
    if (isReached[index] === 0) continue;
    const at = index * INSTRUCTION_LEN;
    const code = view.getUint16(at, true);
    const [yes, no] = [view.getUint8(at + 2), view.getUint8(at + 3)];
    const k = view.getInt32(at + 4, true);
    asm.label(label(index));
    const condition = IF[code];
    if (condition !== undefined) {
      asm.jumpIf32(R0, condition, k, reach(index + 1 + yes));
      const otherwise = reach(index + 1 + no);
      if (no !== 0) asm.jump(otherwise);
    } else if (code === JUMP_ALWAYS) {
      asm.jump(reach(index + 1 + k));
    } else if (code === BPF.ret || code === BPF.retA) {
      if (code === BPF.ret) asm.alu32(R0, '=', k);
      asm.jump(end);
    } else {
      translateOne(asm, code, k);
      reach(index + 1);
    }
  }
}

function translateOne(asm: Assembler, code: number, k: number): void {
  const size = LOADS[code];
  const sizeAtX = LOADS_AT_X[code];
  const aluK = ALU_K[code];
  const aluX = ALU_X[code];
  const scratch = (k - SCRATCH_WORDS) * WORD;
  if (size !== undefined) asm.loadPacket(size, k);
  else if (sizeAtX !== undefined) asm.loadPacketAt(R7, sizeAtX, k);
  else if (aluK !== undefined) asm.alu32(R0, aluK, k);
  else if (aluX !== undefined) asm.alu32(R0, aluX, [R7]);
  else if (code === BPF.load) asm.load(R0, 'u32', R10, scratch);
  else if (code === BPF.store) asm.store('u32', R10, scratch, [R0]);
  else if (code === BPF.setX) asm.alu32(R7, '=', k);
  else if (code === BPF.toX) asm.alu32(R7, '=', [R0]);
  else if (code === BPF.fromX) asm.alu32(R0, '=', [R7]);
  else if (code === BPF.ipv4HeaderLenToX) {
    asm.alu32(R8, '=', [R0]).loadPacket('u8', k).alu32(R0, '&', 0x0f).alu32(R0, '<<', 2);
    asm.alu32(R7, '=', [R0]).alu32(R0, '=', [R8]);
  } else throw new Error(`no translation of the classic BPF instruction 0x${code.toString(16)}`);
}
