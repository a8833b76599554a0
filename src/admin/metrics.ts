// /metrics: the shared counters, and what is known about the processes, as Prometheus families. Every value
// is read at scrape; between scrapes nothing is kept but the CPU time of workers that end.
import type { Registry } from 'prom-client';
import { COUNTER, type CounterName, counterRow, dropColumn } from '../datapath/counters.ts';
import { SERVER_COUNTER, type ServerCounterName, serverRow } from '../datapath/server-cells.ts';
import { DROP, DROP_REASONS } from '../datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS, type IoCounterName } from '../io/packet-io.ts';
import { type RealServerPlan, type ServicePlan, serverName } from '../service/plan.ts';
import {
  type Family,
  IO_FAMILIES,
  type IoFamily,
  type Labels,
  type Put,
  SERVER_FAMILIES,
  SERVICE_FAMILIES,
  type ServiceFamily,
} from './families.ts';
import { fastPathFamilies } from './fast-path-metrics.ts';
import { CpuTimes, type ProcessUsage, readProcessUsage } from './process-usage.ts';
import { createRegistry } from './registry.ts';
import { effectiveWeight } from './report.ts';
import type { AdminLeg, AdminSources } from './sources.ts';

const PREFIX = 'uoa_proxy_';

/** A registry whose metrics are read from `sources` at each scrape. */
export function createMetrics(sources: AdminSources): Registry {
  return createRegistry(PREFIX, [
    ...SERVICE_FAMILIES.map((family) => serviceFamily(family, sources)),
    dropsFamily(sources),
    ...serverFamilies(sources),
    ...lportFamilies(sources),
    ...IO_FAMILIES.map((family) => ioFamily(family, sources)),
    ...reloadFamilies(sources),
    ...fastPathFamilies(sources),
    ...processFamilies(sources),
  ]);
}

/** The rows of the counters: '' is what belongs to no service. */
function rows(sources: AdminSources): { service: string; row: number }[] {
  const services = sources.services().map(({ name, index }) => ({ service: name, row: counterRow(index) }));
  return [{ service: '', row: counterRow(-1) }, ...services];
}

function serviceFamily(family: ServiceFamily, sources: AdminSources): Family {
  const { name, help, type, isAlwaysThere = false, series } = family;
  const columns = Object.entries(series) as [CounterName, Labels][];
  return {
    name,
    help,
    type: type ?? 'counter',
    labels: ['service', ...Object.keys(columns[0][1])],
    isSparse: !isAlwaysThere,
    read(put) {
      for (const { service, row } of rows(sources)) {
        for (const [column, labels] of columns) {
          const value = sources.counters[row + COUNTER[column]];
          // Packets of a service have a direction, those of none have not: the rest can never count.
          const isPossible = (service === '') === (labels.direction === '');
          if (value > 0 || isPossible) put(value, { service, ...labels });
        }
      }
    },
  };
}

function dropsFamily(sources: AdminSources): Family {
  return {
    name: 'drops_total',
    help: 'Packets dropped, by reason.',
    type: 'counter',
    labels: ['service', 'reason'],
    isSparse: true,
    read(put) {
      for (const { service, row } of rows(sources)) {
        for (const reason of DROP_REASONS)
          put(sources.counters[row + dropColumn(DROP[reason])], { service, reason });
      }
    },
  };
}

function serverFamilies(sources: AdminSources): Family[] {
  const perServer =
    (read: (server: RealServerPlan, service: ServicePlan, put: Put) => void) =>
    (put: Put): void => {
      for (const service of sources.services()) {
        for (const server of service.realServers) {
          const labels = { service: service.name, rs: serverName(server) };
          read(server, service, (value, more) => put(value, { ...labels, ...more }));
        }
      }
    };
  return [
    {
      name: 'server_up',
      help: '1 while a real server works, 0 while its checks or its traffic say that it is down.',
      type: 'gauge',
      labels: ['service', 'rs'],
      read: perServer(({ index }, _, put) => put(sources.serverState(index).isDown ? 0 : 1)),
    },
    {
      name: 'server_state',
      help: '1 for each of these that a real server is: down, drained, removed, fallback.',
      type: 'gauge',
      labels: ['service', 'rs', 'state'],
      read: perServer(({ index, isFallback }, _, put) => {
        const { isDown, isDrained, isRemoved } = sources.serverState(index);
        const states = { down: isDown, drained: isDrained, removed: isRemoved, fallback: isFallback };
        for (const [state, holds] of Object.entries(states)) put(holds ? 1 : 0, { state });
      }),
    },
    {
      name: 'server_weight',
      help: 'Weight of a real server for new sessions right now; 0 when it takes none.',
      type: 'gauge',
      labels: ['service', 'rs'],
      read: perServer((server, service, put) => put(effectiveWeight(sources, service, server))),
    },
    ...SERVER_FAMILIES.map(({ name, help, type, series }): Family => {
      const columns = Object.entries(series) as [ServerCounterName, Labels][];
      return {
        name,
        help,
        type: type ?? 'counter',
        labels: ['service', 'rs', ...Object.keys(columns[0][1])],
        isSparse: true,
        read: perServer(({ index }, _, put) => {
          const row = serverRow(index);
          for (const [column, labels] of columns) put(sources.servers[row + SERVER_COUNTER[column]], labels);
        }),
      };
    }),
  ];
}

