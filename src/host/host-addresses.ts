// VIPs and LIPs as addresses of this host: added, removed, and waited for until they can be used.
import { setTimeout as sleep } from 'node:timers/promises';
import { addAddresses, takeAddresses } from './address-changes.ts';
import { type Link, listLinks } from './interfaces.ts';

export interface MissingAddress {
  ip: string;
  device: string;
  /** The command that adds it. */
  command: string;
}

/** What keeps a VIP or LIP from being served, or an interface from being used. */
export interface Trouble {
  /** The VIP or LIP; '' for an interface. */
  ip: string;
  text: string;
  hint: string;
}

/**
 * How long an address may be looked for on other hosts before it counts as usable (RFC 4862, 5.4: 1 to 2 s).
 */
const TENTATIVE_MS = 3_000;
const TENTATIVE_POLL_MS = 100;

/**
 * The interfaces, as soon as duplicate address detection has ended for these addresses: until then the kernel
 * neither answers for them nor routes to them. Without a link it does not end; then they are taken for what
 * they will be.
 */
export async function settledLinks(addresses: readonly string[]): Promise<Link[]> {
  const wanted = new Set(addresses);
  const deadline = performance.now() + TENTATIVE_MS;
  for (;;) {
    const links = await listLinks();
    const isTentative = links.some((link) =>
      link.addresses.some(({ ip, state }) => state === 'tentative' && wanted.has(ip)),
    );
    if (!isTentative || performance.now() > deadline) return links;
    await sleep(TENTATIVE_POLL_MS);
  }
}

/** Those of these addresses that another host has, too. */
export function duplicatesAmong(links: readonly Link[], addresses: readonly string[]): Trouble[] {
  const wanted = new Set(addresses);
  return links.flatMap(({ name, addresses }) =>
    addresses
      .filter(({ ip, state }) => state === 'duplicate' && wanted.has(ip))
      .map(({ ip }) => inUseElsewhere(ip, name)),
  );
}

const inUseElsewhere = (ip: string, device: string): Trouble => ({
  ip,
  text: `the address ${ip} of ${device} is in use by another host (duplicate address detection failed)`,
  hint: `take it away there, then here: ip address delete ${ip} dev ${device}, and add it again`,
});

/**
 * Adds those that can be added, usable at once, and says which and what keeps others from it. Throws an
 * IoError with none added.
 */
export async function assignAddresses(
  missing: readonly MissingAddress[],
): Promise<{ added: MissingAddress[]; troubles: Trouble[] }> {
  if (missing.length === 0) return { added: [], troubles: [] };
  const { added, refused } = await addAddresses(missing);
  try {
    const ips = added.map(({ ip }) => ip);
    const duplicates = duplicatesAmong(await settledLinks(ips), ips);
    const isDuplicate = new Set(duplicates.map(({ ip }) => ip));
    await removeAddresses(added.filter(({ ip }) => isDuplicate.has(ip)));
    return {
      added: added.filter(({ ip }) => !isDuplicate.has(ip)),
      troubles: [...refused, ...duplicates],
    };
  } catch (problem) {
    await removeAddresses(added).catch(() => {}); // what went wrong before says more
    throw problem;
  }
}

/**
 * Removes what assignAddresses added; what is gone already is no error. Tries all, then throws the first
 * failure.
 */
export async function removeAddresses(list: readonly MissingAddress[]): Promise<void> {
  if (list.length > 0) await takeAddresses(list);
}
