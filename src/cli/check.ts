// `uoa-proxy check`: one line when the config can be used; throws the ConfigError that lists its problems
// otherwise. As JSON, both are an answer.
import { loadConfig } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problem.ts';
import { configWarnings } from '../config/rules.ts';
import type { Config } from '../config/schema.ts';

/**
 * Resolves with the exit code. Throws ConfigError unless `json`. Warnings go to standard error and do not
 * fail the check.
 */
export async function check(path: string, { json }: { json: boolean }): Promise<number> {
  if (json) return await checkAsJson(path);
  const config = loadConfig(path);
  const refusals = await refusalsOf(config);
  if (refusals.length > 0) throw new ConfigError(path, refusals);
  for (const warning of await warningsOf(config))
    process.stderr.write(`warning: ${formatProblem(warning)}\n`);
  process.stdout.write(`OK: ${summary(config)}\n`);
  return 0;
}

/** Without a config that can be used there is nothing to count. */
interface Answer {
  ok: boolean;
  config: ReturnType<typeof count> | null;
  problems: readonly Problem[];
  warnings: readonly Problem[];
}

async function checkAsJson(path: string): Promise<number> {
  const answer = await answerTo(path);
  process.stdout.write(`${JSON.stringify(answer, undefined, 2)}\n`);
  return answer.ok ? 0 : 1;
}

async function answerTo(path: string): Promise<Answer> {
  try {
    const config = loadConfig(path);
    const problems = await refusalsOf(config);
    const ok = problems.length === 0;
    return { ok, config: ok ? count(config) : null, problems, warnings: await warningsOf(config) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ok: false, config: null, problems: error.problems, warnings: [] };
  }
}

/** Of the config, and of what this host lacks for it. */
async function warningsOf(config: Config): Promise<Problem[]> {
  const warnings = configWarnings(config);
  const refusal = await asked(({ captureRefusal }) => captureRefusal(config));
  if (refusal?.isForRights) {
    const message = `run would refuse it with the rights that this check has: ${refusal.message} (${refusal.hint})`;
    warnings.push({ path: 'services', message });
  }
  const lack = await asked(({ lackOfIo }) => lackOfIo(config));
  if (lack !== undefined) warnings.push({ path: 'io.mode', message: `${lack.message} (${lack.hint})` });
  return warnings;
}

/**
 * What the proxy could not do for the config on this kernel, where that can be asked. What it needs a right
 * for, which this process lacks and the service may have, is a warning.
 */
async function refusalsOf(config: Config): Promise<Problem[]> {
  const refusal = await asked(({ captureRefusal }) => captureRefusal(config));
  return refusal === undefined || refusal.isForRights
    ? []
    : [{ path: 'services', message: `${refusal.message} (${refusal.hint})` }];
}

/** What the proxy says to it; undefined where it cannot be asked. */
async function asked<T>(question: (proxy: typeof import('../proxy.ts')) => T): Promise<T | undefined> {
  try {
    return question(await import('../proxy.ts'));
  } catch {
    return undefined; // native packages that are missing: a config can be checked without
  }
}

function summary(config: Config): string {
  const { services, vips, lips, realServers } = count(config);
  return [
    plural(services, 'service'),
    plural(vips, 'VIP'),
    plural(lips, 'LIP'),
    plural(realServers, 'real server'),
  ].join(', ');
}

/** Each address, and each real server, once. */
function count({ services }: Config) {
  const realServers = services.flatMap((service) =>
    service.realServers.map(({ ip, port }) => `${ip} ${port}`),
  );
  return {
    services: services.length,
    vips: new Set(services.flatMap(({ vip }) => vip)).size,
    lips: new Set(services.flatMap((service) => service.lips)).size,
    realServers: new Set(realServers).size,
  };
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
