// A program for tests: opens rings of two workers on an interface of its namespace with this steering program, puts it in its
// own place, prints { complaints } and ends.
import { compileFilter } from '../../src/io/capture-program.ts';
import { openRings } from '../../src/io/ring-sockets.ts';

const { device, instructions } = JSON.parse(process.argv[2]!) as { device: string; instructions: number };
const port = { name: device, side: 3, mtu: 1500, mac: '02:00:00:00:00:01', loopback: false };
const program = compileFilter(port, 'udp');
const filters = [{ coarseText: 'udp', coarse: program, program }];
/** Each instruction: BPF_RET | BPF_K, 0. */
const steering = [new Uint8Array(8 * instructions).fill(0).map((_, at) => (at % 8 === 0 ? 6 : 0))];
const complaints: string[] = [];
const rings = openRings({
  ports: [port],
  filters,
  bufferSize: 1 << 20,
  workers: 2,
  steering,
  known: undefined,
  onComplaint: (message) => complaints.push(message),
});
rings.start();
rings.change(filters, steering);
console.log(JSON.stringify({ complaints }));
rings.close();
