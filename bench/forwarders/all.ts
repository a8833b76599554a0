// The forwarders by the name that --forwarder takes.
import type { Start } from './forwarder.ts';
import { kernelNat, routing } from './kernel.ts';
import { nginx } from './nginx.ts';
import { proxy } from './proxy.ts';

export const FORWARDERS = {
  ring: proxy({ mode: 'ring', opensPerSecond: 100_000 }),
  pcap: proxy({ mode: 'pcap', opensPerSecond: 50_000 }),
  /** Only on request: with what costs nothing beside it. */
  services: proxy({ mode: 'ring', opensPerSecond: 100_000, services: 1_000 }),
  xdp: proxy({ mode: 'ring', fastPath: 'xdp', opensPerSecond: 100_000 }),
  tc: proxy({ mode: 'ring', fastPath: 'tc', opensPerSecond: 100_000 }),
  nginx,
  kernel: kernelNat,
  /** Only on request: never asleep; with two workers, who need processors of their own. */
  busy: proxy({ mode: 'ring', io: 'busyPoll: true', opensPerSecond: 100_000, neverSleeps: true }),
  ring2: proxy({ mode: 'ring', io: 'workers: 2', opensPerSecond: 100_000 }),
  direct: routing,
} as const satisfies Record<string, Start>;

/** Those whose programs are at XDP of their interfaces. */
export const BRINGS_XDP: ReadonlySet<string> = new Set(['xdp']);

export type ForwarderKey = keyof typeof FORWARDERS;
export const DEFAULT_FORWARDERS: readonly ForwarderKey[] = ['xdp', 'tc', 'ring', 'pcap', 'nginx', 'kernel'];

export const isForwarderKey = (name: string): name is ForwarderKey => Object.hasOwn(FORWARDERS, name);
