// The command line: arguments -> one command -> exit code. Prints what went wrong, without a stack trace
// where the operator can do something about it.
import yargs, { type Argv } from 'yargs';
import { ConfigError, formatProblem } from '../config/problem.ts';
import { dialectRefusal, FAMILY_NAMES, LAB_DIALECT, LAB_DIALECTS } from '../lab/family.ts';
import { packageVersion } from '../version.ts';
import { COMPLETE, complete, printCompletion, SHELLS } from './completion.ts';
import { withCtl, withTop } from './ctl-commands.ts';
import { clearFastPath, withFastPath } from './fast-path.ts';
import { lab } from './lab.ts';
import { printing } from './printing.ts';
import { withReceiver } from './receiver-command.ts';
import { sniff, withSniffOptions } from './sniff.ts';
import { top } from './top.ts';

const COLUMNS = 80;
const COMMANDS = [
  'run',
  'check',
  'ctl',
  'top',
  'sniff',
  'fast-path',
  'receiver',
  'lab',
  'completion',
] as const;

const RUN_EPILOGUE = `The config is reloaded when the file changes, on SIGHUP (on a terminal that ends the proxy) and by uoa-proxy ctl reload. What a reload cannot change is said in the log.

SIGTERM, SIGINT and SIGQUIT end it for good. SIGUSR2 ends it for a restart: the kernel goes on with sessions in the fast path until another process takes over, for 30 s at most.

Exit codes: 0 after these signals; 10 after a drain; 11 when another process took over; 1 it cannot start or go on; 130 after a second signal.`;

type Command = () => number | Promise<number>;

/** Runs one command; `argv` is without the program's name. Resolves with the exit code. */
export async function runCli(argv: readonly string[]): Promise<number> {
  let command: Command | undefined;
  const parserOf = (args: readonly string[]) =>
    defineCommands(args, (chosen) => {
      command = chosen;
    });
  if (argv[0] === COMPLETE) {
    process.stdout.write((await complete(parserOf, argv.slice(1))).map((word) => `${word}\n`).join(''));
    return 0;
  }
  let failure: Error | undefined;
  let help = '';
  await parserOf(argv).parse([...argv], {}, (error, _parsed, output) => {
    failure = error;
    help = output;
  });
  if (failure) {
    const of = COMMANDS.find((name) => name === argv[0]);
    const help = of === undefined ? 'uoa-proxy --help' : `uoa-proxy ${of} --help`;
    process.stderr.write(`uoa-proxy: ${sentence(failure.message)}\nTry: ${help}\n`);
    return 1;
  }
  if (command === undefined) {
    process.stdout.write(`${help}\n`);
    return 0;
  }
  try {
    return await command();
  } catch (error) {
    process.stderr.write(describeFailure(error));
    return 1;
  }
}

