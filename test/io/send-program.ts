// A program for tests: sends whole IPv4 packets, given as hexadecimal digits, through the raw socket of packet I/O.
// Prints { sent }.
import { IO_COUNTERS } from '../../src/io/packet-io.ts';
import { RawSender } from '../../src/io/raw-sender.ts';
import { Frame } from '../../src/wire/frame.ts';

const { packets } = JSON.parse(process.argv[2]!) as { packets: string[] };
const sender = new RawSender(1 << 20, new Float64Array(IO_COUNTERS.length), 0);
const sent = packets.map((hex) => sender.send(new Frame(Buffer.from(hex, 'hex')), 0, hex.length / 2));
sender.close();
console.log(JSON.stringify({ sent }));
