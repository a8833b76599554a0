// Asks one real server as the datapath would, from a LIP with an lport that no session has: one datagram
// without UOA and one with it. What comes back is watched at the interfaces, before the guard drops it; the
// datapath sees it too, and drops it as of no session. Whoever learns from the UOA learns the LIP itself.
import { randomInt } from 'node:crypto';
import { getSystemErrorName } from 'node:util';
import { OperationError, type Probed, type ProbeOptions, type ProbeReport } from '../admin/sources.ts';
import type { ServiceConfig } from '../config/schema.ts';
import { type IoPort, SIDE } from '../io/packet-io.ts';
import type { RealServerPlan, ServicePlan } from '../service/plan.ts';
import { watchReadable } from '../sys/epoll.ts';
import { SysError } from '../sys/libc.ts';
import { listen, type PacketListener } from '../sys/packet-listener.ts';
import { interfaceIndex } from '../sys/packet-socket.ts';
import { openRawSocket, type RawSocket } from '../sys/raw-socket.ts';
import { waiting } from '../sys/waitable.ts';
import { type UoaDialect, uoaForms } from '../uoa/dialect.ts';
import type { UoaForm } from '../uoa/form.ts';
import { LOCAL_HEADER } from '../uoa/proxy-v2.ts';
import { familyOf, formatEndpoint, isSameAddress, parseAddressInto } from '../wire/address.ts';
import { Frame } from '../wire/frame.ts';
import * as icmp from '../wire/icmp-writer.ts';
import { PARSE_OK, PARSE_OTHER_PROTOCOL, Packet, parse } from '../wire/packet.ts';
import { answersFilter, type ProbePacket, type ProbeWay, probePacket } from './probe-packets.ts';
import { verdictOf } from './probe-verdict.ts';

/** Each datagram is sent so often, as long as nothing comes back: one may be lost by chance. */
const TRIES = 3;
const DEFAULT_TIMEOUT_MS = 1000;
/** Not empty: with a UOA that would be a carrier, which no program is to see. */
const DEFAULT_PAYLOAD = Buffer.from('uoa-proxy probe');
const BUFFER_BYTES = 1 << 20;
const LPORT_DRAWS = 1000;

export interface ProbeTarget {
  readonly service: ServicePlan;
  readonly server: RealServerPlan;
  readonly health: ServiceConfig['health'] | undefined;
  readonly ports: readonly IoPort[];
  /** Whether a session has LIP:lport towards the real server. */
  readonly isTaken: (lip: string, lport: number) => boolean;
}

/** Throws an OperationError where this host cannot ask. */
export async function probePath(target: ProbeTarget, options: ProbeOptions): Promise<ProbeReport> {
  const { service, server, health, isTaken } = target;
  const isByUdp = health?.type === 'udp';
  const port = (isByUdp ? health.port : undefined) ?? server.port;
  const given = options.payload ?? (isByUdp ? health.send : undefined);
  const payload = given === undefined || given.length === 0 ? DEFAULT_PAYLOAD : given;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const lip = server.legs[0]?.lip;
  if (lip === undefined) throw new OperationError(409, `no LIP of ${service.name} is of its family`);
  const family = familyOf(server.ip);
  const addresses = new Int32Array(8);
  parseAddressInto(addresses, 0, lip);
  parseAddressInto(addresses, 4, server.ip);
  const way = { family, addresses, port };
  const plain = new Question(drawLport(service, lip, isTaken, []));
  const questions = [plain];
  const form = formOf(service, server);
  if (form !== undefined) questions.push(new Question(drawLport(service, lip, isTaken, [plain.lport]), form));
  // As a health check by UDP: the program there takes nothing without a header.
  const isProxied = server.dialect === 'proxy-v2' && port === server.port;
  const sent = isProxied ? Buffer.concat([LOCAL_HEADER, payload]) : payload;
  await ask(target, way, questions, sent, timeoutMs);
  const [, asked] = questions;
  const told = asked && { ...asked.result, isCarrier: form?.inserted === false };
  return {
    service: service.name,
    from: lip,
    to: formatEndpoint(server.ip, port),
    dialect: server.dialect,
    payloadBytes: payload.length,
    timeoutMs,
    plain: plain.result,
    uoa: told ?? null,
    ...verdictOf(plain.result, told, form, family, server.dialect),
  };
}

function formOf({ unifiedType }: ServicePlan, { ip, dialect }: RealServerPlan): UoaForm | undefined {
  if (dialect === 'none') return undefined;
  const family = familyOf(ip);
  return uoaForms(dialect as UoaDialect, family, unifiedType)?.[family];
}

function drawLport(
  { name, lports: { first, last } }: ServicePlan,
  lip: string,
  isTaken: ProbeTarget['isTaken'],
  others: readonly number[],
): number {
  for (let n = 0; n < LPORT_DRAWS; n++) {
    const lport = randomInt(first, last + 1);
    if (!others.includes(lport) && !isTaken(lip, lport)) return lport;
  }
  throw new OperationError(409, `no lport of ${lip} is free for it in ${name}: clients have them`);
}

/** One of the two datagrams, and what came back for it. */
class Question {
  readonly lport: number;
  readonly form: UoaForm | undefined;
  readonly result: Probed = { result: 'silent', afterMs: null, bytes: null, icmp: null, isAcked: false };
  #sentAt = 0;

