// Which capabilities this process has (capabilities(7)).
import { readFileSync } from 'node:fs';

/** Their numbers, linux/capability.h. */
const NUMBER = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_BPF: 39 } as const;
export type Capability = keyof typeof NUMBER;

/** Those of `wanted` that are not effective here. Where the kernel has no CAP_BPF (before 5.8) it is one. */
export function missingCapabilities(wanted: readonly Capability[]): Capability[] {
  const status = readFileSync('/proc/self/status', 'latin1');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return wanted.filter((name) => (effective & (1n << BigInt(NUMBER[name]))) === 0n);
}
