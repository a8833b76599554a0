// Limits of the whole machine that the peers would otherwise run into: size of the connection tracking table
// and of socket buffers. Raised while the bench runs, put back when it ends.
import { readFileSync, writeFileSync } from 'node:fs';

const WANTED: Record<string, number> = {
  '/proc/sys/net/netfilter/nf_conntrack_max': 4_000_000,
  '/proc/sys/net/netfilter/nf_conntrack_buckets': 2_097_152,
  '/proc/sys/net/core/rmem_max': 64 << 20,
  '/proc/sys/net/core/wmem_max': 64 << 20,
  '/proc/sys/net/core/netdev_max_backlog': 4096,
};

/** Raises what is lower, until the process exits; returns what could not be raised. */
export function raiseLimits(): string[] {
  const failed: string[] = [];
  for (const [path, wanted] of Object.entries(WANTED)) {
    try {
      const before = Number(readFileSync(path, 'utf8'));
      if (before >= wanted) continue;
      writeFileSync(path, String(wanted));
      process.once('exit', () => writeFileSync(path, String(before)));
    } catch {
      failed.push(path);
    }
  }
  return failed;
}
