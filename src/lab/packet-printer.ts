// One captured packet as one or two lines that a person can read, with the UOA decoded.
import { formatIpv4 } from '../wire/address.ts';
import { Frame } from '../wire/frame.ts';
import { IPV4_HEADER_LEN } from '../wire/ipv4.ts';
import { OPP_HEADER_LEN } from '../wire/opp.ts';
import { PARSE_OK, Packet, parse } from '../wire/packet.ts';
import { UDP_HEADER_LEN } from '../wire/udp.ts';
import type { CapturedPacket } from './capture.ts';
import { paint } from './screen.ts';
import { findUoa } from './uoa-option.ts';

export interface SeenDatagram {
  device: string;
  timeUs: number;
  src: string;
  dst: string;
  payload: Uint8Array;
  /** The client that a UOA names, and how it travels. */
  uoa: { client: string; form: 'IP option 31' | 'protocol 248' } | undefined;
}

const packet = new Packet();

/** Reads a captured packet; undefined when it is no whole UDP datagram. */
export function readDatagram({ device, timeUs, bytes }: CapturedPacket): SeenDatagram | undefined {
  if (parse(packet, new Frame(bytes), 0, bytes.length) !== PARSE_OK) return undefined;
  const { headerLen, oppLen, udpOff, payloadLen } = packet;
  const isOpp = oppLen !== 0;
  const options = isOpp
    ? bytes.subarray(headerLen + OPP_HEADER_LEN, headerLen + oppLen)
    : bytes.subarray(IPV4_HEADER_LEN, headerLen);
  const client = findUoa(options)?.client;
  const payloadOff = udpOff + UDP_HEADER_LEN;
  return {
    device,
    timeUs,
    src: `${formatIpv4(packet.src)}:${packet.sport}`,
    dst: `${formatIpv4(packet.dst)}:${packet.dport}`,
    payload: bytes.subarray(payloadOff, payloadOff + payloadLen),
    uoa: client === undefined ? undefined : { client, form: isOpp ? 'protocol 248' : 'IP option 31' },
  };
}

/** What happens to the packets of one session, told in the order in which they were captured. */
export class SessionStory {
  readonly #wan: string;
  readonly #client: string;
  readonly #serverIps: readonly string[];
  #startUs = 0;
  /** Payloads on their way, in hexadecimal, from the client and from the real server. */
  #sent = '';
  /** Carriers whose empty echo is still to come; the proxy keeps it from the client. */
  #carriers = 0;

  constructor(wan: string, client: string, serverIps: readonly string[]) {
    this.#wan = wan;
    this.#client = client;
    this.#serverIps = serverIps;
  }

  /** The lines for the next packet. */
  tell(seen: SeenDatagram): string[] {
    if (this.#startUs === 0) this.#startUs = seen.timeUs;
    const time = ((seen.timeUs - this.#startUs) / 1000).toFixed(1).padStart(6);
    const side = seen.device.padEnd(5);
    const path = `${seen.src} -> ${seen.dst}`.padEnd(41);
    const bytes = `${seen.payload.length} B`.padStart(6);
    const lines = [`${paint('dim', `${time} ms`)}  ${side} ${path} ${bytes}  ${this.#meaning(seen)}`];
    if (seen.uoa !== undefined) {
      const right = seen.uoa.client === this.#client ? 'green' : 'red';
      lines.push(`${' '.repeat(18)}${paint(right, `UOA: ${seen.uoa.form}, client ${seen.uoa.client}`)}`);
    }
    return lines;
  }

  #meaning({ device, src, payload, uoa }: SeenDatagram): string {
    const hex = Buffer.from(payload).toString('hex');
    const same = hex === this.#sent ? 'same bytes' : paint('red', 'other bytes');
    if (device === this.#wan) {
      if (src !== this.#client) return `answer, ${same}`;
      this.#sent = hex;
      return 'client sends';
    }
    if (!this.#serverIps.includes(src.split(':')[0]!)) {
      if (uoa !== undefined && payload.length === 0 && hex !== this.#sent) {
        this.#carriers++;
        return 'carrier goes ahead';
      }
      return uoa === undefined ? `sent on, ${same}` : `sent on, UOA inserted, ${same}`;
    }
    if (uoa !== undefined && payload.length === 0) return 'echo ACK: ends here';
    if (payload.length === 0 && this.#carriers > 0 && this.#sent !== '') {
      this.#carriers--;
      return 'carrier echoed: ends here';
    }
    return `server echoes, ${same}`;
  }
}
