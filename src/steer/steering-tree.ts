// Tells LIPs from VIPs in a classic BPF program: a binary search over the addresses in their order, in which neighbours of
// the same kind are one. Only the borders between the
// kinds are compared, one comparison where all LIPs stand together: what is neither, which a coarse capture filter lets in,
// may come to any worker, and is passed over there.

import { type LipPorts, mergePorts, type VipPort } from '../host/port-ranges.ts';
import { ADDRESS_WORDS, parseAddressInto } from '../wire/address.ts';
import { BPF, BPF_IF, type BpfAssembler, Label } from './bpf-assembler.ts';

/** Where the search ends, and the scratch words in which it finds the packet's fields. */
export interface TreeTargets {
  readonly vip: Label;
  readonly lip: Label;
  /** Of the first word of the address. */
  readonly address: number;
  readonly port: number;
}

type Kind = 'vip' | 'lip';

/** The values of a field from `first` to the next run, and what they lead to: an answer, or more to look at. */
interface Run<T extends object> {
  readonly first: number;
  readonly leaf: Kind | T;
}

interface Entry {
  readonly words: readonly number[];
  /** What an address is by its port, in the order of the ports; a single run when it is the same for all. */
  readonly ports: readonly Run<never>[];
}

export class SteeringTree {
  readonly #entries: readonly Entry[];

  /** All of one family. Of an address that is both, no vport may lie among the lports. */
  constructor(vips: readonly VipPort[], lips: readonly LipPorts[]) {
    const byAddress = new Map<string, Run<never>[]>();
    const note = (ip: string, first: number, leaf: Kind) => {
      const runs = byAddress.get(ip) ?? [];
      runs.push({ first, leaf });
      byAddress.set(ip, runs);
    };
    for (const { ip, port } of vips) note(ip, port, 'vip');
    for (const { ip, ranges } of mergePorts([], lips)) for (const { first } of ranges) note(ip, first, 'lip');
    this.#entries = [...byAddress].map(([ip, runs]) => ({ words: wordsOf(ip), ports: merge(runs) }));
  }

  /** Whether all addresses are of one kind, so that nothing is compared. */
  get isUniform(): boolean {
    return kindOf(this.#entries) !== undefined;
  }

  /**
   * Emits the search. No more than `maxDepth` comparisons follow one another; what they leave together is taken for a
   * VIP.
   */
  emit(out: BpfAssembler, targets: TreeTargets, maxDepth: number): void {
    const kind = kindOf(this.#entries);
    if (kind === undefined) this.#look(out, targets, this.#entries, 0, maxDepth);
    else out.goto(targets[kind]);
  }

  #look(
    out: BpfAssembler,
    targets: TreeTargets,
    entries: readonly Entry[],
    word: number,
    depth: number,
  ): void {
    if (word === ADDRESS_WORDS) {
      out.do(BPF.load, targets.port);
      search(out, targets, entries[0].ports, depth, () => {});
      return;
    }
    const runs = runsOf(entries, word);
    if (runs.length > 1) out.do(BPF.load, targets.address + word);
    search(out, targets, runs, depth, (mixed, left) => this.#look(out, targets, mixed, word + 1, left));
  }
}

/** The values of one word of the addresses. */
function runsOf(entries: readonly Entry[], word: number): Run<readonly Entry[]>[] {
  const byValue = new Map<number, Entry[]>();
  for (const entry of entries) {
    const alike = byValue.get(entry.words[word]) ?? [];
    alike.push(entry);
    byValue.set(entry.words[word], alike);
  }
  return merge([...byValue].map(([first, alike]) => ({ first, leaf: kindOf(alike) ?? alike })));
}

/** What all of them are, if there are any; undefined when they differ, or one differs by port. */
function kindOf(entries: readonly Entry[]): Kind | undefined {
  const kinds = new Set(entries.flatMap(({ ports }) => ports.map(({ leaf }) => leaf)));
  return kinds.size > 1 ? undefined : (kinds.values().next().value ?? 'vip');
}

/** In order, neighbours that lead to the same answer made one. */
function merge<T extends object>(runs: Run<T>[]): Run<T>[] {
  const sorted = runs.sort((a, b) => a.first - b.first);
  return sorted.filter(({ leaf }, index) => index === 0 || leaf !== sorted[index - 1].leaf);
}

function search<T extends object>(
  out: BpfAssembler,
  targets: TreeTargets,
  runs: readonly Run<T>[],
  depth: number,
  onMixed: (mixed: T, depth: number) => void,
): void {
  if (runs.length > 1 && depth > 0) {
    const middle = runs.length >> 1;
    const [below, above] = [runs.slice(0, middle), runs.slice(middle)];
    const yes = answerOf(targets, above);
    const no = answerOf(targets, below);
    const target = yes ?? new Label();
    out.branch(BPF_IF.atLeast, above[0].first, target, no);
    if (no === undefined) search(out, targets, below, depth - 1, onMixed);
    if (yes !== undefined) return;
    out.place(target);
    search(out, targets, above, depth - 1, onMixed);
    return;
  }
  const [{ leaf }] = runs;
  if (runs.length > 1) out.goto(targets.vip);
  else if (typeof leaf === 'string') out.goto(targets[leaf]);
  else onMixed(leaf, depth);
}

function answerOf<T extends object>(targets: TreeTargets, runs: readonly Run<T>[]): Label | undefined {
  const [{ leaf }] = runs;
  return runs.length === 1 && typeof leaf === 'string' ? targets[leaf] : undefined;
}

/** As uint32, the order in which the kernel compares. */
function wordsOf(ip: string): number[] {
  const words = new Int32Array(ADDRESS_WORDS);
  parseAddressInto(words, 0, ip);
  return Array.from(words, (word) => word >>> 0);
}
