// A program for tests: keeps NextHops in its namespace and prints { ready }. Answers a line { find, nowMs } with { found },
// one per address, after it took in what the kernel announced; { watch } with { readable } once the descriptor is; { send }
// with { sent }, when the IP layer was given these packets, in hexadecimal digits. Stops when its input ends.
import { createInterface } from 'node:readline';
import koffi from 'koffi';
import { IO_COUNTERS, SIDE } from '../../src/io/packet-io.ts';
import { RawSender } from '../../src/io/raw-sender.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { Paths } from '../../src/route/paths.ts';
import { openRawSocket } from '../../src/sys/raw-socket.ts';
import { parseAddressInto } from '../../src/wire/address.ts';
import { Frame } from '../../src/wire/frame.ts';

export interface Question {
  find?: string[];
  watch?: true;
  send?: string[];
  /** How often to look for each address; the last answer counts. 1 if not said. */
  times?: number;
  /** How often to take in what the kernel announced; if not said, until there is nothing any more. */
  updates?: number;
  /** Look for the ports and MTUs towards these. */
  paths?: string[];
  nowMs: number;
}
export interface Towards {
  /** Name of the interface; '': none of the ports. */
  port: string;
  mtu: number;
}
export interface Hop {
  device: number;
  dst: string;
  src: string;
  mtu: number;
}
export interface Answer {
  hops: (Hop | null)[];
  reason: string;
  paths: Towards[];
  leastMtu: number;
}

const ENOUGH_UPDATES = 2_000;
const ETHERTYPE = 0x86dd;
const options = JSON.parse(process.argv[2]!) as { maxRoutes?: number; ports?: string[] };
const hops = new NextHops({ nowMs: 0, ...options });
const ports = (options.ports ?? []).map((name) => ({
  name,
  side: SIDE.both,
  mtu: 0,
  mac: '',
  loopback: false,
}));
const paths = new Paths(hops, ports);
const sender = new RawSender(openRawSocket, hops, new Float64Array(IO_COUNTERS.length), 0);
const words = new Int32Array(4);
const view = new DataView(new ArrayBuffer(32));
const macAt = (off: number) =>
  Buffer.from(view.buffer, off, 6)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const question = JSON.parse(line) as Question;
    const { find = [], watch, send, times = 1, updates = ENOUGH_UPDATES, nowMs } = question;
    if (watch) {
      const poll = koffi.node.poll(hops.fd, { readable: true }, () => {
        poll.close();
        console.log(JSON.stringify({ readable: true }));
      });
      return;
    }
    if (send) {
      const sent = send.map((hex) =>
        sender.send(new Frame(Buffer.from(hex, 'hex')), 0, hex.length / 2, nowMs),
      );
      console.log(JSON.stringify({ sent }));
      return;
    }
    for (let left = updates; left > 0; left--) hops.update(nowMs);
    const found: Answer = {
      hops: find.map((ip) => hopTo(ip, nowMs, times)),
      reason: hops.reasons().join('; '),
      paths: (question.paths ?? []).map((ip) => pathTo(ip, times)),
      leastMtu: paths.leastMtu,
    };
    console.log(JSON.stringify({ found }));
  })
  .on('close', () => {
    sender.close();
    hops.close();
    process.exit(0);
  });
console.log(JSON.stringify({ ready: true }));

function pathTo(ip: string, times: number): Towards {
  parseAddressInto(words, 0, ip);
  let mtu = 0;
  for (let left = times; left > 0; left--) mtu = paths.mtuTowards(words, 0);
  return { port: ports[paths.portTowards(words, 0)]?.name ?? '', mtu };
}

function hopTo(ip: string, nowMs: number, times: number): Hop | null {
  parseAddressInto(words, 0, ip);
  let hop = -1;
  for (let left = times; left > 0; left--) hop = hops.find(words, 0, nowMs);
  if (hop < 0) return null;
  hops.writeHeader(hop, view, 16, ETHERTYPE);
  if (view.getUint16(14) !== ETHERTYPE) throw new Error('no ethertype');
  return { device: hops.interfaceIndexOf(hop), dst: macAt(2), src: macAt(8), mtu: hops.mtuOf(hop) };
}
