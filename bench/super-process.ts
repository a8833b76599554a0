// The process behind super-packets.ts, bound to the load's processor: a client that sends super packets
// (UDP_SEGMENT, udp(7)) as many QUIC servers do, and a real server that counts the bytes which arrive. Both
// are ordinary sockets: an XDP program would not get such packets whole.
import koffi from 'koffi';
import { bindSocket, check, close, type Memory, send, setsockopt, socket } from '../src/sys/libc.ts';
import { Message, writeSocketAddress } from '../src/sys/message.ts';
import { dieWithParent } from '../src/sys/process.ts';
import { setReceiveBuffer, setSendBuffer } from '../src/sys/socket-buffer.ts';
import { enterNamespace } from './namespace.ts';
import { PORT, RIP, VIP } from './network.ts';
import type { SuperInput, SuperOutcome, SuperShot } from './super-packets.ts';

const AF_INET = 2;
const SOCK_DGRAM_NONBLOCK = 0x802;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const BUFFER_BYTES = 32 << 20;
const MMSGHDR_LEN = 64;
const MSG_LEN_WORD = 14;
const MESSAGES = 64;
/** Exchanges of each flow before it is measured: the handshake is over then, and who is busy is known. */
const OPENING_ROUNDS = 16;
const OPENING_GAP_MS = 10;
/** Super packets sent before what arrived is taken in. */
const BURST = 4;
const SETTLE_MS = 50;

const libc = koffi.load('libc.so.6');
const recvmmsg = libc.func(
  'int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)',
) as (fd: number, messages: Memory, count: number, flags: number, timeout: null) => number;
const connect = libc.func('int connect(int fd, const void *address, unsigned int length)') as (
  fd: number,
  address: Memory,
  length: number,
) => number;

class Ends {
  readonly #clients: number[];
  readonly #server: number;
  readonly #payload: Buffer;
  readonly #messages = Buffer.from(new ArrayBuffer(MESSAGES * MMSGHDR_LEN));
  readonly #words = new Uint32Array(this.#messages.buffer);

  constructor({ client, rs, flows, payloadLen, segments }: SuperInput) {
    this.#payload = Buffer.from(new ArrayBuffer(payloadLen * segments));
    enterNamespace(rs);
    this.#server = open();
    check(setsockopt(this.#server, SOL_UDP, UDP_GRO, Int32Array.of(1), 4), 'setsockopt UDP_GRO');
    setReceiveBuffer(this.#server, BUFFER_BYTES);
    const name = Buffer.alloc(28);
    check(bindSocket(this.#server, name, writeSocketAddress(name, 0, RIP, PORT)), 'bind');
    enterNamespace(client);
    this.#clients = Array.from({ length: flows }, () => {
      const fd = open();
      check(setsockopt(fd, SOL_UDP, UDP_SEGMENT, Int32Array.of(payloadLen), 4), 'setsockopt UDP_SEGMENT');
      setSendBuffer(fd, BUFFER_BYTES);
      check(connect(fd, name, writeSocketAddress(name, 0, VIP, PORT)), 'connect');
      return fd;
    });
  }

  /** Opens the sessions: the server answers each datagram. */
  async converse(): Promise<void> {
    const message = new Message();
    const answer = Buffer.from(new ArrayBuffer(16));
    for (let round = 0; round < OPENING_ROUNDS; round++) {
      for (const fd of this.#clients) send(fd, answer, answer.length, MSG_DONTWAIT);
      await sleep(OPENING_GAP_MS);
      while (message.receive(this.#server) >= 0)
        message.send(this.#server, answer, { ip: message.ip, port: message.port });
      await sleep(OPENING_GAP_MS);
    }
  }

  async shoot({ rate, seconds }: SuperShot): Promise<SuperOutcome> {
    const clients = this.#clients;
    const { length } = this.#payload;
    let [sent, bytes, turn] = [0, 0, 0];
    const start = performance.now();
    const end = start + seconds * 1000;
    for (let now = start; now < end; now = performance.now()) {
      const due =
        rate === undefined ? BURST : Math.min(BURST, Math.floor(((now - start) / 1000) * rate) - sent);
      for (let i = 0; i < due; i++) {
        if (send(clients[turn], this.#payload, length, MSG_DONTWAIT) > 0) sent++;
        turn = turn + 1 === clients.length ? 0 : turn + 1;
      }
      bytes += this.#take();
    }
    const elapsed = (performance.now() - start) / 1000;
    await sleep(SETTLE_MS);
    while (this.#take() > 0);
    return { seconds: elapsed, sent: sent * length, delivered: bytes };
  }

  close(): void {
    for (const fd of [...this.#clients, this.#server]) close(fd);
  }

  /** Bytes of payload that arrived, without a copy of them. */
  #take(): number {
    let bytes = 0;
    for (;;) {
      this.#words.fill(0);
      const count = recvmmsg(this.#server, this.#messages, MESSAGES, MSG_DONTWAIT | MSG_TRUNC, null);
      for (let i = 0; i < count; i++) bytes += this.#words[(i * MMSGHDR_LEN) / 4 + MSG_LEN_WORD];
      if (count < MESSAGES) return bytes;
    }
  }
}

const open = (): number => check(socket(AF_INET, SOCK_DGRAM_NONBLOCK, 0), 'socket');
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

dieWithParent();
const ends = new Ends(JSON.parse(process.argv.at(-1) ?? '{}') as SuperInput);
process.on('message', async (shot: SuperShot) => process.send?.(await ends.shoot(shot)));
process.on('disconnect', () => process.exit(0));
await ends.converse();
process.send?.('ready');
