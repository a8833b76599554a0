// One line of `top --json`: what a frame of the live view shows, as a JSON object. Names are those of /stats
// and /services; what is per second stands in `perSecond`, and null is what cannot be told, as when another
// proxy answers than before.
import type { ServerReport, ServiceReport } from '../admin/report.ts';
import { serverRates, serviceRates, totalRates } from './rates.ts';
import { type Rate, ratesBetween, type Sample } from './sample.ts';

/** `before` is the sample of an interval ago, `nowMs` is since 1970. Without an end of line. */
export function frameLine(before: Sample, after: Sample, nowMs: number): string {
  const per = ratesBetween(before, after);
  const { version, uptimeSeconds, ready, reason, draining, ioMode, fastPath, workers, sessions } =
    after.stats;
  return JSON.stringify(
    {
      time: new Date(nowMs).toISOString(),
      seconds: (after.atMs - before.atMs) / 1000,
      version,
      uptimeSeconds,
      ready,
      reason,
      draining,
      ioMode,
      fastPath,
      workers,
      sessions,
      perSecond: totalRates(per, after),
      services: after.services.map((service) => serviceIn(service, per, after)),
    },
    (_, value: unknown) => {
      if (value === undefined) return null;
      return typeof value === 'number' ? Math.round(value * 1000) / 1000 : value;
    },
  );
}

function serviceIn(
  { name, vips, vport, scheduler, sessions, fastPath, realServers }: ServiceReport,
  per: Rate,
  after: Sample,
) {
  return {
    name,
    vips,
    vport,
    scheduler,
    sessions,
    fastPath,
    perSecond: serviceRates(per, after, name),
    realServers: realServers.map((server) => serverOf(server, name, per)),
  };
}

function serverOf(server: ServerReport, service: string, per: Rate) {
  const { counters: _, ...shown } = server;
  return { ...shown, perSecond: serverRates(per, service, server) };
}
