// What was wrong with a reload, or with the host, in words for the log and the operator.
import { ConfigError, formatProblem } from '../config/problem.ts';
import type { MissingAddress, Trouble } from '../host/host-addresses.ts';

export const sayTrouble = ({ text, hint }: Trouble): string => `${text} (${hint})`;

export const sayLost = (lost: readonly MissingAddress[]): string =>
  `not on this host: ${lost.map(({ ip, command }) => `${ip} (${command})`).join(', ')}`;

export function problemsOf(error: unknown): string[] {
  if (error instanceof ConfigError) return error.problems.map(formatProblem);
  const { message, hint } = error as Error & { hint?: string };
  return [hint === undefined || hint === '' ? message : `${message} (${hint})`];
}
