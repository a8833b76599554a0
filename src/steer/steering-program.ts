// The classic BPF program that a packet fanout group asks for the worker of each packet (packet(7), PACKET_FANOUT_CBPF):
// Owners.ownerOf in the kernel. It sees received packets from their IP header on, on every kind of link
// (net/packet/af_packet.c, packet_rcv_fanout: before the link header is put back), and the kernel takes what it returns
// modulo the number of sockets. What it cannot tell it gives to worker 0, whose datapath finds the owner.

import { ofFamily } from '../host/port-ranges.ts';
import { SIDE } from '../io/packet-io.ts';
import { ADDRESS_WORDS, V4_MAPPED } from '../wire/address.ts';
import { ICMP, ICMP_HEADER_LEN, ICMPV6 } from '../wire/icmp-writer.ts';
import { PROTOCOL_ICMP, PROTOCOL_OPP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import {
  FRAGMENT_HEADER_LEN,
  IPV6_HEADER_LEN,
  NEXT_DESTINATION,
  NEXT_FRAGMENT,
  NEXT_HOP_BY_HOP,
  NEXT_ICMPV6,
  NEXT_ROUTING,
} from '../wire/ipv6.ts';
import { BPF, BPF_IF, BPF_MAX_INSTRUCTIONS, BpfAssembler, Label } from './bpf-assembler.ts';
import { ADDRESS_KEY, MIX, PORT_KEY, type SteeringPlan } from './steering.ts';
import { SteeringTree } from './steering-tree.ts';

const VERSION_MASK = 0xf0;
/** Offsets in the IP headers. */
export const IPV4 = { fragment: 6, id: 4, protocol: 9, src: 12, dst: 16 } as const;
export const IPV4_ANY_FRAGMENT = 0x3fff; // more fragments, offset
const IPV4_FRAGMENT_OFFSET = 0x1fff;
const IHL_MASK = 0x0f;
export const IPV6 = { nextHeader: 6, src: 8, dst: 24 } as const;
const EXTENSION = { nextHeader: 0, length: 1, fragment: 2, id: 4 } as const;
const IPV6_ANY_FRAGMENT = 0xfff9; // offset, more fragments
const IPV6_FRAGMENT_OFFSET = 0xfff8;
const UDP = { sport: 0, dport: 2 } as const;
const OPP = { inner: 1, length: 2 } as const;
/** So many IPv6 extension headers are followed, in a packet and in an embedded one. */
const MAX_EXTENSIONS = 3;

/** Scratch words: the fields of a packet as its client and this host see them. IPv4 has an address's last word only. */
const CLIENT = 0;
const LOCAL = CLIENT + ADDRESS_WORDS;
const CLIENT_PORT = LOCAL + ADDRESS_WORDS;
const LOCAL_PORT = CLIENT_PORT + 1;
const PROTOCOL = LOCAL_PORT + 1;
const LAST_WORD = ADDRESS_WORDS - 1;

/** A search that is longer than this takes too many instructions, if it forks everywhere. */
const MAX_DEPTH = 12;
const INSTRUCTION_LEN = 8;

/**
 * The program for an interface of this SIDE, as bytes (struct sock_filter). From the wan side nothing that is addressed
 * to a LIP is forwarded, so there addresses are not looked at; elsewhere they are told apart (steering-tree.ts).
 *
 * measured: 367 instructions for wan; elsewhere 390 for any number of services whose LIPs and VIPs stand apart in the
 * order of addresses. Where they alternate, 4 more for each VIP and LIP: 900 such services of one family, or 450 of both,
 * are what the kernel takes. Beyond that the search is cut short, and packets to LIPs that it no longer tells from VIPs
 * come to any worker, which hands them to their owner.
 */
export function steeringProgram(plan: SteeringPlan, side: number): Uint8Array {
  const fits = (program: Uint8Array) => program.length / INSTRUCTION_LEN <= BPF_MAX_INSTRUCTIONS;
  let program = assemble(plan, side, Number.POSITIVE_INFINITY);
  for (let depth = MAX_DEPTH; !fits(program); depth--) program = assemble(plan, side, depth);
  return program;
}

/** What the parts of the program share. */
interface Program {
  readonly out: BpfAssembler;
  readonly key: readonly number[];
  /** Ends with worker 0. */
  readonly unknown: Label;
  /** Mixes the sum in A and ends with it. */
  readonly mix: Label;
}

function assemble({ key, vips, lips }: SteeringPlan, side: number, depth: number): Uint8Array {
  const out = new BpfAssembler();
  const program: Program = { out, key, unknown: new Label(), mix: new Label() };
  const [ipv4, ipv6, hash4, hash6, lip] = labels(5);
  const told = side === SIDE.wan ? [] : lips;
  const tree4 = new SteeringTree(ofFamily(vips, 4), ofFamily(told, 4));
  const tree6 = new SteeringTree(ofFamily(vips, 6), ofFamily(told, 6));

  out.do(BPF.loadByte, 0);
  out.do(BPF.and, VERSION_MASK);
  out.branch(BPF_IF.equal, 0x40, ipv4);
  out.branch(BPF_IF.equal, 0x60, ipv6, program.unknown);
  out.place(ipv4);
  readIpv4(program, !tree4.isUniform);
  tree4.emit(out, { vip: hash4, lip, address: LOCAL, port: LOCAL_PORT }, depth);
  out.place(ipv6);
  readIpv6(program, !tree6.isUniform);
  tree6.emit(out, { vip: hash6, lip, address: LOCAL, port: LOCAL_PORT }, depth);
  // In front of the hash: for the kernel, which checks that scratch words were stored, a return does not end a path.
  out.place(lip);
  out.do(BPF.load, LOCAL_PORT);
  out.do(BPF.retA);
  hashClient(program, hash4, hash6);
  out.place(program.unknown);
  out.do(BPF.ret, 0);
  return out.assemble();
}

/** Stores the fields of a UDP packet, or of the one that an ICMP error embeds, and goes on behind itself. */
function readIpv4(program: Program, withLocal: boolean): void {
  const { out, unknown } = program;
  const [fragment, whole, udp, opp, icmp, error, embeddedUdp, embeddedOpp, done] = labels(9);
  out.do(BPF.loadHalf, IPV4.fragment);
  out.branch(BPF_IF.anyBit, IPV4_ANY_FRAGMENT, fragment, whole);
  out.place(fragment);
  out.do(BPF.loadHalf, IPV4.id);
  sumFragment(program, IPV4.src, 2);

  out.place(whole);
  out.do(BPF.ipv4HeaderLenToX, 0);
  out.do(BPF.loadByte, IPV4.protocol);
  out.branch(BPF_IF.equal, PROTOCOL_UDP, udp);
  out.branch(BPF_IF.equal, PROTOCOL_OPP, opp);
  out.branch(BPF_IF.equal, PROTOCOL_ICMP, icmp, unknown);
  out.place(opp);
  skipOpp(program);
  out.place(udp);
  copy(out, BPF.loadHalfAtX, UDP.sport, CLIENT_PORT);
  copy(out, BPF.loadHalfAtX, UDP.dport, LOCAL_PORT);
  copy(out, BPF.loadWord, IPV4.src, CLIENT + LAST_WORD);
  if (withLocal) copy(out, BPF.loadWord, IPV4.dst, LOCAL + LAST_WORD);
  out.goto(done);

  out.place(icmp);
  out.do(BPF.loadByteAtX, 0);
  out.branch(BPF_IF.equal, ICMP.unreachable, error);
  out.branch(BPF_IF.equal, ICMP.timeExceeded, error);
  out.branch(BPF_IF.equal, ICMP.parameterProblem, error, unknown);
  out.place(error);
  out.do(BPF.loadHalfAtX, ICMP_HEADER_LEN + IPV4.fragment);
  out.branch(BPF_IF.anyBit, IPV4_FRAGMENT_OFFSET, unknown);
  copy(out, BPF.loadWordAtX, ICMP_HEADER_LEN + IPV4.dst, CLIENT + LAST_WORD);
  if (withLocal) copy(out, BPF.loadWordAtX, ICMP_HEADER_LEN + IPV4.src, LOCAL + LAST_WORD);
  copy(out, BPF.loadByteAtX, ICMP_HEADER_LEN + IPV4.protocol, PROTOCOL);
  out.do(BPF.loadByteAtX, ICMP_HEADER_LEN);
  out.do(BPF.and, IHL_MASK);
  out.do(BPF.shiftLeft, 2);
  out.do(BPF.add, ICMP_HEADER_LEN);
  advance(out);
  out.do(BPF.load, PROTOCOL);
  out.branch(BPF_IF.equal, PROTOCOL_UDP, embeddedUdp);
  out.branch(BPF_IF.equal, PROTOCOL_OPP, embeddedOpp, unknown);
  out.place(embeddedOpp);
  skipOpp(program);
  out.place(embeddedUdp);
  storeEmbeddedPorts(out);
  out.place(done);
}

/** As readIpv4. */
function readIpv6(program: Program, withLocal: boolean): void {
  const { out, unknown } = program;
  const [fragment, udp, opp, icmp, embeddedUdp, embeddedOpp, done] = labels(7);
  out.do(BPF.setX, IPV6_HEADER_LEN);
  out.do(BPF.loadByte, IPV6.nextHeader);
  followExtensions(program, { udp, opp, icmp, fragment }, IPV6_ANY_FRAGMENT);
  out.place(fragment);
  out.do(BPF.loadWordAtX, EXTENSION.id);
  sumFragment(program, IPV6.src, 2 * ADDRESS_WORDS);

  out.place(opp);
  skipOpp(program);
  out.place(udp);
  copy(out, BPF.loadHalfAtX, UDP.sport, CLIENT_PORT);
  copy(out, BPF.loadHalfAtX, UDP.dport, LOCAL_PORT);
  copy(out, BPF.loadWord, IPV6.src, CLIENT, ADDRESS_WORDS);
  if (withLocal) copy(out, BPF.loadWord, IPV6.dst, LOCAL, ADDRESS_WORDS);
  out.goto(done);

  out.place(icmp);
  out.do(BPF.loadByteAtX, 0);
  out.branch(BPF_IF.greater, ICMPV6.parameterProblem, unknown);
  out.branch(BPF_IF.atLeast, ICMPV6.unreachable, undefined, unknown);
  copy(out, BPF.loadWordAtX, ICMP_HEADER_LEN + IPV6.dst, CLIENT, ADDRESS_WORDS);
  if (withLocal) copy(out, BPF.loadWordAtX, ICMP_HEADER_LEN + IPV6.src, LOCAL, ADDRESS_WORDS);
  copy(out, BPF.loadByteAtX, ICMP_HEADER_LEN + IPV6.nextHeader, PROTOCOL);
  out.do(BPF.fromX);
  out.do(BPF.add, ICMP_HEADER_LEN + IPV6_HEADER_LEN);
  out.do(BPF.toX);
  out.do(BPF.load, PROTOCOL);
  const embedded = { udp: embeddedUdp, opp: embeddedOpp, icmp: unknown, fragment: unknown };
  followExtensions(program, embedded, IPV6_FRAGMENT_OFFSET);
  out.place(embeddedOpp);
  skipOpp(program);
  out.place(embeddedUdp);
  storeEmbeddedPorts(out);
  out.place(done);
}

/**
 * With a header's protocol in A and its place in X, goes to what stands behind the extension headers. A fragment header
 * with one of the bits `isPiece` ends the walk; others belong to a whole packet (RFC 6946), or to a first fragment.
 */
function followExtensions(
  { out, unknown }: Program,
  to: { udp: Label; opp: Label; icmp: Label; fragment: Label },
  isPiece: number,
): void {
  for (let followed = 0; ; followed++) {
    const [extension, fragment, atomic, next] = labels(4);
    const isLast = followed === MAX_EXTENSIONS;
    out.branch(BPF_IF.equal, PROTOCOL_UDP, to.udp);
    out.branch(BPF_IF.equal, PROTOCOL_OPP, to.opp);
    out.branch(BPF_IF.equal, NEXT_ICMPV6, to.icmp);
    if (!isLast) {
      for (const type of [NEXT_DESTINATION, NEXT_HOP_BY_HOP, NEXT_ROUTING]) {
        out.branch(BPF_IF.equal, type, extension);
      }
    }
    out.branch(BPF_IF.equal, NEXT_FRAGMENT, fragment, unknown);
    out.place(fragment);
    out.do(BPF.loadHalfAtX, EXTENSION.fragment);
    out.branch(BPF_IF.anyBit, isPiece, to.fragment, isLast ? unknown : atomic);
    if (isLast) return;

    out.place(atomic);
    copy(out, BPF.loadByteAtX, EXTENSION.nextHeader, PROTOCOL);
    out.do(BPF.fromX);
    out.do(BPF.add, FRAGMENT_HEADER_LEN);
    out.do(BPF.toX);
    out.goto(next);
    out.place(extension);
    copy(out, BPF.loadByteAtX, EXTENSION.nextHeader, PROTOCOL);
    out.do(BPF.loadByteAtX, EXTENSION.length);
    out.do(BPF.add, 1);
    out.do(BPF.shiftLeft, 3);
    advance(out);
    out.place(next);
    out.do(BPF.load, PROTOCOL);
  }
}

/** Goes on behind the protocol-248 header at X when it holds UDP. */
function skipOpp({ out, unknown }: Program): void {
  out.do(BPF.loadByteAtX, OPP.inner);
  out.branch(BPF_IF.equal, PROTOCOL_UDP, undefined, unknown);
  out.do(BPF.loadHalfAtX, OPP.length);
  advance(out);
}

/** An embedded packet was sent by this host. */
function storeEmbeddedPorts(out: BpfAssembler): void {
  copy(out, BPF.loadHalfAtX, UDP.sport, LOCAL_PORT);
  copy(out, BPF.loadHalfAtX, UDP.dport, CLIENT_PORT);
}

/** From a fragment's identification in A and its addresses, so many words at `off`: the same for all its datagram's. */
function sumFragment({ out, key, mix }: Program, off: number, words: number): void {
  out.do(BPF.multiply, key[PORT_KEY]);
  out.do(BPF.add, key[0]);
  for (let i = 0; i < words; i++) {
    out.do(BPF.toX);
    out.do(BPF.loadWord, off + 4 * i);
    out.do(BPF.multiply, key[ADDRESS_KEY + i]);
    out.do(BPF.addX);
  }
  out.goto(mix);
}

/** Owners' hash of the client's address and port. IPv4's is that of the v4-mapped address. */
function hashClient({ out, key, mix }: Program, hash4: Label, hash6: Label): void {
  const last = new Label();
  const addWord = (word: number) => {
    out.do(BPF.load, CLIENT + word);
    out.do(BPF.shiftRight, 16);
    out.do(BPF.multiply, key[ADDRESS_KEY + 2 * word]);
    out.do(BPF.addX);
    out.do(BPF.toX);
    out.do(BPF.load, CLIENT + word);
    out.do(BPF.and, 0xffff);
    out.do(BPF.multiply, key[ADDRESS_KEY + 2 * word + 1]);
    out.do(BPF.addX);
    out.do(BPF.toX);
  };
  out.place(hash4);
  out.do(BPF.setX, key[0] + Math.imul(key[ADDRESS_KEY + 2 * LAST_WORD - 1], V4_MAPPED));
  out.goto(last);
  out.place(hash6);
  out.do(BPF.setX, key[0]);
  for (let word = 0; word < LAST_WORD; word++) addWord(word);
  out.place(last);
  addWord(LAST_WORD);
  out.do(BPF.load, CLIENT_PORT);
  out.do(BPF.multiply, key[PORT_KEY]);
  out.do(BPF.addX);
  out.place(mix);
  for (const [index, shift] of MIX.shifts.entries()) {
    out.do(BPF.toX);
    out.do(BPF.shiftRight, shift);
    out.do(BPF.xorX);
    if (index < MIX.factors.length) out.do(BPF.multiply, MIX.factors[index]);
  }
  out.do(BPF.retA);
}

/** Copies from the packet to scratch words. */
function copy(
  out: BpfAssembler,
  load: (typeof BPF)['loadWord' | 'loadWordAtX' | 'loadHalfAtX' | 'loadByteAtX'],
  off: number,
  to: number,
  words = 1,
): void {
  for (let i = 0; i < words; i++) {
    out.do(load, off + 4 * i);
    out.do(BPF.store, to + i);
  }
}

/** X += A. */
function advance(out: BpfAssembler): void {
  out.do(BPF.addX);
  out.do(BPF.toX);
}

function labels(count: number): Label[] {
  return Array.from({ length: count }, () => new Label());
}
