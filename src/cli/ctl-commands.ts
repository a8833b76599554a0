// The arguments of `ctl` and `top`, and their help, which reads like a manual page.
import type { Argv } from 'yargs';
import { SOCKET_FOLDER } from '../config/admin-socket.ts';
import {
  ctlDrain,
  ctlFastPath,
  ctlProbe,
  ctlReload,
  ctlServer,
  ctlServices,
  ctlSessions,
  ctlStats,
  type ServerAction,
} from './ctl.ts';
import { DEFAULT_ADMIN } from './ctl-target.ts';

type Choose = (command: () => Promise<number>) => void;

const EPILOGUE = `A service is called as in its config (name, or VIP:PORT without one), a real server IP:PORT or [IP]:PORT; quote brackets in zsh.

Exit codes: 0 it is done; 1 it is not, and standard error says why.

Changes last until the proxy ends, those of real servers over a restart where there is a sessions.stateFile; the config file is never written. All of it is described in docs/ctl.md.`;

const COLUMNS = `WEIGHT: share of new sessions; 0/100 is 0 now, 100 in the config. A fallback has 0 until it is needed.

STATE: up; down by its checks or its traffic; drained by an operator; removed from the config, its sessions go on for drainTimeout. A line below says since when and why.

ACTIVE, INACTIVE: sessions that the real server has answered, and has not. IN/s, OUT/s: packets per second sent to it, and of it sent on to clients. 12.3k is 12,300.`;

const SERVICES_EPILOGUE = `${COLUMNS}

The rates are of one second, for which it waits.

Exit codes: 0 it was shown, whatever the states; 1 the proxy cannot be asked, and standard error says why.`;

const TOP_EPILOGUE = `${COLUMNS}

SENT ON: how many of the packets went on. drops: by reason, see docs/operations.md. lost: before the proxy saw them, or refused by the kernel. All rates are of the second before.

Exit codes: 0 ended by q, Ctrl-C or a signal, or after --once; 1 the proxy cannot be asked at the start, and standard error says why.`;

export function withCtl(command: Argv, choose: Choose) {
  return withTarget(command)
    .usage(
      '$0 ctl [options] <command>\n\nAsk a running proxy, and change it while it runs, over its admin HTTP.',
    )
    .option('json', { type: 'boolean', default: false, describe: 'Print the answer as JSON' })
    .command(
      'services',
      'Services and their real servers: state, sessions, packets/s',
      (own) =>
        own
          .option('no-rate', {
            type: 'boolean',
            default: false,
            describe: 'Answer at once, without packets/s, which take a second',
          })
          .example('$0 ctl services', '')
          .example('$0 ctl services --json', 'Every counter')
          .epilogue(SERVICES_EPILOGUE),
      (options) => choose(() => ctlServices({ ...options, rate: !options.noRate })),
    )
    .command(
      'sessions',
      'Sessions: client, real server, state, idle time, UOA, fast path',
      (own) =>
        own
          .option('client', { ...text, describe: 'Only of this client: IP or IP:PORT' })
          .option('rs', { ...text, describe: 'Only to this real server: IP or IP:PORT' })
          .option('lip', { ...text, describe: 'Only from this LIP: IP or IP:LPORT' })
          .option('service', { ...text, describe: 'Only of this service' })
          .option('state', {
            choices: ['oneway', 'normal'] as const,
            requiresArg: true,
            describe: 'Only those not answered yet, or answered',
          })
          .option('limit', { ...text, describe: 'Show at most so many, 1 to 1000 [100]' })
          .option('offset', { ...text, describe: 'Leave out so many before' })
          .example('$0 ctl sessions --client 198.51.100.7', '')
          .example('$0 ctl sessions --lip 10.2.0.200:1031', 'Who a real server sees there')
          .example('$0 ctl sessions --state oneway', 'Who waits for an answer'),
      (options) => choose(() => ctlSessions(options)),
    )
    .command(
      'stats',
      'Counters and drops by reason, without those that are 0',
      (own) => own.example('$0 ctl stats', '').example('$0 ctl stats --json', 'The zeros too'),
      (options) => choose(() => ctlStats(options)),
    )
    .command(
      'server',
      'Drain, enable, give a weight to one real server, tell it of its clients again',
      (own) => withServerActions(own, choose),
      () => {},
    )
    .command(
      'probe <service> <rs>',
      'Ask a real server with and without UOA: does it come through?',
      withProbeOptions,
      (options) => choose(() => ctlProbe(options)),
    )
    .command(
      'fast-path',
      'Switch the kernel fast path off or on',
      (own) => withFastPathSwitch(own, choose),
      () => {},
    )
    .command(
      'reload',
      'Read the config file again',
      (own) => own.example('$0 ctl reload', 'Prints what changed; exit code 1 if it cannot be used'),
      (options) => choose(() => ctlReload(options)),
    )
    .command('drain', 'Take no new sessions; end when there are none left', withDrainOptions, (options) =>
      choose(() => ctlDrain({ ...options, wait: !options.noWait })),
    )
    .example('$0 ctl services', 'What ipvsadm -ln shows')
    .example('$0 ctl server drain game 10.2.0.11:6000', '')
    .example('$0 ctl --config proxy.yaml reload', 'Socket, or address and token, as there')
    .epilogue(EPILOGUE)
    .demandCommand(
      1,
      1,
      'ctl needs a command: services, sessions, stats, server, probe, fast-path, reload or drain',
      'only one command at a time',
    );
}

