// A program for tests: kills the process of the identity that its argument is, and prints what came of it.
import { killProcess } from '../../src/control/process-identity.ts';

console.log(JSON.stringify(killProcess(JSON.parse(process.argv[2]!))));