  constructor(lport: number, form?: UoaForm) {
    this.lport = lport;
    this.form = form;
  }

  get isOpen(): boolean {
    return this.result.result === 'silent';
  }

  send(socket: RawSocket, { frame, off, len }: ProbePacket, { addresses }: ProbeWay): void {
    if (this.#sentAt === 0) this.#sentAt = performance.now();
    const errno = socket.send(frame.bytes, off, len, addresses);
    if (errno !== 0) throw new OperationError(409, `this host cannot send it: ${getSystemErrorName(-errno)}`);
  }

  answered(bytes: number): void {
    this.#settle('answered');
    this.result.bytes = bytes;
  }

  refused(words: string): void {
    this.#settle('refused');
    this.result.icmp = words;
  }

  #settle(result: Probed['result']): void {
    this.result.result = result;
    this.result.afterMs = Math.round((performance.now() - this.#sentAt) * 1000) / 1000;
  }
}

async function ask(
  { ports }: ProbeTarget,
  way: ProbeWay,
  questions: readonly Question[],
  payload: Uint8Array,
  timeoutMs: number,
): Promise<void> {
  const listeners: PacketListener[] = [];
  let socket: RawSocket | undefined;
  try {
    const filter = answersFilter(
      way,
      questions.map(({ lport }) => lport),
    );
    for (const { name, side } of ports)
      if ((side & SIDE.lan) !== 0) listeners.push(listen(interfaceIndex(name), filter, BUFFER_BYTES));
    socket = openRawSocket(way.family, BUFFER_BYTES);
    if (socket === undefined) throw new OperationError(409, `this host has no IPv${way.family}`);
    const packets = questions.map(({ lport, form }) => probePacket(way, lport, payload, form));
    const waitable = waiting(watchReadable(listeners.map(({ fd }) => fd)));
    try {
      for (let n = 1; n <= TRIES && questions.some(({ isOpen }) => isOpen); n++) {
        const until = performance.now() + timeoutMs / TRIES;
        for (const [at, question] of questions.entries())
          if (question.isOpen) question.send(socket, packets[at], way);
        for (let leftMs = timeoutMs / TRIES; ; leftMs = until - performance.now()) {
          // Also when this process was late: what came meanwhile is there.
          for (const listener of listeners) hear(listener, way, questions);
          if (leftMs <= 0 || !questions.some(({ isOpen }) => isOpen)) break;
          await waitable.wait(leftMs);
        }
      }
    } finally {
      waitable.close();
    }
  } catch (error) {
    if (error instanceof SysError) throw new OperationError(409, `this host cannot ask: ${error.message}`);
    throw error;
  } finally {
    socket?.close();
    for (const listener of listeners) listener.close();
  }
}

const packet = new Packet();
const embedded = new Packet();

function hear(listener: PacketListener, way: ProbeWay, questions: readonly Question[]): void {
  for (let heard = listener.receive(); heard !== undefined; heard = listener.receive()) {
    const frame = new Frame(heard.bytes);
    const end = heard.bytes.length;
    const parsed = parse(packet, frame, 0, end);
    if (parsed === PARSE_OTHER_PROTOCOL) hearError(frame, end, way, questions);
    if (parsed !== PARSE_OK || packet.sport !== way.port || !isServer(packet, 0, way)) continue;
    const question = questions.find(({ lport }) => lport === packet.dport);
    if (question === undefined) continue;
    if (packet.payloadLen === 0 && packet.hasUoa) question.result.isAcked = true;
    else if (question.isOpen) question.answered(packet.payloadLen);
  }
}

const isServer = ({ addresses }: Packet, at: number, way: ProbeWay): boolean =>
  isSameAddress(addresses, at, way.addresses, 4);

function hearError(frame: Frame, end: number, way: ProbeWay, questions: readonly Question[]): void {
  const { view } = frame;
  const at = packet.udpOff;
  if (!icmp.isIcmpError(packet, view) || !icmp.icmpIntact(packet, view)) return;
  if (!icmp.parseEmbedded(embedded, frame, way.family, at + icmp.ICMP_HEADER_LEN, end)) return;
  const question = questions.find(({ lport }) => lport === embedded.sport);
  if (question?.isOpen && embedded.dport === way.port && isServer(embedded, 4, way))
    question.refused(icmpWords(way.family, icmp.type(view, at), icmp.code(view, at)));
}

const WORDS: Record<number, Record<string, string>> = {
  4: {
    '3/0': 'network unreachable',
    '3/1': 'host unreachable',
    '3/2': 'protocol unreachable',
    '3/3': 'port unreachable',
    '3/4': 'fragmentation needed',
    '3/9': 'administratively prohibited',
    '3/10': 'administratively prohibited',
    '3/13': 'administratively prohibited',
    '11/0': 'time exceeded',
    '12/0': 'parameter problem',
  },
  6: {
    '1/0': 'no route',
    '1/1': 'administratively prohibited',
    '1/3': 'address unreachable',
    '1/4': 'port unreachable',
    '2/0': 'packet too big',
    '3/0': 'time exceeded',
    '4/1': 'unrecognized next header',
    '4/2': 'unrecognized option',
  },
};

const icmpWords = (family: 4 | 6, type: number, code: number): string =>
  WORDS[family]?.[`${type}/${code}`] ?? `ICMP type ${type}, code ${code}`;
