// One captured packet as one or two lines that a person can read, with the UOA decoded.
import { dissect } from '../sniff/dissect.ts';
import { endpointName, type Uoa } from '../sniff/uoa-option.ts';
import { formatEndpoint } from '../wire/address.ts';
import type { CapturedPacket } from './capture.ts';
import { paint } from './screen.ts';

export interface SeenDatagram {
  device: string;
  timeUs: number;
  srcIp: string;
  src: string;
  dst: string;
  payload: Uint8Array;
  uoa: Uoa | undefined;
}

/** Reads a captured packet; undefined when it is no whole UDP datagram. */
export function readDatagram({ device, timeUs, bytes }: CapturedPacket): SeenDatagram | undefined {
  const datagram = dissect(bytes);
  if (datagram === undefined || datagram.isFragment) return undefined;
  const { srcIp, sport, dstIp, dport, payload, uoa } = datagram;
  return {
    device,
    timeUs,
    srcIp,
    src: formatEndpoint(srcIp, sport),
    dst: formatEndpoint(dstIp, dport),
    payload,
    uoa,
  };
}

/** Who takes part in a session. */
export interface Cast {
  wan: string;
  /** The client, as ip:port. */
  client: string;
  /** What it sends to. */
  virtual: string;
  serverIps: readonly string[];
}

/** What happens to the packets of one session, told in the order in which they were captured. */
export class SessionStory {
  readonly #cast: Cast;
  #startUs = 0;
  /** Payloads on their way, in hexadecimal, from the client and from the real server. */
  #sent = '';
  /** Carriers whose empty echo is still to come; the proxy keeps it from the client. */
  #carriers = 0;

  constructor(cast: Cast) {
    this.#cast = cast;
  }

  /** The lines for the next packets; paths are as wide as the widest of them. */
  tell(packets: readonly SeenDatagram[]): string[] {
    const path = ({ src, dst }: SeenDatagram) => `${src} -> ${dst}`;
    const width = Math.max(...packets.map((seen) => path(seen).length));
    return packets.flatMap((seen) => {
      if (this.#startUs === 0) this.#startUs = seen.timeUs;
      const time = ((seen.timeUs - this.#startUs) / 1000).toFixed(1).padStart(6);
      const bytes = `${seen.payload.length} B`.padStart(6);
      const head = `${paint('dim', `${time} ms`)}  ${seen.device.padEnd(4)}  ${path(seen).padEnd(width)}  ${bytes}`;
      const line = `${head}  ${this.#meaning(seen)}`;
      return seen.uoa === undefined ? [line] : [line, this.#describeUoa(seen.uoa)];
    });
  }

  #describeUoa(uoa: Uoa): string {
    const { form } = uoa;
    const client = endpointName(uoa.client);
    const virtual = uoa.virtual && endpointName(uoa.virtual);
    const isRight = client === this.#cast.client && (virtual ?? this.#cast.virtual) === this.#cast.virtual;
    const text = `UOA: ${form}, client ${client}${virtual === undefined ? '' : `, sent to ${virtual}`}`;
    return `${' '.repeat(17)}${paint(isRight ? 'green' : 'red', text)}`;
  }

  #meaning({ device, srcIp, src, payload, uoa }: SeenDatagram): string {
    const hex = Buffer.from(payload).toString('hex');
    const same = hex === this.#sent ? 'same bytes' : paint('red', 'other bytes');
    if (device === this.#cast.wan) {
      if (src !== this.#cast.client) return `answer, ${same}`;
      this.#sent = hex;
      return 'client sends';
    }
    if (!this.#cast.serverIps.includes(srcIp)) {
      if (uoa !== undefined && uoa.dialect !== 'proxy-v2' && payload.length === 0 && hex !== this.#sent) {
        this.#carriers++;
        return 'carrier goes ahead';
      }
      if (uoa?.dialect === 'proxy-v2') return `sent on, header before it, ${same}`;
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
