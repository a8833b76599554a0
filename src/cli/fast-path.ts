// `uoa-proxy fast-path clear`: takes off the host what proxies that were killed left of the fast path there.
import type { Argv } from 'yargs';

const EPILOGUE = `A proxy that is stopped takes all of it away itself, and one that is started again takes it over. Without --config: that of all proxies of this host.

Exit codes: 0 nothing is left; 1 a proxy lives, and its fast path stays.`;

/** Calls `choose` with the path of the config file, or with nothing. */
export const withFastPath = (command: Argv, choose: (config: string | undefined) => void): Argv =>
  command
    .command(
      'clear',
      'Remove what killed proxies left of the fast path in the kernel',
      (clear) =>
        clear
          .option('config', {
            type: 'string',
            alias: 'c',
            requiresArg: true,
            describe: 'YAML file of the proxy: only what it left',
          })
          .example('$0 fast-path clear', 'As root: whatever is left')
          .epilogue(EPILOGUE),
      ({ config }) => choose(config),
    )
    .demandCommand(1, 1, 'a command is needed: clear', 'only one command at a time');

/** Resolves with the exit code. The config file may be gone, or wrong. */
export async function clearFastPath(config: string | undefined): Promise<number> {
  const { clearLeftovers } = await import('../proxy.ts');
  const { removed, living } = await clearLeftovers(config);
  for (const what of removed) process.stdout.write(`removed: ${what}\n`);
  for (const name of living)
    process.stderr.write(`uoa-proxy: the proxy ${name} lives, its fast path stays: stop it first\n`);
  if (removed.length === 0 && living.length === 0) process.stdout.write('nothing is left\n');
  return living.length > 0 ? 1 : 0;
}
