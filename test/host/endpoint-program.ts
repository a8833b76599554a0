// A program for tests: a UDP client or echo server and a pinger in its namespace, of the family of its
// address. Prints { ready: port }; answers each line of input, a Request, with { answer }; stops when its
// input ends.
import { createInterface } from 'node:readline';
import { openOptionSocket, openRawReceiver } from '../../src/sys/option-socket.ts';

export interface EndpointSpec {
  ip: string;
  /** 0 or none for any. */
  port?: number;
  /** Send each datagram back. */
  echo?: boolean;
}
export type Request =
  /** `options` as OptionSocket.send takes them. */
  | { send: { hex: string; ip: string; port: number; options?: string } }
  /** Sends a packet of another IP protocol. */
  | { raw: { protocol: number; hex: string; ip: string } }
  /** Waits for the next datagram: answers a ReceivedDatagram, or null after the time. */
  | { receive: { timeoutMs: number } }
  /** Sends an ICMP echo request: answers whether the reply came. */
  | { ping: string }
  /** Answers "type/code" of each ICMP error so far. */
  | { icmp: true };
export interface ReceivedDatagram {
  hex: string;
  srcIp: string;
  srcPort: number;
}

const spec = JSON.parse(process.argv[2]) as EndpointSpec;
const isIpv6 = spec.ip.includes(':');
const ICMP = isIpv6 ? { protocol: 58, request: 128, reply: 129 } : { protocol: 1, request: 8, reply: 0 };
const socket = openOptionSocket({ ip: spec.ip, port: spec.port ?? 0 });
const icmp = openRawReceiver(ICMP.protocol, isIpv6 ? '::' : '0.0.0.0');
const seen: string[] = [];

async function answer(request: Request): Promise<unknown> {
  if ('send' in request) {
    const { hex, ip, port, options = '' } = request.send;
    socket.send(Buffer.from(hex, 'hex'), ip, port, Buffer.from(options, 'hex'));
    return true;
  }
  if ('raw' in request) {
    const { protocol, hex, ip } = request.raw;
    const raw = openRawReceiver(protocol, spec.ip);
    raw.send(Buffer.from(hex, 'hex'), ip);
    raw.close();
    return true;
  }
  if ('receive' in request) {
    await socket.wait(request.receive.timeoutMs);
    const datagram = socket.receive();
    if (datagram === undefined) return null;
    const { payload, srcIp, srcPort } = datagram;
    return { hex: Buffer.from(payload).toString('hex'), srcIp, srcPort } satisfies ReceivedDatagram;
  }
  if ('ping' in request) {
    // The checksum is right for IPv4; the kernel writes that of ICMPv6.
    icmp.send(Uint8Array.from([ICMP.request, 0, 0xf7, 0xff, 0, 0, 0, 0]), request.ping);
    for (;;) {
      if (!(await icmp.wait(60_000))) return false;
      if (readIcmp().includes(ICMP.reply)) return true;
    }
  }
  readIcmp();
  return seen;
}

/**
 * Takes in what the raw socket has, and returns the types. ICMPv6 errors are below 128; all of IPv4 but the
 * reply.
 */
function readIcmp(): number[] {
  const types: number[] = [];
  for (let packet = icmp.receive(); packet !== undefined; packet = icmp.receive()) {
    const off = isIpv6 ? 40 : (packet[0] & 15) * 4;
    const type = packet[off];
    types.push(type);
    if (isIpv6 ? type < 128 : type !== ICMP.reply) seen.push(`${type}/${packet[off + 1]}`);
  }
  return types;
}

if (spec.echo === true) {
  void (async () => {
    for (;;) {
      await socket.wait(1_000);
      for (let d = socket.receive(); d !== undefined; d = socket.receive()) {
        socket.send(d.payload, d.srcIp, d.srcPort);
      }
    }
  })();
}

createInterface({ input: process.stdin })
  .on('line', async (line) => {
    console.log(JSON.stringify({ answer: await answer(JSON.parse(line) as Request) }));
  })
  .on('close', () => process.exit(0));
console.log(JSON.stringify({ ready: socket.port }));