function lportFamilies(sources: AdminSources): Family[] {
  const perLip = (value: (leg: AdminLeg) => number) => (put: Put) => {
    const sums = new Map<string, number>();
    for (const leg of sources.legs()) sums.set(leg.lip, (sums.get(leg.lip) ?? 0) + value(leg));
    for (const [lip, sum] of sums) put(sum, { lip });
  };
  return [
    {
      name: 'lports_in_use',
      help: 'lports in use per LIP, summed over the real servers.',
      type: 'gauge',
      labels: ['lip'],
      read: perLip(({ index }) => sources.legsInUse[index]),
    },
    {
      name: 'lports_capacity',
      help: 'lports per LIP, summed over the real servers.',
      type: 'gauge',
      labels: ['lip'],
      read: perLip(({ capacity }) => capacity),
    },
  ];
}

function ioFamily({ name, help, perInterface, series }: IoFamily, { io, ports }: AdminSources): Family {
  const columns = Object.entries(series) as [IoCounterName, Labels][];
  const rows = [
    ...ports.map(({ name }) => ({ interface: name, sources: 'any' })),
    { interface: '', sources: 'any' },
    ...ports.map(({ name }) => ({ interface: name, sources: 'known' })),
  ];
  const cell = (row: number, column: IoCounterName) => io[row * IO_COUNTERS.length + IO_COLUMN[column]];
  return {
    name,
    help,
    type: 'counter',
    labels: [...(perInterface ? ['interface', 'sources'] : []), ...Object.keys(columns[0][1])],
    read(put) {
      for (const [column, labels] of columns) {
        if (perInterface)
          for (const [row, names] of rows.entries()) put(cell(row, column), { ...names, ...labels });
        else
          put(
            rows.reduce((sum, _, row) => sum + cell(row, column), 0),
            labels,
          );
      }
    },
  };
}

function reloadFamilies(sources: AdminSources): Family[] {
  return [
    {
      name: 'config_reloads_total',
      help: 'Reloads of the config since the start, by result.',
      type: 'counter',
      labels: ['result'],
      read(put) {
        const { succeeded, failed } = sources.reloads();
        put(succeeded, { result: 'ok' });
        put(failed, { result: 'failed' });
      },
    },
    {
      name: 'config_last_reload_successful',
      help: '0 when the last reload of the config failed and the one before it is still in use.',
      type: 'gauge',
      read: (put) => put(sources.reloads().last?.ok === false ? 0 : 1),
    },
    {
      name: 'config_last_reload_timestamp_seconds',
      help: 'When the config was last read, successfully or not, in seconds since 1970.',
      type: 'gauge',
      read: (put) => put((sources.reloads().last?.at ?? sources.startedAt).getTime() / 1000),
    },
    {
      name: 'host_changes_total',
      help: 'Changes of interfaces, addresses or routes that were planned for anew since the start, by result.',
      type: 'counter',
      labels: ['result'],
      read(put) {
        const { succeeded, failed } = sources.hostChanges();
        put(succeeded, { result: 'ok' });
        put(failed, { result: 'failed' });
      },
    },
    {
      name: 'draining',
      help: '1 while the proxy takes no new sessions, because it is to end.',
      type: 'gauge',
      read: (put) => put(sources.isDraining() ? 1 : 0),
    },
  ];
}

function processFamilies(sources: AdminSources): Family[] {
  const perWorker = (value: (usage: ProcessUsage, worker: number, pid: number) => number) => (put: Put) => {
    for (const [worker, { pid }] of sources.workers().entries()) {
      if (pid === undefined) continue;
      const usage = readProcessUsage(pid);
      if (usage) put(value(usage, worker, pid), { worker: String(worker) });
    }
  };
  const cpuTimes = new CpuTimes();
  return [
    {
      name: 'sessions_max',
      help: 'Most sessions that the table holds.',
      type: 'gauge',
      read: (put) => put(sources.config().sessions.max),
    },
    {
      name: 'build_info',
      help: 'Version of the proxy and of Node, and the packet I/O in use.',
      type: 'gauge',
      labels: ['version', 'node', 'io_mode'],
      read: (put) => put(1, { version: sources.version, node: process.version, io_mode: sources.ioMode }),
    },
    {
      name: 'clients_uncounted_total',
      help: 'Sessions not limited or counted by client, because the table of clients had no room.',
      type: 'counter',
      read: (put) => put(sources.clientsUncounted()),
    },
    {
      name: 'log_lines_lost_total',
      help: 'Lines of the log that were lost, because nobody read standard output.',
      type: 'counter',
      read: (put) => put(sources.logLinesLost()),
    },
    {
      name: 'start_time_seconds',
      help: 'When the proxy started, in seconds since 1970.',
      type: 'gauge',
      read: (put) => put(sources.startedAt.getTime() / 1000),
    },
    {
      name: 'ready',
      help: '1 while /readyz answers 200.',
      type: 'gauge',
      read: (put) => put(sources.readiness().ready ? 1 : 0),
    },
    {
      name: 'worker_restarts_total',
      help: 'How often a datapath process ended and was started again.',
      type: 'counter',
      labels: ['worker'],
      read(put) {
        for (const [worker, { restarts }] of sources.workers().entries())
          put(restarts, { worker: String(worker) });
      },
    },
    {
      name: 'datapath_cpu_seconds_total',
      help: 'CPU time of the datapath processes of a worker, without what one used between the last scrape and its end.',
      type: 'counter',
      labels: ['worker'],
      read: perWorker(({ cpuSeconds }, worker, pid) => cpuTimes.total(worker, pid, cpuSeconds)),
    },
    {
      name: 'datapath_resident_memory_bytes',
      help: 'Resident memory of a datapath process.',
      type: 'gauge',
      labels: ['worker'],
      read: perWorker(({ residentBytes }) => residentBytes),
    },
  ];
}
