// A program for tests: opens one capture in its namespace, with a filter of so many terms, prints { ready }
// and ends.
import { openCapture } from '../../src/io/cap-package.ts';
import { compileFilter } from '../../src/io/capture-program.ts';

const { device, terms } = JSON.parse(process.argv[2]) as { device: string; terms: number };
const text = Array.from(
  { length: terms },
  (_, index) => `(dst host 10.3.${index >> 8}.${index & 255} and udp dst port ${index + 1})`,
).join(' or ');
const port = { name: device, side: 3, mtu: 1500, mac: '02:00:00:00:00:01', loopback: false };
const filter = compileFilter(port, text);
const capture = openCapture(device, filter, 1 << 20, Buffer.alloc(65_536), () => {});
console.log(JSON.stringify({ ready: capture.linkHeaderLen }));
capture.close();
