// `uoa-proxy receiver`: its arguments, and those of `status` and `detach`. What they do is in receiver.ts,
// which is loaded when one is chosen.
import type { Argv } from 'yargs';
import { printing } from './printing.ts';

const EPILOGUE = `Its programs stay at work when it ends, so that it can be started again, also by another version, without a client noticing: uoa-proxy receiver detach takes them off.

The config is reloaded when the file changes and on SIGHUP. SIGTERM, SIGINT and SIGQUIT end it.

Exit codes: 0 after these signals; 1 it cannot start.`;

const DETACH_EPILOGUE = `Exit codes: 0 nothing is left; 1 a receiver serves it: stop that first.`;

const TABLE_ROWS = 50;

type Choose = (command: () => number | Promise<number>) => void;

export const withReceiver = (command: Argv, choose: Choose): Argv =>
  command
    .command(
      '$0',
      'Serve cgroups until SIGTERM or SIGINT',
      (run) =>
        run
          // Each --from and --cgroup counts; other options stand once.
          .parserConfiguration({ 'duplicate-arguments-array': true, 'boolean-negation': false })
          .option('from', {
            type: 'string',
            array: true,
            requiresArg: true,
            describe: 'LIPs of the proxies, addresses or prefixes',
          })
          .option('cgroup', {
            type: 'string',
            array: true,
            requiresArg: true,
            describe: 'Paths of cgroups (version 2) whose programs see their clients',
          })
          .option('self', { type: 'boolean', describe: 'The cgroup that it is started in' })
          .option('max-clients', {
            type: 'number',
            requiresArg: true,
            describe: 'Most clients of a cgroup at a time; 262144 by default',
          })
          .option('idle', {
            type: 'string',
            requiresArg: true,
            describe: 'A client is forgotten when unused for so long; 360s by default',
          })
          .option('listen', {
            type: 'string',
            requiresArg: true,
            describe: 'Where /metrics and /healthz are; 127.0.0.1:9465 by default',
          })
          .option('config', {
            type: 'string',
            alias: 'c',
            requiresArg: true,
            conflicts: ['from', 'cgroup', 'self', 'max-clients', 'idle', 'listen'],
            describe: 'All this in a YAML file',
          })
          .check((given) => {
            for (const name of ['max-clients', 'idle', 'listen', 'config', 'self'])
              if (Array.isArray(given[name])) throw new Error(`--${name} stands more than once`);
            return true;
          })
          .example('$0 receiver --from 10.2.0.200 --cgroup /sys/fs/cgroup/system.slice/game.service', '')
          .example('$0 receiver --config /etc/uoa-receiver.yaml', '')
          .epilogue(EPILOGUE),
      ({ config, from, cgroup, self, maxClients, idle, listen }) =>
        choose(async () =>
          (await import('./receiver.ts')).runReceiver(
            config ?? { from, cgroup, self, maxClients, idle, listen },
          ),
        ),
    )
    .command(
      'status',
      'Show what receivers have at work here, and whom programs see',
      (status) =>
        status
          .option('json', { type: 'boolean', default: false, describe: 'Print it as JSON' })
          .option('limit', {
            type: 'number',
            default: TABLE_ROWS,
            requiresArg: true,
            describe: 'Clients of a cgroup that are listed',
          })
          .check(({ limit }) => {
            if (!(Number.isInteger(limit) && limit >= 0))
              throw new Error('--limit must be an integer from 0');
            return true;
          })
          .example('$0 receiver status --json --limit 1000000', ''),
      (options) =>
        choose(() => printing(async () => (await import('./receiver.ts')).printReceiverStatus(options))),
    )
    .command(
      'detach',
      'Take the programs of receivers that ended off their cgroups',
      (detach) =>
        detach
          .option('cgroup', { type: 'string', requiresArg: true, describe: 'Only that one' })
          .example('$0 receiver detach', 'As root')
          .epilogue(DETACH_EPILOGUE),
      ({ cgroup }) =>
        choose(() => printing(async () => (await import('./receiver.ts')).detachReceivers(cgroup))),
    );
