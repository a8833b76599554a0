// Extended BPF instructions (RFC 9669) written in TypeScript, so that no compiler is needed: 8 bytes each, jumps by label.
// Only what the programs here and in bench use.

/** Registers: r0 result, r1 to r5 arguments and lost by a call, r6 to r9 kept, r10 the end of 512 bytes of stack. */
export const R0 = 0;
export const R1 = 1;
export const R2 = 2;
export const R3 = 3;
export const R4 = 4;
export const R5 = 5;
export const R6 = 6;
export const R7 = 7;
export const R8 = 8;
export const R9 = 9;
export const R10 = 10;

const CLASS = {
  ld: 0x00,
  ldx: 0x01,
  st: 0x02,
  stx: 0x03,
  alu32: 0x04,
  jmp: 0x05,
  jmp32: 0x06,
  alu64: 0x07,
} as const;
const SIZE = { u32: 0x00, u16: 0x08, u8: 0x10, u64: 0x18 } as const;
const MODE_ABS = 0x20;
const MODE_IND = 0x40;
const MODE_MEM = 0x60;
const MODE_ATOMIC = 0xc0;
const FROM_REGISTER = 0x08;
const ALU = {
  '+': 0x00,
  '-': 0x10,
  '*': 0x20,
  '|': 0x40,
  '&': 0x50,
  '<<': 0x60,
  '>>': 0x70,
  '%': 0x90,
  '^': 0xa0,
  '=': 0xb0,
} as const;
const ALU_END_TO_BE = 0xd8;
/** Unsigned. */
const JUMP = { always: 0x00, '==': 0x10, '>': 0x20, '>=': 0x30, '&': 0x40, '!=': 0x50, '<': 0xa0 } as const;
const CALL = 0x80;
const EXIT = 0x90;
const LOAD_IMMEDIATE_64 = 0x18;
/** What stands in the source register of LOAD_IMMEDIATE_64: the immediate is a map, or the address wanted that of its value. */
const PSEUDO_MAP = 1;
const PSEUDO_MAP_VALUE = 2;
const INSTRUCTION_LEN = 8;
/** What a jump reaches. */
const MAX_INSTRUCTIONS = 32_768;

export type Size = keyof typeof SIZE;
export type Alu = keyof typeof ALU;
export type Condition = Exclude<keyof typeof JUMP, 'always'>;
/** A number is an immediate of 32 bits, sign extended; a register is given as [R1]. */
export type Operand = number | readonly [number];

export class Assembler {
  #bytes = Buffer.alloc(64 * INSTRUCTION_LEN);
  #count = 0;
  readonly #labels = new Map<string, number>();
  readonly #jumps: { at: number; label: string }[] = [];

  /** register = register op operand, 64 bits. */
  alu(register: number, op: Alu, operand: Operand): this {
    return this.#withOperand(CLASS.alu64 | ALU[op], register, operand, 0);
  }

  /** As `alu`, of the low 32 bits, unsigned; the upper ones become 0. */
  alu32(register: number, op: Alu, operand: Operand): this {
    return this.#withOperand(CLASS.alu32 | ALU[op], register, operand, 0);
  }

  /**
   * r0 = bytes of the packet at `offset`, in network byte order: of programs on sockets only, whose r6 must be their
   * argument. r1 to r5 are lost. Beyond the packet the program ends with 0.
   */
  loadPacket(size: Exclude<Size, 'u64'>, offset: number): this {
    return this.#emit(CLASS.ld | MODE_ABS | SIZE[size], 0, 0, 0, offset);
  }

  /** As loadPacket, at `offset` from what `register` says. */
  loadPacketAt(register: number, size: Exclude<Size, 'u64'>, offset: number): this {
    return this.#emit(CLASS.ld | MODE_IND | SIZE[size], 0, register, 0, offset);
  }

