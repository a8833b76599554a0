// A program for tests: a UDP client or echo server and a pinger in its namespace. Prints { ready: port }; answers each
// line of input, a Request, with { answer }; stops when its input ends.
import { createInterface } from 'node:readline';
import { openOptionSocket, openRawReceiver } from '../../src/sys/option-socket.ts';

export interface EndpointSpec {
  ip: string;
  port: number;
  /** Send each datagram back. */
  echo?: boolean;
}
export type Request =
  | { send: { hex: string; ip: string; port: number } }
  /** Waits for the next datagram: answers a ReceivedDatagram, or null after the time. */
  | { receive: { timeoutMs: number } }
  /** Sends an ICMP echo request: answers whether the reply came. */
  | { ping: string }
  /** Answers "type/code" of each ICMP message so far, echo replies left out. */
  | { icmp: true };
export interface ReceivedDatagram {
  hex: string;
  srcIp: string;
  srcPort: number;
}

const ECHO_REPLY = 0;
const spec = JSON.parse(process.argv[2]!) as EndpointSpec;
const socket = openOptionSocket(spec);
const icmp = openRawReceiver(1);
const seen: string[] = [];

async function answer(request: Request): Promise<unknown> {
  if ('send' in request) {
    const { hex, ip, port } = request.send;
    socket.send(Buffer.from(hex, 'hex'), ip, port);
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
    icmp.send(Uint8Array.from([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), request.ping);
    for (;;) {
      if (!(await icmp.wait(5_000))) return false;
      if (readIcmp().includes(`${ECHO_REPLY}/0`)) return true;
    }
  }
  readIcmp();
  return seen;
}

/** Takes in what the raw socket has, and returns all of it. */
function readIcmp(): string[] {
  const kinds: string[] = [];
  for (let packet = icmp.receive(); packet !== undefined; packet = icmp.receive()) {
    const off = (packet[0]! & 15) * 4;
    kinds.push(`${packet[off]}/${packet[off + 1]}`);
  }
  seen.push(...kinds.filter((kind) => kind !== `${ECHO_REPLY}/0`));
  return kinds;
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
