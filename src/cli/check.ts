// `uoa-proxy check`: one line when the config can be used; throws the ConfigError that lists its problems otherwise.
import { loadConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import { configWarnings } from '../config/rules.ts';
import type { Config } from '../config/schema.ts';

/** Throws ConfigError. Warnings go to standard error and do not fail the check. */
export function check(path: string): number {
  const config = loadConfig(path);
  for (const warning of configWarnings(config)) process.stderr.write(`warning: ${formatProblem(warning)}\n`);
  process.stdout.write(`OK: ${summary(config)}\n`);
  return 0;
}

function summary({ services }: Config): string {
  const realServers = new Set(
    services.flatMap((service) => service.realServers.map(({ ip, port }) => `${ip} ${port}`)),
  );
  const vips = new Set(services.flatMap(({ vip }) => vip));
  const lips = new Set(services.flatMap((service) => service.lips));
  return [
    plural(services.length, 'service'),
    plural(vips.size, 'VIP'),
    plural(lips.size, 'LIP'),
    plural(realServers.size, 'real server'),
  ].join(', ');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
