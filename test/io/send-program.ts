// A program for tests: sends whole IPv4 packets, given as hexadecimal digits, through the raw socket of
// packet I/O. Prints { sent }.

import { IO_COUNTERS } from '../../src/io/packet-io.ts';
import { RawSender } from '../../src/io/raw-sender.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { openRawSocket } from '../../src/sys/raw-socket.ts';
import { Frame } from '../../src/wire/frame.ts';

const { packets } = JSON.parse(process.argv[2]) as { packets: string[] };
const hops = new NextHops({ nowMs: 0 });
const sender = new RawSender(openRawSocket, hops, new Float64Array(IO_COUNTERS.length), 0);
const sent = packets.map((hex) => sender.send(new Frame(Buffer.from(hex, 'hex')), 0, hex.length / 2, 0));
sender.close();
console.log(JSON.stringify({ sent }));
