// A program for tests: a UDP source that sends datagrams in batches (sendmmsg(2)) at a given rate for a given
// time. Prints { sent } at the end.
import { addressOf, check, lastErrno, sendmmsg, setsockopt, socket } from '../../src/sys/libc.ts';
import { writeSocketAddress } from '../../src/sys/message.ts';

export interface FloodSpec {
  ip: string;
  port: number;
  payloadLen: number;
  /** Datagrams per second; 0 for as many as go. */
  rate: number;
  durationMs: number;
  /** Total to send; 0 for no limit but the time. */
  count?: number;
}

const BATCH = 64;
const MMSGHDR_LEN = 64; // struct msghdr (56) and the length sent, padded
const { ip, port, payloadLen, rate, durationMs, count = 0 } = JSON.parse(process.argv[2]) as FloodSpec;

const NAME_ROOM = 32;
const memory = Buffer.from(new ArrayBuffer(BATCH * MMSGHDR_LEN + NAME_ROOM + 16 + payloadLen + 8));
const base = addressOf(memory);
const nameOff = BATCH * MMSGHDR_LEN;
const iovOff = nameOff + NAME_ROOM;
const payloadOff = iovOff + 16;
const nameLen = writeSocketAddress(memory, nameOff, ip, port);
memory.writeBigUInt64LE(base + BigInt(payloadOff), iovOff);
memory.writeBigUInt64LE(BigInt(payloadLen), iovOff + 8);
for (let index = 0; index < BATCH; index++) {
  const off = index * MMSGHDR_LEN;
  memory.writeBigUInt64LE(base + BigInt(nameOff), off);
  memory.writeUInt32LE(nameLen, off + 8);
  memory.writeBigUInt64LE(base + BigInt(iovOff), off + 16);
  memory.writeBigUInt64LE(1n, off + 24);
}

const fd = check(socket(ip.includes(':') ? 10 : 2, 2, 0), 'socket');
setsockopt(fd, 1, 7, Int32Array.of(4 << 20), 4); // SO_SNDBUF
let sent = 0;
const start = performance.now();
for (;;) {
  const elapsedMs = performance.now() - start;
  if (elapsedMs >= durationMs || (count > 0 && sent >= count)) break;
  const due = rate === 0 ? BATCH : Math.min(BATCH, Math.floor((elapsedMs * rate) / 1000) - sent);
  const batch = count > 0 ? Math.min(due, count - sent) : due;
  if (batch <= 0) continue;
  const done = sendmmsg(fd, memory, batch, 0);
  if (done > 0) sent += done;
  else if (lastErrno() !== 111) check(done, 'sendmmsg'); // ECONNREFUSED: an ICMP error to an earlier datagram
}
console.log(JSON.stringify({ sent, elapsedMs: performance.now() - start }));
