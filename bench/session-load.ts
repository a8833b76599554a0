// A datapath with any number of sessions and the packets of each, without any network: packets are stamped
// into one frame, as a capture would leave them there, at a cost that is measured too and subtracted.
import { Datapath } from '../src/datapath/datapath.ts';
import { commonBytes, type DatapathMemory, mapMemory, memoryBytes } from '../src/datapath/memory.ts';
import type { DatapathPlan } from '../src/datapath/plan.ts';
import { VERDICT } from '../src/datapath/verdict.ts';
import { numberServices } from '../src/service/numbering.ts';
import { legOf, lportOf, SESSION_WORDS } from '../src/session/session.ts';
import { createSharedMemory } from '../src/sys/shared-memory.ts';
import { Frame } from '../src/wire/frame.ts';

export interface SessionLoadOptions {
  /** Clients, each with a session. */
  sessions: number;
  /**
   * Whether all sessions can be answered ones; otherwise the table is full when all are open, and none may be
   * answered.
   */
  withAnswers: boolean;
  payloadLen: number;
  maxTrials: number;
  idleRefreshMs: number;
}

export const WAN = 0;
export const LAN = 1;

/** Where io/pcap.ts puts the IP header too. */
const IP_OFF = 80;
const UDP_OFF = IP_OFF + 20;
/** The echo ACK has 8 bytes of options; its UDP header stands where that of the other packets does. */
const ACK_OFF = IP_OFF - 8;
const MAX_LEN = 1500;
const LPORTS = { first: 1024, last: 65_535 };
const LPORTS_PER_LIP = LPORTS.last - LPORTS.first + 1;
const FIRST_CIP = 0x0b00_0000; // 11.0.0.0
const VIP = ipv4(10, 1, 0, 100);
const RIP = ipv4(10, 2, 0, 2);
const OTHER_HOST = ipv4(10, 2, 0, 3);
const VPORT = 6000;
const VERSION_TOS = 0x4500_0000;
const TTL_UDP = 0x4011_0000;
const ID_DF = 0x1234_4000;
/** Packets per millisecond of the datapath's clock, about what the real program forwards. */
const PACKETS_PER_MS = 200;

export class SessionLoad {
  readonly sessions: number;
  readonly datapath: Datapath;
  readonly memory: DatapathMemory;
  readonly frame = new Frame(Buffer.alloc(IP_OFF + MAX_LEN));
  nowMs = 1000;
  /** Where the packet that was stamped last begins and ends. */
  #off = IP_OFF;
  #end = IP_OFF;
  readonly #udpLen: number;
  readonly #payloadSum: number;
  /**
   * What the proxy chose for each session, of which answers are made. Empty without answers: memory.ts
   * measures then.
   */
  readonly #lips: Int32Array;
  readonly #lports: Uint16Array;
  readonly #lipOfLeg: ReadonlyMap<number, number>;
  #packets = 0;

