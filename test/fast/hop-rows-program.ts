// A program for tests: rows of next hops in its namespace, of which it has so many. Its argument is what to
// do with them in turn: an address asks for the row of packets to it, [row, more] says that so many more
// sessions go by a row; null is a process that follows, which [row, address] has take over a row for packets
// to an address. Prints { rows }: of each that was asked for its number, -1 where there is none, and the last
// byte of the Ethernet address that it leads to, or that the row which is not taken over goes on to lead to.
import { HopRows } from '../../src/fast/hop-rows.ts';
import { Hops } from '../../src/fast/hops.ts';
import { openMaps } from '../../src/fast/maps.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { parseAddressInto } from '../../src/wire/address.ts';

const { count, steps } = JSON.parse(process.argv[2]!) as {
  count: number;
  steps: readonly (string | null | [row: number, more: number] | [row: number, address: string])[];
};
const FIRST = 1;
const maps = openMaps({ sessions: 1, hops: FIRST + count, ports: 1, workers: 1 });
const hops = new Hops(maps.fds.hops, FIRST + count);
const start = () => new HopRows(new NextHops({ nowMs: 0 }), hops, FIRST, count);
let rows = start();
const pair = new Int32Array(8);
parseAddressInto(pair, 0, '10.1.0.1');
const said: [row: number, leadsTo: number][] = [];
for (const step of steps) {
  if (step === null) rows = start();
  else if (typeof step === 'string') {
    parseAddressInto(pair, 4, step);
    const row = rows.rowOf(pair);
    said.push([row, row < 0 ? -1 : hops.get(row)!.destination[5]!]);
  } else if (typeof step[1] === 'number') rows.use(step[0], step[1]);
  else {
    const [row, address] = step;
    parseAddressInto(pair, 4, address);
    said.push([rows.takeOver(pair, row) ? row : -1, hops.get(row)!.destination[5]!]);
  }
}
process.stdout.write(`${JSON.stringify({ rows: said })}\n`);
process.exit(0);
