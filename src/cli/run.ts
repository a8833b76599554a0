// `uoa-proxy run`: the proxy in the foreground, for a service manager or a container.
import { ConfigFile } from '../config/file.ts';
import { configWarnings } from '../config/rules.ts';
import { LogOutput } from './log-output.ts';
import { createLogger } from './logger.ts';
import { runUntilSignal } from './signals.ts';

/** How long the end waits for a reader of the log that does not read. */
const LAST_WORDS_MS = 1000;

/** Throws ConfigError, and what startProxy throws. Resolves with the exit code. */
export async function run(configPath: string, { takeover = false } = {}): Promise<number> {
  const file = new ConfigFile(configPath);
  const loading = file.load();
  await Promise.race([loading, undefined]); // what is wrong with a short one is known
  // Only for this command: it needs native packages, without which a config can still be checked.
  const starting = import('../proxy.ts');
  starting.catch(() => {}); // what is wrong with a long config is said first
  const config = await loading;
  const output = new LogOutput(process.stdout, (lost) =>
    log.warn({ lost }, 'lines of the log were lost: nobody read standard output'),
  );
  const log = createLogger(config.log, output);
  for (const { path, message } of configWarnings(config)) log.warn({ path }, message);
  const { startProxy } = await starting;
  try {
    return await runUntilSignal(
      () => startProxy(config, log, file, () => output.lost, { isTakeover: takeover }),
      log,
    );
  } finally {
    await output.flush(LAST_WORDS_MS);
  }
}
