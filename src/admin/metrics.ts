// /metrics: the shared counters, and what is known about the processes, as Prometheus families (the only importer of
// prom-client). Every value is read at scrape; between scrapes nothing is kept.
import { Counter, Gauge, Registry } from 'prom-client';
import { COUNTER, type CounterName, counterRow, dropColumn } from '../datapath/counters.ts';
import { DROP, DROP_REASONS } from '../datapath/verdict.ts';
import { IO_COLUMN, IO_COUNTERS, type IoCounterName } from '../io/packet-io.ts';
import { formatEndpoint } from '../wire/address.ts';
import { IO_FAMILIES, type IoFamily, type Labels, SERVICE_FAMILIES, type ServiceFamily } from './families.ts';
import { type ProcessUsage, readProcessUsage } from './process-usage.ts';
import { type AdminSources, firstServerOf } from './sources.ts';

const PREFIX = 'uoa_proxy_';

type Put = (value: number, labels?: Labels) => void;

interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  labels?: readonly string[];
  /** Calls `put` for each series. */
  read(put: Put): void;
}

/** A registry whose metrics are read from `sources` at each scrape. */
export function createMetrics(sources: AdminSources): Registry {
  const registry = new Registry();
  const families = [
    ...SERVICE_FAMILIES.map((family) => serviceFamily(family, sources)),
    dropsFamily(sources),
    refusalsFamily(sources),
    ...lportFamilies(sources),
    ...IO_FAMILIES.map((family) => ioFamily(family, sources)),
    ...processFamilies(sources),
  ];
  for (const family of families) register(family, registry);
  return registry;
}

function register(family: Family, registry: Registry): void {
  const options = {
    name: PREFIX + family.name,
    help: family.help,
    labelNames: family.labels ?? [],
    registers: [registry],
  };
  if (family.type === 'counter') {
    const counter = new Counter({
      ...options,
      collect() {
        counter.reset();
        if (!family.labels) counter.remove(); // reset leaves a 0 there, which is wrong where there is nothing to read
        family.read((value, labels = {}) => counter.inc(labels, value));
      },
    });
  } else {
    const gauge = new Gauge({
      ...options,
      collect() {
        gauge.reset();
        if (!family.labels) gauge.remove();
        family.read((value, labels = {}) => gauge.set(labels, value));
      },
    });
  }
}

/** The rows of the counters: '' is what belongs to no service. */
function rows(sources: AdminSources): { service: string; row: number }[] {
  return ['', ...sources.services.map(({ name }) => name)].map((service, index) => ({
    service,
    row: counterRow(index - 1),
  }));
}

function serviceFamily({ name, help, type, series }: ServiceFamily, sources: AdminSources): Family {
  const columns = Object.entries(series) as [CounterName, Labels][];
  return {
    name,
    help,
    type: type ?? 'counter',
    labels: ['service', ...Object.keys(columns[0]![1])],
    read(put) {
      for (const { service, row } of rows(sources)) {
        for (const [column, labels] of columns)
          put(sources.counters[row + COUNTER[column]]!, { service, ...labels });
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
    read(put) {
      for (const { service, row } of rows(sources)) {
        for (const reason of DROP_REASONS)
          put(sources.counters[row + dropColumn(DROP[reason])]!, { service, reason });
      }
    },
  };
}

function refusalsFamily({ services, refusals }: AdminSources): Family {
  const series = services.flatMap(({ name, realServers }, index) => {
    const first = firstServerOf(services, index);
    return realServers.map(({ ip, port }, i) => ({
      cell: first + i,
      labels: { service: name, rs: formatEndpoint(ip, port) },
    }));
  });
  return {
    name: 'uoa_refusals_total',
    help: 'ICMP errors of each real server that it cannot read the UOA.',
    type: 'counter',
    labels: ['service', 'rs'],
    read(put) {
      for (const { cell, labels } of series) put(refusals[cell]!, labels);
    },
  };
}

function lportFamilies({ legs, legsInUse }: AdminSources): Family[] {
  const perLip = (value: (legIndex: number) => number) => (put: Put) => {
    const sums = new Map<string, number>();
    for (const [index, { lip }] of legs.entries()) sums.set(lip, (sums.get(lip) ?? 0) + value(index));
    for (const [lip, sum] of sums) put(sum, { lip });
  };
  return [
    {
      name: 'lports_in_use',
      help: 'lports in use per LIP, summed over the real servers.',
      type: 'gauge',
      labels: ['lip'],
      read: perLip((index) => legsInUse[index]!),
    },
    {
      name: 'lports_capacity',
      help: 'lports per LIP, summed over the real servers.',
      type: 'gauge',
      labels: ['lip'],
      read: perLip((index) => legs[index]!.capacity),
    },
  ];
}

function ioFamily({ name, help, perInterface, series }: IoFamily, { io, ports }: AdminSources): Family {
  const columns = Object.entries(series) as [IoCounterName, Labels][];
  const interfaces = [...ports.map((port) => port.name), ''];
  const cell = (row: number, column: IoCounterName) => io[row * IO_COUNTERS.length + IO_COLUMN[column]]!;
  return {
    name,
    help,
    type: 'counter',
    labels: [...(perInterface ? ['interface'] : []), ...Object.keys(columns[0]![1])],
    read(put) {
      for (const [column, labels] of columns) {
        if (perInterface)
          for (const [row, name] of interfaces.entries())
            put(cell(row, column), { interface: name, ...labels });
        else
          put(
            interfaces.reduce((sum, _, row) => sum + cell(row, column), 0),
            labels,
          );
      }
    },
  };
}

function processFamilies(sources: AdminSources): Family[] {
  const perWorker = (what: keyof ProcessUsage) => (put: Put) => {
    for (const [worker, pid] of sources.datapathPids().entries()) {
      const usage = pid === undefined ? undefined : readProcessUsage(pid);
      if (usage) put(usage[what], { worker: String(worker) });
    }
  };
  return [
    {
      name: 'sessions_max',
      help: 'Most sessions that the table holds.',
      type: 'gauge',
      read: (put) => put(sources.config.sessions.max),
    },
    {
      name: 'build_info',
      help: 'Version of the proxy and of Node, and the packet I/O in use.',
      type: 'gauge',
      labels: ['version', 'node', 'io_mode'],
      read: (put) => put(1, { version: sources.version, node: process.version, io_mode: sources.ioMode }),
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
      name: 'datapath_cpu_seconds_total',
      help: 'CPU time of a datapath process.',
      type: 'counter',
      labels: ['worker'],
      read: perWorker('cpuSeconds'),
    },
    {
      name: 'datapath_resident_memory_bytes',
      help: 'Resident memory of a datapath process.',
      type: 'gauge',
      labels: ['worker'],
      read: perWorker('residentBytes'),
    },
  ];
}
