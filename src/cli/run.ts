// `uoa-proxy run`: the proxy in the foreground, for a service manager or a container.
import { ConfigFile } from '../config/file.ts';
import { configWarnings } from '../config/rules.ts';
import { createLogger } from './logger.ts';
import { runUntilSignal } from './signals.ts';

/** Throws ConfigError, and what startProxy throws. Resolves with the exit code. */
export async function run(configPath: string): Promise<number> {
  const file = new ConfigFile(configPath);
  const config = file.load();
  // A reader of the log that went away (EPIPE) must not end the proxy.
  process.stdout.on('error', () => {});
  const log = createLogger(config.log);
  for (const { path, message } of configWarnings(config)) log.warn({ path }, message);
  // Loaded only now: it needs native packages, without which a config can still be checked.
  const { startProxy } = await import('../proxy.ts');
  return runUntilSignal(() => startProxy(config, log, file), log);
}
