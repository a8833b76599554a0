#!/usr/bin/env node
// Entry of the process: hands the arguments to the command line.
import { runCli } from './cli/cli.ts';

// Not process.exitCode: a handle that somebody forgot to close must not keep a stopped proxy alive.
process.exit(await runCli(process.argv.slice(2)));
