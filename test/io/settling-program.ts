// A program for tests: gathers IPv4 packets, given as hexadecimal digits, and sends them at layer 2. Prints
// what each was (gathered), and how many the counter of sent packets said, each time that one was settled
// (sent).
import { IO_COLUMN, IO_COUNTERS } from '../../src/io/packet-io.ts';
import { RawSender } from '../../src/io/raw-sender.ts';
import { RingSender } from '../../src/io/ring-sender.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { openRawSocket } from '../../src/sys/raw-socket.ts';
import { Frame } from '../../src/wire/frame.ts';

const { packets } = JSON.parse(process.argv[2]) as { packets: string[] };
const counters = new Float64Array(IO_COUNTERS.length);
const sent: number[] = [];
const hops = new NextHops({ nowMs: 0 });
const raw = new RawSender(openRawSocket, hops, counters, 0);
const sender = new RingSender(hops, raw, 1 << 20, counters, 0, () => sent.push(counters[IO_COLUMN.sent]));
sender.startPacket(0);
const sendings = packets.map((hex) => sender.send(new Frame(Buffer.from(hex, 'hex')), 0, hex.length / 2));
sender.flush();
sender.close();
console.log(JSON.stringify({ sendings }));
console.log(JSON.stringify({ sent }));
