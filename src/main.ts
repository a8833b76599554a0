#!/usr/bin/env node
// Entry of the process: hands the arguments to the command line, which is loaded once the debugger is shut.
import { keepDebuggerShut } from './sys/debugger.ts';

keepDebuggerShut();
const { runCli } = await import('./cli/cli.ts');
// Not process.exitCode: a handle that somebody forgot to close must not keep a stopped proxy alive.
process.exit(await runCli(process.argv.slice(2)));
