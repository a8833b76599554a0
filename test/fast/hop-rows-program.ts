// A program for tests: rows of next hops in its namespace, of which it has so many. Its argument is what to
// do with them in turn: an address asks for the row of packets to it, [row, more] says that so many more
// sessions go by a row. Prints { rows }: of each that was asked for its number, and the last byte of the
// Ethernet address that it leads to.
import { HopRows } from '../../src/fast/hop-rows.ts';
import { Hops } from '../../src/fast/hops.ts';
import { openMaps } from '../../src/fast/maps.ts';
import { NextHops } from '../../src/route/next-hop.ts';
import { parseAddressInto } from '../../src/wire/address.ts';

const { count, steps } = JSON.parse(process.argv[2]!) as {
  count: number;
  steps: readonly (string | [row: number, more: number])[];
};
const FIRST = 1;
const maps = openMaps({ sessions: 1, hops: FIRST + count, ports: 1, workers: 1 });
const hops = new Hops(maps.fds.hops, FIRST + count);
const rows = new HopRows(new NextHops({ nowMs: 0 }), hops, FIRST, count);
const pair = new Int32Array(8);
parseAddressInto(pair, 0, '10.1.0.1');
const said: [row: number, leadsTo: number][] = [];
for (const step of steps) {
  if (typeof step !== 'string') {
    rows.use(...step);
    continue;
  }
  parseAddressInto(pair, 4, step);
  const row = rows.rowOf(pair);
  said.push([row, row < 0 ? -1 : hops.get(row)!.destination[5]!]);
}
process.stdout.write(`${JSON.stringify({ rows: said })}\n`);
process.exit(0);