  constructor(options: SessionLoadOptions) {
    this.sessions = options.sessions;
    const plan = makePlan(options);
    const common = commonBytes(plan);
    const { buffer } = createSharedMemory('bench', common + memoryBytes(plan, 0));
    this.memory = mapMemory(buffer, plan, 0, common);
    this.memory.common.weights.fill(100);
    this.datapath = new Datapath(plan, this.memory, () => true, { seed: [0x1234_5678, 0x3abc_def0] });
    this.#udpLen = 8 + options.payloadLen;
    this.#lips = new Int32Array(options.withAnswers ? options.sessions : 0);
    this.#lports = new Uint16Array(this.#lips.length);
    const { legs } = plan.services[0].realServers[0];
    this.#lipOfLeg = new Map(
      legs.map(({ index, lip }) => [index, ipv4(...(lip.split('.').map(Number) as Quad))]),
    );
    let sum = 0;
    for (let i = 0; i < options.payloadLen; i++) {
      const byte = i & 0xff;
      this.frame.bytes[UDP_OFF + 8 + i] = byte;
      sum += i % 2 === 0 ? byte << 8 : byte;
    }
    this.#payloadSum = sum;
  }

  /** Hands the stamped packet to the datapath. */
  receive(port: number): number {
    return this.datapath.receive(this.frame, this.#off, this.#end, port, this.nowMs);
  }

  /**
   * Lets time pass as if packets came as fast as the real program forwards them. To be called once per
   * packet.
   */
  passTime(): void {
    if (++this.#packets % PACKETS_PER_MS === 0) this.nowMs = (this.nowMs + 1) | 0;
  }

  /** Opens a session for each client, in order. Throws when one packet is not forwarded. */
  openAll(): void {
    for (let i = 0; i < this.sessions; i++) {
      this.stampInbound(i);
      this.passTime();
      if (this.receive(WAN) !== VERDICT.forward) throw new Error(`session ${i} was not opened`);
    }
    const { records } = this.memory;
    // An empty table gives its slots in order.
    for (let i = 0; i < this.#lips.length; i++) {
      const base = i * SESSION_WORDS;
      this.#lips[i] = this.#lipOfLeg.get(legOf(records, base))!;
      this.#lports[i] = lportOf(records, base);
    }
  }

  /** Client i's datagram; clients from `sessions` on are new ones. */
  stampInbound(i: number): void {
    this.#stamp((FIRST_CIP + i) | 0, VIP, 1024 + (i % 50_000), VPORT);
  }

  /** The real server's answer in session i. */
  stampOutbound(i: number): void {
    this.#stamp(RIP, this.#lips[i], VPORT, this.#lports[i]);
  }

  /** A packet to a LIP:lport from a machine that has no session there. */
  stampStray(i: number): void {
    this.#stamp(OTHER_HOST, this.#lips[0], VPORT, LPORTS.first + (i % LPORTS_PER_LIP));
  }

  /** The real server's echo ACK of session i: empty, with the option that the proxy sent. */
  stampEchoAck(i: number): void {
    const { view } = this.frame;
    const lip = this.#lips[i];
    const lport = this.#lports[i];
    const cip = (FIRST_CIP + i) | 0;
    const cport = 1024 + (i % 50_000);
    view.setInt32(ACK_OFF, 0x4700_0000 | 36);
    view.setInt32(ACK_OFF + 4, ID_DF);
    view.setInt32(ACK_OFF + 12, RIP);
    view.setInt32(ACK_OFF + 16, lip);
    view.setInt32(ACK_OFF + 20, 0x1f08_0000 | cport);
    view.setInt32(ACK_OFF + 24, cip);
    const ip =
      0x4700 + 36 + 0x1234 + 0x4000 + 0x4011 + halves(RIP) + halves(lip) + 0x1f08 + cport + halves(cip);
    view.setInt32(ACK_OFF + 8, TTL_UDP | checksum(ip));
    view.setInt32(UDP_OFF, (VPORT << 16) | lport);
    const udp = halves(RIP) + halves(lip) + 17 + 8 + VPORT + lport + 8;
    view.setInt32(UDP_OFF + 4, (8 << 16) | (checksum(udp) || 0xffff));
    this.#off = ACK_OFF;
    this.#end = UDP_OFF + 8;
  }

  #stamp(src: number, dst: number, sport: number, dport: number): void {
    const { view } = this.frame;
    const udpLen = this.#udpLen;
    const totalLen = 20 + udpLen;
    const addresses = halves(src) + halves(dst);
    view.setInt32(IP_OFF, VERSION_TOS | totalLen);
    view.setInt32(IP_OFF + 4, ID_DF);
    view.setInt32(IP_OFF + 8, TTL_UDP | checksum(0x4500 + totalLen + 0x1234 + 0x4000 + 0x4011 + addresses));
    view.setInt32(IP_OFF + 12, src);
    view.setInt32(IP_OFF + 16, dst);
    view.setInt32(UDP_OFF, (sport << 16) | dport);
    const udp = addresses + 17 + udpLen + sport + dport + udpLen + this.#payloadSum;
    view.setInt32(UDP_OFF + 4, (udpLen << 16) | (checksum(udp) || 0xffff));
    this.#off = IP_OFF;
    this.#end = IP_OFF + totalLen;
  }
}

/** About 0.618 of the sessions and prime to them, so that each has its turn before one has its second. */
export function strideOf(sessions: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  let stride = Math.max(1, Math.floor(sessions * 0.618));
  while (gcd(stride, sessions) !== 1) stride++;
  return stride;
}

function makePlan(options: SessionLoadOptions): DatapathPlan {
  // One LIP more than needed: while a full table evicts, a new session takes its lport before the old one is
  // returned.
  const lips = Math.ceil(options.sessions / LPORTS_PER_LIP) + 1;
  // So much of a table is kept for sessions without an answer, see SessionTable.
  const kept = options.withAnswers ? Math.ceil(options.sessions / 31) + 1 : 0;
  return {
    maxSessions: options.sessions + kept,
    ports: [
      { side: 1, loopback: false },
      { side: 2, loopback: false },
    ],
    wanMtu: MAX_LEN,
    onewayShare: 100,
    lportReserve: 0,
    services: numberServices([
      {
        name: 'bench',
        vips: ['10.1.0.100'],
        vport: VPORT,
        lips: Array.from({ length: lips }, (_, index) => `10.3.0.${1 + index}`),
        lports: LPORTS,
        scheduler: 'rr',
        persistenceMs: 0,
        onDown: 'keep',
        onewayMs: 300_000,
        normalMs: 300_000,
        maxTrials: options.maxTrials,
        refreshMs: 0,
        refreshesAcked: true,
        carriage: 'inserted',
        idleRefreshMs: options.idleRefreshMs,
        unifiedType: 31,
        onUnsupported: 'plain',
        proxyV2: 'every',
        limits: {
          sessions: 0,
          sessionsPerClient: 0,
          newSessions: 0,
          newSessionsPerClient: 0,
          prefixV4: 32,
          prefixV6: 64,
        },
        allow: [],
        deny: [],
        realServers: [
          {
            ip: '10.2.0.2',
            port: VPORT,
            weight: 100,
            mtu: MAX_LEN,
            dialect: 'ipo',
            isFallback: false,
            isLeaving: false,
            unreachable: '',
          },
        ],
      },
    ]),
  };
}

type Quad = [number, number, number, number];

function ipv4(a: number, b: number, c: number, d: number): number {
  return (a << 24) | (b << 16) | (c << 8) | d;
}

/** The two 16-bit words of an address, added. */
const halves = (ip: number): number => (ip >>> 16) + (ip & 0xffff);

function checksum(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}
