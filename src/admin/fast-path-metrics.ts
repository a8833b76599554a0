// The metrics of the kernel fast path that belong to no service.
import type { Family } from './families.ts';
import type { AdminSources } from './sources.ts';

export function fastPathFamilies(sources: AdminSources): Family[] {
  return [
    {
      name: 'fast_path_info',
      help: 'Which fast path in the kernel there is (off, xdp, tc), what io.fastPath wants, and why it is so.',
      type: 'gauge',
      labels: ['kind', 'wanted', 'why'],
      read: (put) => {
        const { kind, wanted, why } = sources.fastPath();
        put(1, { kind, wanted, why });
      },
    },
    {
      name: 'fast_path_attached',
      help: 'Interfaces whose packets come by its program, and how that is attached.',
      type: 'gauge',
      labels: ['interface', 'how'],
      read: (put) => {
        for (const { name, how } of sources.fastPath().interfaces) put(1, { interface: name, how });
      },
    },
    {
      name: 'fast_path_switched_off',
      help: 'Services for which an operator switched it off; one without name is all of them.',
      type: 'gauge',
      labels: ['service'],
      read: (put) => {
        const { all, services } = sources.fastPath().switchedOff;
        if (all) put(1, { service: '' });
        for (const service of services) put(1, { service });
      },
    },
    {
      name: 'fast_path_passed_total',
      help: 'Packets that came by the fast path in the kernel and were left to the datapath, by reason.',
      type: 'counter',
      labels: ['reason'],
      isSparse: true,
      read: (put) => {
        for (const [reason, count] of Object.entries(sources.fastPathPassed())) put(count, { reason });
      },
    },
    {
      name: 'fast_path_missed_total',
      help: 'Packets of hot sessions that another tc program kept from the fast path: they are lost.',
      type: 'counter',
      read: (put) => put(sources.fastPathMissed()),
    },
    {
      name: 'fast_path_uncounted_packets_total',
      help: 'Packets that the fast path forwarded and that count for no service: nobody had asked it for long.',
      type: 'counter',
      read: (put) => put(sources.fastPathUncounted()),
    },
  ];
}