function withProbeOptions(own: Argv<CtlArguments>) {
  return own
    .positional('service', { type: 'string', demandOption: true, describe: 'Its service' })
    .positional('rs', { type: 'string', demandOption: true, describe: 'IP:PORT' })
    .option('send', { ...text, describe: 'What it answers: text, or hex:00ff [health.send, else a text]' })
    .option('timeout', { ...text, describe: 'Wait so long for answers, at most 8s [1s]' })
    .example('$0 ctl probe game 10.2.0.11:6000', '')
    .example('$0 ctl probe game 10.2.0.11:6000 --send hex:ffffffff54', 'What this server answers')
    .epilogue(`A datagram without UOA and one with it go to its health.port (type udp), else its own port, from one of its LIPs, as clients' datagrams do; each up to three times while nothing comes back. Some networks drop packets with IP options: then only the first is answered, and sessions lose the datagrams that bring the UOA.

Exit codes: 0 packets with UOA come through; 1 they do not, or it cannot be told, or the proxy cannot be asked.`);
}

function withDrainOptions(own: Argv<CtlArguments>) {
  return own
    .option('timeout', { ...text, describe: 'End after this long in any case, as 90s [5m]' })
    .option('no-wait', { type: 'boolean', default: false, describe: 'Return at once' })
    .option('cancel', { type: 'boolean', default: false, describe: 'Take it back: new sessions again' })
    .check(({ cancel, timeout, noWait }) => {
      if (cancel && (timeout !== undefined || noWait))
        throw new Error('--cancel goes with neither --timeout nor --no-wait');
      return true;
    })
    .example('$0 ctl drain --timeout 10m', 'Returns when the proxy is gone')
    .example('$0 ctl drain --cancel', '')
    .epilogue(`Waits until the proxy is gone, and says now and then how many sessions are left. To end the waiting ends no drain. A second drain with --timeout sets another deadline; one without only waits.

Exit codes: 0 the proxy is gone; 1 the drain was taken back, or the proxy cannot be asked, and standard error says why.`);
}

function withFastPathSwitch(command: Argv<CtlArguments>, choose: Choose) {
  const one = (action: 'off' | 'on', describe: string) =>
    command.command(
      `${action} [service]`,
      describe,
      (own) =>
        own
          .positional('service', { type: 'string', describe: 'Only of this service [all]' })
          .example(`$0 ctl fast-path ${action} game`, '')
          .example(`$0 ctl fast-path ${action}`, 'Of all services'),
      (options) => choose(() => ctlFastPath(action === 'on', options)),
    );
  one('off', 'All packets go by the datapath, within a second');
  one('on', 'Take that back: busy sessions go by the kernel');
  return command
    .usage('$0 ctl fast-path <action> [service]')
    .epilogue(
      `What goes by the fast path at XDP is seen by neither tcpdump nor sniff: switch it off to look at a service. Nothing is lost by it but speed. It lasts until "on", also over a reload and a takeover, with sessions.stateFile over restarts; "ctl services" says of whom it is off.

Exit codes: 0 it is done; 1 it is not, and standard error says why.`,
    )
    .demandCommand(1, 1, 'fast-path needs an action: off or on', 'only one action at a time');
}

function withServerActions(command: Argv<CtlArguments>, choose: Choose) {
  const one = (action: ServerAction, describe: string, example: string) =>
    command.command(
      `${action} <service> <rs>${action === 'weight' ? ' <weight>' : ''}`,
      describe,
      (own) => {
        const named = own
          .positional('service', { type: 'string', demandOption: true, describe: 'Its service' })
          .positional('rs', { type: 'string', demandOption: true, describe: 'IP:PORT' })
          .example(`$0 ctl server ${action} ${example}`, '');
        return action === 'weight'
          ? named
              .positional('weight', { type: 'number', demandOption: true, describe: '0 to 65535' })
              .check(({ weight }) => {
                if (Number.isInteger(weight) && weight >= 0 && weight <= 65_535) return true;
                throw new Error('the weight must be an integer from 0 to 65535');
              })
          : named;
      },
      (options) =>
        choose(() =>
          ctlServer(action, options, 'weight' in options ? (options.weight as number) : undefined),
        ),
    );
  one('drain', 'No new sessions; those that it has go on', 'game 10.2.0.11:6000');
  one('enable', 'Take back drain and weight', 'game 10.2.0.11:6000');
  one('weight', 'Its share of new sessions', 'game 10.2.0.11:6000 50');
  one('announce', 'Tell it of the clients of its sessions again (UOA)', 'game 10.2.0.11:6000');
  return command
    .usage('$0 ctl server <action> <service> <rs>')
    .epilogue(EPILOGUE)
    .demandCommand(
      1,
      1,
      'server needs an action: drain, enable, weight or announce',
      'only one action at a time',
    );
}

export function withTop(command: Argv) {
  return withTarget(command)
    .usage(
      '$0 top [options]\n\nWatch a running proxy: traffic, sessions, UOA, drops and every real server, once a second. Arrow keys scroll, q ends.',
    )
    .option('once', { type: 'boolean', default: false, describe: 'Print one frame, after a second, and end' })
    .option('json', { type: 'boolean', default: false, describe: 'One JSON object per second and line' })
    .example('$0 top', 'Until q or Ctrl-C')
    .example('$0 top --once', 'For a report')
    .example('$0 top --json', 'For a script, until it ends')
    .epilogue(TOP_EPILOGUE);
}

type CtlArguments = {
  admin: string | undefined;
  'token-file': string | undefined;
  config: string | undefined;
  json: boolean;
};

const text = { type: 'string', requiresArg: true } as const;

function withTarget(command: Argv) {
  return command
    .option('admin', {
      ...text,
      describe: `Its admin.listen or admin.socket [the one in ${SOCKET_FOLDER}, else ${DEFAULT_ADMIN}]`,
    })
    .option('token-file', { ...text, describe: 'File whose first line is the token, for admin.listen' })
    .option('config', { ...text, alias: 'c', describe: "The proxy's config, to take them from" });
}
