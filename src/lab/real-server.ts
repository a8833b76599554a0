// A program: the reference real server. It gets each datagram from an ordinary UDP socket, learns the real
// client from the UOA of any dialect as the Linux kernel delivers it, sends the echo ACK in the same form, or
// takes the header of proxy-v2 from the payload, and echoes the payload. Ends when standard input closes.
// Argument: ServerOptions as JSON. Output: ServerEvent lines.
//
// A zero-length datagram with a UOA may be a carrier or a client's own: no receiver can tell. This one learns
// from it, acknowledges it and echoes it like any other; the proxy keeps the one empty reply to each carrier
// from the client.

import { PROTOCOL_OPP } from '../sniff/dissect.ts';
import {
  endpointName,
  findInDestinationOptions,
  findInIpOptions,
  readProxyHeader,
  type Uoa,
} from '../sniff/uoa-option.ts';
import { keepDebuggerShut } from '../sys/debugger.ts';
import { openOptionSocket, openRawReceiver } from '../sys/option-socket.ts';
import { familyOf, formatEndpoint } from '../wire/address.ts';
import { type Learned, type ServerTotals, tell } from './events.ts';
import { decapsulate, encapsulateAck, type OppDatagram } from './opp-datagram.ts';
import { senderOf } from './payload.ts';

export interface ServerOptions {
  ip: string;
  port: number;
}

const WAIT_MS = 500;
const EMPTY = new Uint8Array(0);

keepDebuggerShut();
const options = JSON.parse(process.argv[2] ?? '{}') as ServerOptions;
const totals: ServerTotals = {
  received: 0,
  empty: 0,
  attributed: 0,
  unattributed: 0,
  wrong: 0,
  uoas: 0,
  acks: 0,
};
/** LIP:lport -> the client behind it. */
const clients = new Map<string, Omit<Learned, 'local'>>();
const plain = openOptionSocket(options);
const findOptions = familyOf(options.ip) === 6 ? findInDestinationOptions : findInIpOptions;
// While a raw socket for it is open, the kernel does not answer protocol 248 with "protocol unreachable".
const opp = openRawReceiver(PROTOCOL_OPP, options.ip);
let stopped = false;

function learn(local: string, uoa: Uoa): void {
  totals.uoas++;
  const client = endpointName(uoa.client);
  const virtual = uoa.virtual && endpointName(uoa.virtual);
  if (clients.get(local)?.client === client) return;
  clients.set(local, { client, virtual, datagrams: 0 });
  tell({ event: 'learned', local, client });
}

function attribute(local: string, payload: Uint8Array): void {
  if (payload.length === 0) {
    totals.empty++;
    return;
  }
  totals.received++;
  const known = clients.get(local);
  if (known === undefined) {
    totals.unattributed++;
    return;
  }
  known.datagrams++;
  const sender = senderOf(payload);
  if (sender === undefined || sender === known.client) totals.attributed++;
  else totals.wrong++;
}

function servePlain(): void {
  for (let datagram = plain.receive(); datagram !== undefined; datagram = plain.receive()) {
    const { payload, srcIp, srcPort } = datagram;
    const local = formatEndpoint(srcIp, srcPort);
    // What arrived before this datagram is in the other socket by now: a carrier must be read first.
    serveOpp();
    const { uoa } = findOptions(datagram.options);
    if (uoa !== undefined) {
      learn(local, uoa);
      plain.send(EMPTY, srcIp, srcPort, uoa.bytes);
      totals.acks++;
    }
    const header = readProxyHeader(payload)?.uoa;
    if (header !== undefined) learn(local, header);
    const own = payload.subarray(header?.bytes.length ?? 0);
    attribute(local, own);
    plain.send(own, srcIp, srcPort);
  }
}

function serveOpp(): void {
  for (let packet = opp.receive(); packet !== undefined; packet = opp.receive()) {
    const datagram: OppDatagram | undefined = decapsulate(packet);
    if (datagram === undefined || datagram.dport !== options.port) continue;
    const { srcIp, sport, payload, uoa } = datagram;
    const local = formatEndpoint(srcIp, sport);
    learn(local, uoa);
    opp.send(encapsulateAck(datagram), srcIp);
    totals.acks++;
    attribute(local, payload);
    plain.send(payload, srcIp, sport);
  }
}

process.stdin.on('end', () => {
  stopped = true;
  plain.close();
  opp.close();
});
process.stdin.resume();
tell({ event: 'ready' });
const progress = setInterval(() => tell({ event: 'progress', totals }), WAIT_MS);

async function serve(socket: typeof plain | typeof opp, drain: () => void): Promise<void> {
  while (!stopped) {
    if (await socket.wait(WAIT_MS)) drain();
  }
}
await Promise.all([serve(plain, servePlain), serve(opp, serveOpp)]);
clearInterval(progress);
const learned: Learned[] = [...clients].map(([local, client]) => ({ local, ...client }));
tell({ event: 'result', totals, learned });