/** Commands that read a config are loaded when they are chosen: the others start in half the time without. */
function defineCommands(argv: readonly string[], choose: (command: Command) => void): Argv {
  const choosePrinting = (command: Command): void => choose(() => printing(command));
  return yargs([...argv])
    .scriptName('uoa-proxy')
    .usage(
      '$0 <command> [options]\n\nUDP FullNAT load balancer that tells real servers the client address (UOA).',
    )
    .command(
      'run',
      'Run the proxy until SIGTERM or SIGINT',
      (command) =>
        withConfig(command)
          .option('takeover', {
            type: 'boolean',
            default: false,
            describe: 'Take over from the proxy of this config that runs',
          })
          .example('$0 run --config /etc/uoa-proxy.yaml', '')
          .epilogue(RUN_EPILOGUE),
      ({ config, takeover }) => choose(async () => (await import('./run.ts')).run(config, { takeover })),
    )
    .command(
      'check',
      'Check a config and list every problem in it',
      (command) =>
        withConfig(command)
          .option('json', { type: 'boolean', default: false, describe: 'Print the answer as JSON' })
          .example('$0 check --config /etc/uoa-proxy.yaml', '')
          .example('$0 check --json -c proxy.yaml', 'Every problem: path, line, message'),
      (options) => choosePrinting(async () => (await import('./check.ts')).check(options.config, options)),
    )
    .command(
      'lab',
      'Show it at work in network namespaces of its own (as root)',
      (command) =>
        command
          .option('once', { type: 'boolean', default: false, describe: 'Send, print the table and end' })
          .option('clients', { type: 'number', default: 3, requiresArg: true, describe: 'Clients, 1 to 200' })
          .option('servers', {
            type: 'number',
            default: 2,
            requiresArg: true,
            describe: 'Real servers, 1 to 50',
          })
          .option('dialect', {
            choices: LAB_DIALECTS,
            default: LAB_DIALECT,
            describe: 'UOA dialect',
          })
          .option('family', {
            type: 'string',
            choices: FAMILY_NAMES,
            default: '4' as const,
            requiresArg: true,
            describe: 'IP version; nat64: IPv6 clients, IPv4 servers',
          })
          .option('verbose', { type: 'boolean', default: false, describe: 'Print what each program prints' })
          .check((options) => {
            requireInteger('clients', options.clients, 200);
            requireInteger('servers', options.servers, 50);
            const refusal = dialectRefusal(options.dialect, options.family);
            if (refusal !== undefined) throw new Error(refusal);
            return true;
          })
          .example('$0 lab --once', 'Exit 0 if nothing was lost')
          .example('$0 lab --dialect opp --clients 5', 'Stay up until Ctrl-C')
          .example('$0 lab --family 6 --dialect elb', 'All in IPv6'),
      (options) => choose(() => lab(options)),
    )
    .command(
      'sniff [filter..]',
      'Show packets with UOA, decoded, live or from a file',
      withSniffOptions,
      (options) => choosePrinting(() => sniff(options)),
    )
    .command('ctl', 'Ask a running proxy, or change it: services, sessions, drain, reload', (command) =>
      withCtl(command, choosePrinting),
    )
    .command('top', 'Watch a running proxy', withTop, (options) => choosePrinting(() => top(options)))
    .command('fast-path', 'Clear what killed proxies left in the kernel', (command) =>
      withFastPath(command, (config) => choosePrinting(() => clearFastPath(config))),
    )
    .command('receiver', 'On a real server: let its programs see their clients', (command) =>
      withReceiver(command, choose),
    )
    .command(
      'completion <shell>',
      'Print a script that completes commands in bash or zsh',
      (command) =>
        command
          .positional('shell', { choices: SHELLS, demandOption: true })
          .example('eval "$($0 completion bash)"', ''),
      ({ shell }) => choosePrinting(() => printCompletion(shell)),
    )
    .example('$0 check --config proxy.yaml', 'List every problem')
    .example('$0 run --config proxy.yaml', 'Run the proxy')
    .example('$0 lab --once', 'See it work, then end')
    .example('$0 sniff -i eth0', 'Watch UOA on the wire')
    .example('$0 ctl services', 'Real servers: state, sessions')
    .epilogue('Config keys: docs/config.md. Examples: the folder config/ of the package.')
    .version(packageVersion())
    .help()
    .demandCommand(
      1,
      1,
      `a command is needed: ${COMMANDS.slice(0, -1).join(', ')} or ${COMMANDS.at(-1)}`,
      'only one command at a time',
    )
    .strict()
    .strictCommands()
    .parserConfiguration({ 'duplicate-arguments-array': false, 'boolean-negation': false })
    .detectLocale(false)
    .showHelpOnFail(false)
    .wrap(COLUMNS)
    .exitProcess(false);
}

function withConfig(command: Argv) {
  return command.option('config', {
    type: 'string',
    alias: 'c',
    demandOption: true,
    requiresArg: true,
    describe: 'YAML file',
  });
}

function requireInteger(option: string, value: number, max: number): void {
  if (!(Number.isInteger(value) && value >= 1 && value <= max)) {
    throw new Error(`--${option} must be an integer from 1 to ${max}`);
  }
}

/** yargs puts a heading and a list into several lines; one line reads better behind the program's name. */
function sentence(message: string): string {
  return message.trim().replace(/\s*\n\s*/g, ' ');
}

function describeFailure(error: unknown): string {
  if (error instanceof ConfigError) {
    const lines = error.problems.map((problem) => `  ${formatProblem(problem)}\n`).join('');
    return `uoa-proxy: ${error.fileName} cannot be used:\n${lines}`;
  }
  if (isForOperator(error)) {
    return `uoa-proxy: ${error.message}\n${!error.hint ? '' : `Hint: ${error.hint}\n`}`;
  }
  const text = error instanceof Error ? error.stack : String(error);
  return `uoa-proxy: internal error, please report it:\n${text}\n`;
}

/** Errors that say what the operator can do carry a `hint`; a StartError's hint is optional. */
export function isForOperator(error: unknown): error is Error & { hint?: string } {
  if (!(error instanceof Error)) return false;
  return error.name === 'StartError' || ('hint' in error && typeof error.hint === 'string');
}
