// Puts classic BPF programs together (struct sock_filter; Linux Documentation/networking/filter.rst): instructions with
// named jump targets, which lie ahead of the jump. A conditional jump reaches 255 instructions; one that must go farther
// gets an unconditional jump beside it.

/** The kernel takes at most this many instructions (BPF_MAXINSNS). */
export const BPF_MAX_INSTRUCTIONS = 4096;

const INSTRUCTION_LEN = 8;
const REACH = 255;
const JUMP_ALWAYS = 0x05;

/**
 * Operation codes. A is the accumulator, X the index register, `k` the operand. A load that goes beyond the packet ends
 * the program with 0.
 */
export const BPF = {
  loadWord: 0x20, // A = the 4, 2 or 1 bytes at k
  loadHalf: 0x28,
  loadByte: 0x30,
  loadWordAtX: 0x40, // A = the bytes at X + k
  loadHalfAtX: 0x48,
  loadByteAtX: 0x50,
  load: 0x60, // A = scratch[k]
  store: 0x02, // scratch[k] = A
  setX: 0x01, // X = k
  ipv4HeaderLenToX: 0xb1, // X = 4 * (byte at k & 15)
  toX: 0x07, // X = A
  fromX: 0x87, // A = X
  add: 0x04,
  addX: 0x0c,
  multiply: 0x24,
  and: 0x54,
  shiftLeft: 0x64,
  shiftRight: 0x74,
  xorX: 0xac,
  ret: 0x06, // ends with k
  retA: 0x16, // ends with A
} as const;

/** Conditions, unsigned: A = k, A > k, A >= k, (A & k) != 0. */
export const BPF_IF = { equal: 0x15, greater: 0x25, atLeast: 0x35, anyBit: 0x45 } as const;

type Operation = (typeof BPF)[keyof typeof BPF];
type Condition = (typeof BPF_IF)[keyof typeof BPF_IF];

/** A place in a program. */
export class Label {
  /** Index of the instruction that follows it. */
  index = -1;
}

interface Instruction {
  code: number;
  k: number;
  /** Where a jump goes; undefined: on to the next instruction. */
  yes: Label | undefined;
  no: Label | undefined;
  /** Whether it gets a jump beside it. */
  farYes: boolean;
  farNo: boolean;
}

export class BpfAssembler {
  readonly #instructions: Instruction[] = [];

  do(code: Operation, k = 0): void {
    this.#add(code, k, undefined, undefined);
  }

  /** Goes to `yes` or `no`; without one, on to the next instruction. */
  branch(code: Condition, k: number, yes: Label | undefined, no?: Label): void {
    this.#add(code, k, yes, no);
  }

  goto(target: Label): void {
    this.#add(JUMP_ALWAYS, 0, target, undefined);
  }

  /** Puts `label` in front of what comes next. */
  place(label: Label): void {
    label.index = this.#instructions.length;
  }

  /** The program as bytes, in the host's byte order; it may be longer than the kernel takes. */
  assemble(): Uint8Array {
    let starts = this.#starts();
    while (this.#extend(starts)) starts = this.#starts();
    const words: number[][] = [];
    for (const [index, { code, k, yes, no, farYes, farNo }] of this.#instructions.entries()) {
      const from = starts[index] + 1;
      const target = (label: Label) => starts[label.index];
      if (code === JUMP_ALWAYS) {
        words.push([code, 0, 0, target(yes!) - from]);
        continue;
      }
      const beside = Number(farYes) + Number(farNo);
      const near = (label: Label | undefined) => (label === undefined ? beside : target(label) - from);
      words.push([code, farYes ? 0 : near(yes), farNo ? Number(farYes) : near(no), k]);
      if (farYes) words.push([JUMP_ALWAYS, 0, 0, target(yes!) - (from + 1)]);
      if (farNo) words.push([JUMP_ALWAYS, 0, 0, target(no!) - (from + beside)]);
    }
    return encode(words);
  }

  #add(code: number, k: number, yes: Label | undefined, no: Label | undefined): void {
    this.#instructions.push({ code, k, yes, no, farYes: false, farNo: false });
  }

  /** Where each instruction stands with the jumps known so far to be far; last, the program's length. */
  #starts(): number[] {
    const starts = [0];
    for (const { farYes, farNo } of this.#instructions) {
      starts.push(starts[starts.length - 1] + 1 + Number(farYes) + Number(farNo));
    }
    return starts;
  }

  /** Marks the jumps that do not reach their targets; false when there are none. */
  #extend(starts: readonly number[]): boolean {
    let changed = false;
    for (const [index, instruction] of this.#instructions.entries()) {
      const { code, yes, no, farYes, farNo } = instruction;
      if (code === JUMP_ALWAYS) continue;
      const isFar = (label: Label | undefined) =>
        label !== undefined && starts[label.index] - (starts[index] + 1) > REACH;
      if (!farYes && isFar(yes)) instruction.farYes = changed = true;
      if (!farNo && isFar(no)) instruction.farNo = changed = true;
    }
    return changed;
  }
}

function encode(words: readonly (readonly number[])[]): Uint8Array {
  const buffer = new ArrayBuffer(words.length * INSTRUCTION_LEN);
  const codes = new Uint16Array(buffer);
  const bytes = new Uint8Array(buffer);
  const operands = new Int32Array(buffer);
  for (const [index, [code, yes, no, k]] of words.entries()) {
    codes[index * 4] = code;
    bytes[index * INSTRUCTION_LEN + 2] = yes;
    bytes[index * INSTRUCTION_LEN + 3] = no;
    operands[index * 2 + 1] = k;
  }
  return bytes;
}
