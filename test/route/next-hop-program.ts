// A program for tests: keeps NextHops in its namespace and prints { ready }. Answers a line { find, nowMs }
// with { found }, one per address, after it took in what the kernel announced; { watch } with { readable }
// once the descriptor is; { send } with { sent }, when the IP layer was given these packets, in hexadecimal
// digits. Stops when its input ends.
import { createInterface } from 'node:readline';
import koffi from 'koffi';
import { IO_COUNTERS, SIDE } from '../../src/io/packet-io.ts';
import { RawSender } from '../../src/io/raw-sender.ts';
import type { Neighbor } from '../../src/route/neighbors.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { Paths } from '../../src/route/paths.ts';
import { RouteQuery } from '../../src/route/route-query.ts';
import { openRawSocket } from '../../src/sys/raw-socket.ts';
import { parseAddressInto } from '../../src/wire/address.ts';
import { Frame } from '../../src/wire/frame.ts';

export interface Question {
  find?: string[];
  /** Whom packets are from; if not said, 192.0.2.1 and 2001:db8:ffff::1. */
  from?: string | undefined;
  watch?: true;
  send?: string[];
  /** How often to look for each address; the last answer counts. 1 if not said. */
  times?: number;
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
  /** How often the kernel was asked about a route so far. */
  asked: number;
  /** What the operator was told so far. */
  told: string[];
  paths: Towards[];
  leastMtu: number;
  isBySource: boolean;
}

const ENOUGH_UPDATES = 2_000;
/** After so many milliseconds a change counts. */
const GATHERED_MS = 200;
const ETHERTYPE = 0x86dd;
const options = JSON.parse(process.argv[2]) as { maxPrefixes?: number; ports?: string[] };
const told: string[] = [];
let asked = 0;
const { ask, askTable } = RouteQuery.prototype;
RouteQuery.prototype.ask = function (...question) {
  asked++;
  return ask.apply(this, question);
};
RouteQuery.prototype.askTable = function (...question) {
  asked++;
  return askTable.apply(this, question);
};
const hops = new NextHops({ nowMs: 0, ...options, onIpLayer: (message) => told.push(message) });
const ports = (options.ports ?? []).map((name) => ({
  name,
  side: SIDE.both,
  mtu: 0,
  mac: '',
  loopback: false,
}));
const paths = new Paths(hops, ports);
const sender = new RawSender(openRawSocket, hops, new Float64Array(IO_COUNTERS.length), 0);
/** Source and destination. */
const pair = new Int32Array(8);
const view = new DataView(new ArrayBuffer(32));
const macAt = (off: number) =>
  Buffer.from(view.buffer, off, 6)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const question = JSON.parse(line) as Question;
    const { find = [], from, watch, send, times = 1, nowMs } = question;
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
    for (let left = ENOUGH_UPDATES; left > 0; left--) hops.update((nowMs - GATHERED_MS) | 0);
    hops.update(nowMs);
    const found: Answer = {
      hops: find.map((ip) => hopTo(ip, from, nowMs, times)),
      asked,
      told,
      paths: (question.paths ?? []).map((ip) => pathTo(ip, from, times)),
      leastMtu: paths.leastMtu,
      isBySource: hops.isBySource,
    };
    console.log(JSON.stringify({ found }));
  })
  .on('close', () => {
    sender.close();
    hops.close();
    process.exit(0);
  });
console.log(JSON.stringify({ ready: true }));

function setPair(to: string, from: string | undefined): void {
  parseAddressInto(pair, 0, from ?? (to.includes(':') ? '2001:db8:ffff::1' : '192.0.2.1'));
  parseAddressInto(pair, 4, to);
}

function pathTo(ip: string, from: string | undefined, times: number): Towards {
  setPair(ip, from);
  let mtu = 0;
  for (let left = times; left > 0; left--) mtu = paths.mtuTowards(pair, 4, pair, 0);
  return { port: ports[paths.portTowards(pair, 4, pair, 0)]?.name ?? '', mtu };
}

function hopTo(ip: string, from: string | undefined, nowMs: number, times: number): Hop | null {
  setPair(ip, from);
  let hop: Neighbor | undefined;
  for (let left = times; left > 0; left--) hop = hops.find(pair, nowMs);
  if (hop === undefined) return null;
  hop.writeHeader(view, 16, ETHERTYPE);
  if (view.getUint16(14) !== ETHERTYPE) throw new Error('no ethertype');
  return { device: hop.interfaceIndex, dst: macAt(2), src: macAt(8), mtu: hop.link.mtu };
}
