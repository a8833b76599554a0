// A program for tests: holds a guard in its namespace. Prints { ready: table }, { lost } for each message about a loss,
// and removes the guard when its input ends.
import { type GuardSpec, installGuard } from '../../src/io/guard.ts';

const spec = JSON.parse(process.argv[2]!) as GuardSpec;
const guard = await installGuard(spec, (lost) => console.log(JSON.stringify({ lost })));
console.log(JSON.stringify({ ready: guard.table }));
process.stdin.resume().once('end', () => void guard.remove());
