// A process of several that note and find in the table at descriptor 3 at once, all clients crowded into one
// set. Says how often it found a real server, and each that nobody noted for that client. Arguments: which
// one it is, and of how many.
import { Persistence } from '../../src/service/persistence.ts';
import { mapSharedMemory } from '../../src/sys/shared-memory.ts';

const CLIENTS = 6;
const ROUNDS = 300_000;
/** Real server of a client: client * PER_CLIENT and more, so that it tells the client. */
const PER_CLIENT = 100;
const START_WITHIN_MS = 60_000;

const [number, processes] = process.argv.slice(2).map(Number) as [number, number];
const tableWords = Persistence.words(1);
const words = new Int32Array(mapSharedMemory(3, (tableWords + 1) * Int32Array.BYTES_PER_ELEMENT));
const persistence = new Persistence(words.subarray(0, tableWords), [1, 2]);
const address = Int32Array.of(0, 0, 0xffff, 0);
const wrong: string[] = [];
let found = 0;

/** All begin at once, or they would not meet: the word after the table counts who is there. */
Atomics.add(words, tableWords, 1);
const giveUp = performance.now() + START_WITHIN_MS;
while (Atomics.load(words, tableWords) < processes)
  if (performance.now() > giveUp) throw new Error(`not all of ${processes} processes started`);

for (let round = 0; round < ROUNDS; round++) {
  const noted = (round * 7 + number) % CLIENTS;
  address.fill(noted);
  persistence.note(address, 0, 1, noted * PER_CLIENT + (round % PER_CLIENT), round);
  const asked = (round * 5 + number) % CLIENTS;
  address.fill(asked);
  const realServer = persistence.find(address, 0, 1, 2 ** 32, round);
  if (realServer < 0) continue;
  found++;
  if (Math.floor(realServer / PER_CLIENT) !== asked) wrong.push(`${asked} found ${realServer}`);
}
console.log(JSON.stringify({ wrong, found }));
