// `uoa-proxy receiver`, in the foreground, and what it has at work.
import {
  loadReceiverConfig,
  type ReceiverConfig,
  type ReceiverOptions,
  readReceiverOptions,
} from '../config/receiver-schema.ts';
import { watchConfig } from '../config/watch.ts';
import { cgroupPath } from '../receiver/cgroup.ts';
import { explained } from '../receiver/hooks.ts';
import { detach, type ReceiverStatus, receiverStatus } from '../receiver/leftovers.ts';
import { startReceiver } from '../receiver/receiver.ts';
import { LogOutput } from './log-output.ts';
import { createLogger } from './logger.ts';
import { runUntilSignal } from './signals.ts';

const LAST_WORDS_MS = 1000;

/**
 * By a file, or by options. Throws ConfigError, and what startReceiver throws. Resolves with the exit code.
 */
export async function runReceiver(given: string | ReceiverOptions): Promise<number> {
  const read = (): ReceiverConfig =>
    typeof given === 'string' ? loadReceiverConfig(given) : readReceiverOptions(given);
  const config = read();
  const output = new LogOutput(process.stdout, (lost) =>
    log.warn({ lost }, 'lines of the log were lost: nobody read standard output'),
  );
  const log = createLogger(config.log, output);
  try {
    return await runUntilSignal(async () => {
      const receiver = await startReceiver(config, log, read);
      if (typeof given !== 'string') return receiver;
      const unwatch = watchConfig(given, () => {
        log.info('reloading the config: the file changed');
        void receiver.reload();
      });
      return {
        ended: receiver.ended,
        reload: () => receiver.reload(),
        stop: async () => {
          unwatch();
          await receiver.stop();
        },
      };
    }, log);
  } finally {
    await output.flush(LAST_WORDS_MS);
  }
}

/** Resolves with the exit code. */
export function printReceiverStatus({ json, limit }: { json: boolean; limit: number }): number {
  const all = asOperator(() => receiverStatus(limit));
  if (json) process.stdout.write(`${JSON.stringify({ receivers: all }, undefined, 2)}\n`);
  else if (all.length === 0) process.stdout.write('no receiver has anything at work here\n');
  else process.stdout.write(all.map(describeStatus).join('\n'));
  return 0;
}

function describeStatus(status: ReceiverStatus): string {
  const { cgroup, pid, hooks, from, clients, counters, ignored, table, version } = status;
  const lines = [
    `cgroup    ${cgroup}`,
    `receiver  ${pid === undefined ? 'does not run: nothing is acknowledged or forgotten' : `process ${pid}, version ${version}`}`,
    `attached  ${hooks.length === 0 ? 'nowhere: the cgroup is gone' : hooks.join(' ')}`,
    `from      ${from.join(' ')}`,
    `clients   ${clients}`,
    `counted   ${Object.entries(counters)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ')}`,
    ...ignored.slice(0, 5).map(({ ip, count }) => `ignored   ${count} UOAs of ${ip}, which is not in from`),
    ...tableOf(table),
    ...(table.length < clients ? [`          and ${clients - table.length} more (--limit)`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

function tableOf(table: ReceiverStatus['table']): string[] {
  if (table.length === 0) return [];
  const rows = [
    ['CLIENT', 'LIP', 'REAL SERVER', 'IDLE', 'SEEN AS'],
    ...table.map(({ client, lip, rs, idleSeconds, isSeen }) => [
      client,
      lip,
      rs,
      `${idleSeconds}s`,
      isSeen ? 'client' : 'LIP, of another family than it',
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}

/** Resolves with the exit code. */
export async function detachReceivers(cgroup: string | undefined): Promise<number> {
  const all = await detach(cgroup && cgroupPath(cgroup)).catch((error: unknown) => {
    throw explained('the programs cannot be detached', error);
  });
  for (const { cgroup: path, pid, hooks } of all)
    if (pid === undefined) process.stdout.write(`detached: ${path} (${hooks.length} hooks)\n`);
    else process.stderr.write(`uoa-proxy: process ${pid} serves ${path}: stop it first\n`);
  if (all.length === 0) process.stdout.write('nothing is left\n');
  return all.some(({ pid }) => pid !== undefined) ? 1 : 0;
}

function asOperator<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw explained('what is pinned cannot be read', error);
  }
}
