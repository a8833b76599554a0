// Which real server a new session gets: rr and wrr (smooth), weights, none left.
import { realServer } from './rig.ts';
import { fromClient, fromRealServer, toClient, toRealServer } from './roles.ts';
import { type Row, rows } from './rows.ts';

const [A, B, C] = ['10.2.0.10', '10.2.0.11', '10.2.0.12'];

/** New clients one after another reach `order`; lports count up per real server. */
function distribution(
  name: string,
  scheduler: 'rr' | 'wrr',
  weights: number[],
  order: readonly (string | undefined)[],
): Row {
  const ips = [A, B, C];
  const realServers = weights.map((weight, index) => realServer(ips[index] ?? '', { weight }));
  const taken = new Map<string | undefined, number>();
  const steps = order.map((dst, index) => {
    const lport = 20005 + (taken.get(dst) ?? 0);
    taken.set(dst, lport - 20004);
    return {
      wan: fromClient({ sport: 1000 + index }),
      verdict: 'forward',
      sent: [toRealServer({ dst: dst ?? '', sport: lport })],
    };
  });
  return { name, plan: { service: { maxTrials: 0, scheduler, realServers } }, steps };
}

const NONE_LEFT = {
  service: { realServers: [realServer('10.2.0.10', { weight: 0 }), realServer('10.2.0.11', { weight: 0 })] },
};

rows('schedulers', [
  distribution('rr takes turns', 'rr', [100, 100, 100], [A, B, C, A, B, C, A]),
  distribution('rr does not look at weights above 0', 'rr', [1, 100], [A, B, A, B, A, B]),
  distribution('rr passes over weight 0', 'rr', [100, 0, 100], [A, C, A, C, A]),
  distribution('rr passes over weight 0 at the start', 'rr', [0, 0, 5], [C, C, C]),
  distribution('wrr spreads 5:1:1 smoothly', 'wrr', [5, 1, 1], [A, A, B, A, C, A, A, A, A, B, A, C, A, A]),
  distribution('wrr spreads 3:1 smoothly', 'wrr', [3, 1], [A, A, B, A, A, A, B, A]),
  distribution('wrr with equal weights takes turns', 'wrr', [7, 7, 7], [A, B, C, A, B, C]),
  distribution('wrr passes over weight 0', 'wrr', [2, 0, 1], [A, C, A, A, C, A]),
  {
    name: 'a client stays with its real server, whatever others do',
    plan: { service: { maxTrials: 0, realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')] } },
    steps: [
      { wan: fromClient({ sport: 1 }), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ dst: '10.2.0.11' })] },
      { wan: fromClient({ sport: 1 }), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromClient({ sport: 1 }), verdict: 'forward', sent: [toRealServer()] },
      { wan: fromClient({ sport: 3 }), verdict: 'forward', sent: [toRealServer({ sport: 20006 })] },
      { lan: fromRealServer({ src: '10.2.0.11' }), verdict: 'forward', sent: [toClient({ dport: 2 })] },
    ],
  },
  ...(['rr', 'wrr'] as const).map(
    (scheduler): Row => ({
      name: `${scheduler} without any weight above 0 has no real server to offer`,
      plan: { service: { ...NONE_LEFT.service, scheduler } },
      steps: [{ wan: fromClient(), verdict: 'drop:no_real_server', changed: {}, sessions: 0 }],
    }),
  ),
  {
    name: 'services take turns independently',
    plan: {
      services: [
        { maxTrials: 0, realServers: [realServer('10.2.0.10'), realServer('10.2.0.11')] },
        {
          maxTrials: 0,
          vport: 7000,
          lips: ['10.2.0.201'],
          realServers: [realServer('10.2.0.20'), realServer('10.2.0.21')],
        },
      ],
    },
    steps: [
      { wan: fromClient({ sport: 1 }), verdict: 'forward', sent: [toRealServer()] },
      {
        wan: fromClient({ dport: 7000 }),
        verdict: 'forward',
        sent: [toRealServer({ src: '10.2.0.201', dst: '10.2.0.20' })],
      },
      { wan: fromClient({ sport: 2 }), verdict: 'forward', sent: [toRealServer({ dst: '10.2.0.11' })] },
    ],
  },
]);
