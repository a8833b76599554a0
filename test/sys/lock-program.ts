// A program for tests: takes a lock, says whether it has it, and keeps it until its input ends.
import { lockFile } from '../../src/sys/file-lock.ts';

console.log(lockFile(process.argv[2]) === undefined ? 'refused' : 'locked');
process.stdin.resume().once('end', () => process.exit(0));
