// A bpffs of a test's own, and how a program sees it in the place of the host's.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** The folder where one is mounted until the test ends. */
export function mountBpffs(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'uoa-bpffs-'));
  execFileSync('mount', ['-t', 'bpf', 'none', folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmdirSync(folder);
  });
  return folder;
}

/** The beginning of a command line in a mount namespace of its own that has the folder at /sys/fs/bpf. */
export const withBpffs = (folder: string): readonly string[] => [
  'sh',
  '-c',
  'mount --bind "$0" /sys/fs/bpf && exec "$@"',
  folder,
];

/** In one that has none. */
export const withoutBpffs: readonly string[] = [
  'sh',
  '-c',
  'mount -t tmpfs none /sys/fs/bpf && exec "$0" "$@"',
];

/** What proxies pinned there. */
export const pinnedIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => name.startsWith('uoa-proxy'));
