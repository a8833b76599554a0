// A program for tests: keeps its debugger shut, and says at the end of its input whether one can come in.
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { debuggerAddress, keepDebuggerShut } from '../../src/sys/debugger.ts';

keepDebuggerShut();
await sleep(100);
console.log('ready');
await text(process.stdin);
console.log(debuggerAddress() ?? 'no debugger');
process.exit(0);
