// A program: clients of the lab. Ordinary connected UDP sockets, several per address, each with one datagram
// in flight; nothing is ever sent again, so that a loss shows as a loss. Ends after `rounds`, or when its
// standard input closes. Argument: ClientOptions as JSON. Output: ClientEvent lines.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { keepDebuggerShut } from '../sys/debugger.ts';
import { familyOf, formatEndpoint } from '../wire/address.ts';
import { type ClientTotals, noClientTotals, tell } from './events.ts';
import { makePayload } from './payload.ts';

export interface ClientOptions {
  addresses: string[];
  socketsPerAddress: number;
  vip: string;
  /** Sockets take these in turn. */
  vports: number[];
  /** Payload lengths, taken in turn; each socket starts one further than the one before. */
  sizes: number[];
  /** Datagrams per socket; 0: until standard input closes. */
  rounds: number;
  pauseMs: number;
  /** How long a reply is awaited. */
  timeoutMs: number;
}

/** A path that lost this many in a row is given up: waiting on would only take time. */
const MISSING_IN_A_ROW = 3;
const PROGRESS_EVERY_MS = 500;

keepDebuggerShut();
const options = JSON.parse(process.argv[2] ?? '{}') as ClientOptions;
const totals: ClientTotals = noClientTotals();
let stopped = false;

async function openClient(address: string, index: number): Promise<Socket> {
  const socket = createSocket(familyOf(address) === 6 ? 'udp6' : 'udp4');
  socket.on('error', () => totals.errors++);
  socket.bind(0, address);
  await once(socket, 'listening');
  socket.connect(options.vports[index % options.vports.length], options.vip);
  await once(socket, 'connect');
  return socket;
}

/** Sends `rounds` datagrams, the next one when the last was answered or given up. */
async function echo(socket: Socket, index: number): Promise<void> {
  const { address, port } = socket.address();
  let awaited: ((reply: Buffer) => void) | undefined;
  socket.on('message', (reply) => {
    if (awaited === undefined) totals.unexpected++;
    else awaited(reply);
  });
  let missingInARow = 0;
  for (let round = 0; !stopped && (options.rounds === 0 || round < options.rounds); round++) {
    const len = options.sizes[(index + round) % options.sizes.length];
    const payload = makePayload(len, round, address, port);
    const reply = await new Promise<Buffer | undefined>((resolve) => {
      // By way of setImmediate: timers come before sockets, and a reply that came in time may wait there.
      const timer = setTimeout(() => setImmediate(resolve, undefined), options.timeoutMs);
      awaited = (received) => {
        clearTimeout(timer);
        resolve(received);
      };
      socket.send(payload, (error) => {
        if (error) totals.errors++;
      });
    });
    awaited = undefined;
    totals.sent++;
    if (len > 0) totals.nonEmpty++;
    if (reply === undefined) {
      totals.missing++;
      if (++missingInARow === MISSING_IN_A_ROW) return;
    } else {
      missingInARow = 0;
      totals.received++;
      if (!reply.equals(payload)) totals.altered++;
    }
    if (options.pauseMs > 0) await sleep(options.pauseMs);
  }
}

process.stdin.on('end', () => {
  stopped = true;
});
process.stdin.resume();
const sockets = await Promise.all(
  Array.from({ length: options.addresses.length * options.socketsPerAddress }, (_, index) =>
    openClient(options.addresses[index % options.addresses.length], index),
  ),
);
tell({
  event: 'ready',
  clients: sockets.map((socket) => formatEndpoint(socket.address().address, socket.address().port)),
});
const progress = setInterval(() => tell({ event: 'progress', totals }), PROGRESS_EVERY_MS);
await Promise.all(sockets.map(echo));
// A copy too many would come right behind the last reply.
await sleep(200);
clearInterval(progress);
for (const socket of sockets) socket.close();
tell({ event: 'result', totals });
process.stdin.destroy();
