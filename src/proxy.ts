// The composition root of the control plane: config -> host, guard, memory, datapath processes, health
// checks, admin server. Wiring only. Whatever was done to the host when a later step fails is undone in
// reverse order, as on stop.
import type { Logger } from 'pino';
import { watchExhaustion } from './admin/exhaustion.ts';
import { watchRefusals } from './admin/refusals.ts';
import { TokenFile } from './admin/token-file.ts';
import { watchUnansweredUoa } from './admin/unanswered-uoa.ts';
import { adminSockets } from './config/admin-socket.ts';
import type { ConfigFile } from './config/file.ts';
import type { Config } from './config/schema.ts';
import { ControlPlane, type End } from './control/control-plane.ts';
import { Predecessor } from './control/predecessor.ts';
import { StartError } from './control/start-error.ts';
import { PROTOCOL } from './control/takeover-protocol.ts';
import { debuggerAddress } from './sys/debugger.ts';
import { ignoreStraySignals } from './sys/signals.ts';
import { packageVersion } from './version.ts';

export { clearLeftovers } from './control/fast-path-leftovers.ts';
export { captureRefusal, lackOfIo } from './control/planning.ts';
export { StartError } from './control/start-error.ts';

export interface Proxy {
  readonly adminAddress: { host: string; port: number };
  /** Resolves when the proxy ended by itself: a datapath process cannot be kept alive, or it is drained. */
  readonly ended: Promise<End>;
  /** Reads the config again and goes on by it, or says in the log why not. Never rejects. */
  reload(): Promise<unknown>;
  /**
   * Ends everything and restores the host; also right after `ended`. `forRestart`: but for what is hot, which
   * goes on in the kernel for another process to take over.
   */
  stop(how: { forRestart: boolean }): Promise<void>;
}

/**
 * Starts the proxy by a config that was read from `file`, which is read again when it changes. `linesLost`
 * counts those of the log. Rejects with a StartError, IoError or AdminListenError, and nothing left behind.
 */
export async function startProxy(
  config: Config,
  log: Logger,
  file: ConfigFile,
  linesLost: () => number,
  { isTakeover = false } = {},
): Promise<Proxy> {
  const undo: (() => Promise<void>)[] = [];
  const undoAll = async (): Promise<void> => {
    const failures: string[] = [];
    for (let step = undo.pop(); step; step = undo.pop()) {
      await step().catch((error: Error) => failures.push(error.message));
    }
    if (failures.length > 0) {
      throw new StartError(
        `not everything could be undone: ${failures.join('; ')}`,
        'see what is left, as root: ip address',
      );
    }
  };
  let before: Predecessor | undefined;
  try {
    before = isTakeover ? await findPredecessor(config, file, log) : undefined;
    return await start(config, log, file, linesLost, undo, undoAll, before);
  } catch (error) {
    before?.abandon(); // first: it goes on
    await undoAll().catch((left: Error) => log.error(left.message));
    throw error;
  }
}

async function start(
  config: Config,
  log: Logger,
  file: ConfigFile,
  linesLost: () => number,
  undo: (() => Promise<void>)[],
  undoAll: () => Promise<void>,
  before: Predecessor | undefined,
): Promise<Proxy> {
  ignoreStraySignals();
  const debuggerAt = debuggerAddress();
  if (debuggerAt !== undefined)
    log.warn(`a debugger is let in at ${debuggerAt}: every user of this host can take over the proxy by it`);
  const { tokenFile, hosts, listen, socket } = config.admin;
  const token = tokenFile === undefined ? undefined : new TokenFile(tokenFile, (text) => log.error(text));
  let control: ControlPlane | undefined;
  undo.push(async () => control?.leave()); // the last of the end
  control = await ControlPlane.plan(config, log, file, undo, packageVersion(), before);
  const sources = { ...control.adminSources(packageVersion()), logLinesLost: linesLost };
  // Loaded only now that packets wait: a quarter of a second on a busy processor.
  const { startAdmin } = await import('./admin/server.ts');
  const withoutSocket = (reason: string) =>
    log.warn(
      `no admin socket: ${reason}. ${token ? 'ctl needs the token' : 'Nothing can be changed by ctl: set admin.socket or admin.tokenFile'}`,
    );
  const openAdmin = async () => {
    const opened = await startAdmin(sources, {
      ...listen,
      token,
      hosts,
      sockets: adminSockets(socket, file.path),
      onNoSocket: socket === undefined ? withoutSocket : undefined,
      upgrade: { protocol: PROTOCOL, accept: (socket, head) => control.acceptSuccessor(socket, head) },
    });
    undo.push(() => opened.close());
    control.noteAdmin(opened.address);
    return opened;
  };
  // That of the proxy before must be closed first.
  if (before !== undefined) await control.start(undo);
  const admin = await openAdmin();
  if (before === undefined) await control.start(undo);
  const warn = (fields: Record<string, unknown>, message: string) => log.warn(fields, message);
  for (const unwatch of [watchRefusals, watchUnansweredUoa, watchExhaustion].map((watch) =>
    watch(sources, warn),
  ))
    undo.push(async () => unwatch());
  const unwatchFile = file.watch(() => {
    log.info('the config file changed: reloading it');
    void control.reload();
  });
  undo.push(async () => unwatchFile());
  log.info({ ...control.summary(), admin: admin.address, socket: admin.socket }, 'ready');
  return {
    adminAddress: admin.address,
    ended: control.ended,
    reload: () => control.reload(),
    stop: async ({ forRestart }) => {
      await control.settle();
      control.announceStop(forRestart);
      await undoAll();
    },
  };
}

/** Undefined where no proxy of this config is at work: then there is nothing to take over. */
async function findPredecessor(
  { admin }: Config,
  file: ConfigFile,
  log: Logger,
): Promise<Predecessor | undefined> {
  const sockets = adminSockets(admin.socket, file.path);
  const before = await Predecessor.find(sockets);
  if (before === undefined) {
    log.info(`no proxy at work to take over from, at ${sockets.join(' or ')}: starting`);
    return undefined;
  }
  await before.checkAdmin(admin.listen.host, admin.listen.port);
  log.info({ pid: before.hello.pid, version: before.hello.version }, 'taking over from the proxy at work');
  return before;
}
