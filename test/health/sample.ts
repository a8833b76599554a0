// Health settings as an operator writes them, and checks with them.
import { type HealthConfig, makeProbe, type ProbeResult } from '../../src/health/probe.ts';
import { parse, sampleService } from '../config/sample.ts';

export function healthOf(settings: object): HealthConfig {
  return parse({ services: [sampleService({ health: settings })] }).services[0]!.health;
}

/** One check; enough time by default for a busy machine. */
export async function check(
  settings: object,
  target: { ip?: string; port?: number } = {},
  signal = new AbortController().signal,
): Promise<ProbeResult> {
  const probe = makeProbe(healthOf({ interval: '10s', timeout: '20s', ...settings }))!;
  return await probe({ service: 'game', ip: '127.0.0.1', port: 6000, ...target }, signal);
}

export const SUCCESS: ProbeResult = { ok: true };
export const failure = (reason: string): ProbeResult => ({ ok: false, reason });
