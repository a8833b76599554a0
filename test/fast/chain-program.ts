// A program for tests: a tc program in front of all others of an interface of its namespace, which ends the
// chain, until its input closes. Prints { attached }.
import { attachFilter, attachTcx, detachFilter } from '../../src/sys/bpf-attachment.ts';
import { loadObject } from '../../src/sys/libbpf.ts';
import { interfaceIndex } from '../../src/sys/packet-socket.ts';

const index = interfaceIndex(process.argv[2]!);
const program = loadObject(new URL('./ends-chain.bpf.o', import.meta.url)).programFd('ends_chain');
const place = { interfaceIndex: index, priority: 1, handle: 1 };
let isFilter = false;
try {
  attachTcx(program, index);
} catch {
  attachFilter(program, place); // before Linux 6.6
  isFilter = true;
}
console.log(JSON.stringify({ event: 'attached' }));
process.stdin.resume().on('end', () => {
  if (isFilter) detachFilter(place);
  process.exit(0);
});
