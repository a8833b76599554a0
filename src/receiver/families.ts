// The receiver's counters as Prometheus families, whose prefix is METRICS_PREFIX.
import type { Family, Labels, Put } from '../admin/families.ts';
import type { ReceiverCounter } from './layout.ts';

export const METRICS_PREFIX = 'uoa_receiver_';

/** What they are read from at each scrape. */
export interface ReceiverSources {
  version: string;
  startedAt: Date;
  cgroups: () => readonly CgroupSource[];
  acks: () => { sent: number; limited: number; failed: number };
  maxClients: number;
}

export interface CgroupSource {
  readonly path: string;
  readonly isAttached: boolean;
  counters(): Record<ReceiverCounter, number>;
  clients(): number;
  ignored(): readonly { ip: string; count: number }[];
}

/** More sources of UOAs that are not believed have no series of their own. */
const SOURCES_MAX = 20;

/** One family per row; its series have these labels besides the cgroup. */
const COUNTED: { name: string; help: string; series: Partial<Record<ReceiverCounter, Labels>> }[] = [
  { name: 'learned_total', help: 'LIP:lports learned, or given to another client.', series: { learned: {} } },
  { name: 'told_again_total', help: 'UOAs that told what was known.', series: { toldAgain: {} } },
  {
    name: 'carriers_total',
    help: 'Empty datagrams with a UOA, kept from programs. The kernel counts them as InErrors of UDP.',
    series: { carriers: {} },
  },
  {
    name: 'uoa_ignored_total',
    help: 'UOAs of sources that are not in `from`: nothing was learned from them.',
    series: { ignored: {} },
  },
  { name: 'uoa_malformed_total', help: 'UOAs that cannot be read.', series: { malformed: {} } },
  {
    name: 'full_total',
    help: 'UOAs that there was no room for: programs see the LIP.',
    series: { full: {} },
  },
  {
    name: 'received_total',
    help: 'Datagrams whose source programs asked for: the client instead of the LIP; left as it was, because no LIP:lport is known there; left, because the client is of another family than the LIP.',
    series: {
      received: { source: 'client' },
      receivedOther: { source: 'unknown' },
      receivedCrossed: { source: 'other_family' },
    },
  },
  { name: 'sent_total', help: 'Datagrams to a client that went to its LIP:lport.', series: { sent: {} } },
  {
    name: 'connected_total',
    help: 'Sockets connected to a client, by its LIP:lport.',
    series: { connected: {} },
  },
  { name: 'peer_names_total', help: 'Names of clients told by getpeername.', series: { named: {} } },
  {
    name: 'options_answered_total',
    help: 'Questions of socket options 2048 to 2050 answered.',
    series: { asked: {} },
  },
  {
    name: 'acks_lost_total',
    help: 'Echo ACKs not asked for, because the receiver did not keep up or did not run.',
    series: { unsent: {} },
  },
  {
    name: 'acks_too_often_total',
    help: 'Echo ACKs not asked for, because a LIP:lport had enough of them in that second.',
    series: { notAgain: {} },
  },
];

export function receiverFamilies(sources: ReceiverSources): Family[] {
  const perCgroup = (read: (cgroup: CgroupSource, put: Put) => void) => (put: Put) => {
    for (const cgroup of sources.cgroups())
      read(cgroup, (value, labels) => put(value, { cgroup: cgroup.path, ...labels }));
  };
  return [
    ...COUNTED.map(
      ({ name, help, series }): Family => ({
        name,
        help,
        type: 'counter',
        labels: ['cgroup', ...Object.keys(Object.values(series)[0]!)],
        read: perCgroup((cgroup, put) => {
          const counters = cgroup.counters();
          for (const [column, labels] of Object.entries(series) as [ReceiverCounter, Labels][])
            put(counters[column], labels);
        }),
      }),
    ),
    {
      name: 'uoa_ignored_from_total',
      help: `The same by source, of the ${SOURCES_MAX} that sent most.`,
      type: 'counter',
      labels: ['cgroup', 'source'],
      read: perCgroup((cgroup, put) => {
        for (const { ip, count } of cgroup.ignored().slice(0, SOURCES_MAX)) put(count, { source: ip });
      }),
    },
    {
      name: 'clients',
      help: 'LIP:lports whose client is known now.',
      type: 'gauge',
      labels: ['cgroup'],
      read: perCgroup((cgroup, put) => put(cgroup.clients())),
    },
    {
      name: 'clients_max',
      help: 'Room for clients of each cgroup.',
      type: 'gauge',
      read: (put) => put(sources.maxClients),
    },
    {
      name: 'attached',
      help: '1 while the programs are attached to the cgroup, 0 while there is no such cgroup.',
      type: 'gauge',
      labels: ['cgroup'],
      read: perCgroup((cgroup, put) => put(cgroup.isAttached ? 1 : 0)),
    },
    {
      name: 'acks_sent_total',
      help: 'Echo ACKs sent.',
      type: 'counter',
      read: (put) => put(sources.acks().sent),
    },
    {
      name: 'acks_failed_total',
      help: 'Echo ACKs not sent: more than acksPerSecond, or refused by the kernel.',
      type: 'counter',
      labels: ['reason'],
      read(put) {
        put(sources.acks().limited, { reason: 'limited' });
        put(sources.acks().failed, { reason: 'refused' });
      },
    },
    {
      name: 'build_info',
      help: 'Version of the receiver and of Node.',
      type: 'gauge',
      labels: ['version', 'node'],
      read: (put) => put(1, { version: sources.version, node: process.version }),
    },
    {
      name: 'start_time_seconds',
      help: 'When the receiver started, in seconds since 1970.',
      type: 'gauge',
      read: (put) => put(sources.startedAt.getTime() / 1000),
    },
  ];
}