  /** The low `bits` of a register between the processor's and the network's byte order; the rest becomes 0. */
  toNetworkOrder(register: number, bits: 16 | 32 | 64): this {
    return this.#emit(CLASS.alu32 | ALU_END_TO_BE | 0x04, register, 0, 0, bits);
  }

  load(register: number, size: Size, base: number, offset: number): this {
    return this.#emit(CLASS.ldx | MODE_MEM | SIZE[size], register, base, offset, 0);
  }

  store(size: Size, base: number, offset: number, operand: Operand): this {
    if (typeof operand === 'number')
      return this.#emit(CLASS.st | MODE_MEM | SIZE[size], base, 0, offset, operand);
    return this.#emit(CLASS.stx | MODE_MEM | SIZE[size], base, operand[0], offset, 0);
  }

  /** *(u64 *)(base + offset) += register, in one step for all processors. */
  atomicAdd(base: number, offset: number, register: number): this {
    return this.#emit(CLASS.stx | MODE_ATOMIC | SIZE.u64, base, register, offset, 0);
  }

  /** register = a map, as an argument. */
  map(register: number, mapFd: number): this {
    this.#emit(LOAD_IMMEDIATE_64, register, PSEUDO_MAP, 0, mapFd);
    return this.#emit(0, 0, 0, 0, 0);
  }

  /** register = address of the one value of an array map. */
  mapValue(register: number, mapFd: number): this {
    this.#emit(LOAD_IMMEDIATE_64, register, PSEUDO_MAP_VALUE, 0, mapFd);
    return this.#emit(0, 0, 0, 0, 0);
  }

  jump(label: string): this {
    this.#jumps.push({ at: this.#count, label });
    return this.#emit(CLASS.jmp | JUMP.always, 0, 0, 0, 0);
  }

  jumpIf(register: number, condition: Condition, operand: Operand, label: string): this {
    this.#jumps.push({ at: this.#count, label });
    return this.#withOperand(CLASS.jmp | JUMP[condition], register, operand, 0);
  }

  /** As jumpIf, by the low 32 bits. */
  jumpIf32(register: number, condition: Condition, operand: Operand, label: string): this {
    this.#jumps.push({ at: this.#count, label });
    return this.#withOperand(CLASS.jmp32 | JUMP[condition], register, operand, 0);
  }

  label(name: string): this {
    this.#labels.set(name, this.#count);
    return this;
  }

  /** A function of bpf-helpers(7), by number; its result is in r0. */
  call(helper: number): this {
    return this.#emit(CLASS.jmp | CALL, 0, 0, 0, helper);
  }

  /** Ends the program with this result. */
  exit(result: Operand): this {
    this.alu(R0, '=', result);
    return this.#emit(CLASS.jmp | EXIT, 0, 0, 0, 0);
  }

  /** The program; every label that is jumped to must be there. */
  assemble(): Buffer {
    if (this.#count > MAX_INSTRUCTIONS) throw new Error(`${this.#count} instructions: a jump may not reach`);
    for (const { at, label } of this.#jumps) {
      const to = this.#labels.get(label);
      if (to === undefined) throw new Error(`there is no label ${label}`);
      this.#bytes.writeInt16LE(to - at - 1, at * INSTRUCTION_LEN + 2);
    }
    return this.#bytes.subarray(0, this.#count * INSTRUCTION_LEN);
  }

  #withOperand(opcode: number, register: number, operand: Operand, offset: number): this {
    if (typeof operand === 'number') return this.#emit(opcode, register, 0, offset, operand);
    return this.#emit(opcode | FROM_REGISTER, register, operand[0], offset, 0);
  }

  #emit(opcode: number, destination: number, source: number, offset: number, immediate: number): this {
    const at = this.#count++ * INSTRUCTION_LEN;
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(at)]);
    this.#bytes.writeUInt8(opcode, at);
    this.#bytes.writeUInt8((source << 4) | destination, at + 1);
    this.#bytes.writeInt16LE(offset, at + 2);
    this.#bytes.writeInt32LE(immediate | 0, at + 4);
    return this;
  }
}
