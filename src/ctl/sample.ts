// What a running proxy says of itself at one moment, and rates between two such moments.
import type { ServerReport, ServiceReport, StatsReport } from '../admin/report.ts';
import { formatEndpoint } from '../wire/address.ts';
import type { AdminClient } from './admin-client.ts';

export interface Sample {
  /** Milliseconds of a clock that only goes forward. */
  atMs: number;
  stats: StatsReport;
  services: readonly ServiceReport[];
}

/** Throws a ControlError. */
export async function takeSample(client: AdminClient): Promise<Sample> {
  const [{ services }, stats] = await Promise.all([
    client.get<{ services: ServiceReport[] }>('/services'),
    client.get<StatsReport>('/stats'),
  ]);
  return { atMs: performance.now(), stats, services };
}

/** Per second between two samples; undefined when it cannot be told. */
export type Rate = (read: (sample: Sample) => number | undefined) => number | undefined;

/** `before` is undefined as long as there was only one sample. */
export function ratesBetween(before: Sample | undefined, after: Sample): Rate {
  return (read) => {
    if (before === undefined) return undefined;
    const [from, to] = [read(before), read(after)];
    // Counters go down only when another proxy answers: this one was started again.
    if (from === undefined || to === undefined || to < from) return undefined;
    return (to - from) / ((after.atMs - before.atMs) / 1000);
  };
}

/** The same real server in any sample. */
export function serverIn(
  { services }: Sample,
  serviceName: string,
  { ip, port }: ServerReport,
): ServerReport | undefined {
  const service = services.find(({ name }) => name === serviceName);
  return service?.realServers.find((one) => one.ip === ip && one.port === port);
}

export const serverName = ({ ip, port }: { ip: string; port: number }): string => formatEndpoint(ip, port);
