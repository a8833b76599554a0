// `uoa-proxy check`: one line when the config can be used; throws the ConfigError that lists its problems otherwise. As
// JSON, both are an answer.
import { loadConfig } from '../config/load.ts';
import { ConfigError, formatProblem, type Problem } from '../config/problem.ts';
import { configWarnings } from '../config/rules.ts';
import type { Config } from '../config/schema.ts';
import { pcapLacks } from '../io/optional-package.ts';

/** Returns the exit code. Throws ConfigError unless `json`. Warnings go to standard error and do not fail the check. */
export function check(path: string, { json }: { json: boolean }): number {
  if (json) return checkAsJson(path);
  const config = loadConfig(path);
  for (const warning of warningsOf(config)) process.stderr.write(`warning: ${formatProblem(warning)}\n`);
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

function checkAsJson(path: string): number {
  const answer = answerTo(path);
  process.stdout.write(`${JSON.stringify(answer, undefined, 2)}\n`);
  return answer.ok ? 0 : 1;
}

function answerTo(path: string): Answer {
  try {
    const config = loadConfig(path);
    return { ok: true, config: count(config), problems: [], warnings: warningsOf(config) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ok: false, config: null, problems: error.problems, warnings: [] };
  }
}

/** Of the config, and of what this host lacks for it. */
function warningsOf(config: Config): Problem[] {
  const lacks = config.io.mode === 'pcap' ? pcapLacks() : undefined;
  const warnings = configWarnings(config);
  if (lacks !== undefined) warnings.push({ path: 'io.mode', message: `${lacks.message} (${lacks.hint})` });
  return warnings;
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
