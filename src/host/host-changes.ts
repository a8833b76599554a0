// What became different on a host since it was inspected, in words for the log. Pure.
import type { HostFacts } from './host.ts';

/**
 * One line for each difference that matters to the proxy; none: `after` would change nothing. `served` are
 * the VIPs and LIPs: they come and go with the proxy itself, and are asked for by `missing`. Both have the
 * same ports.
 */
export function hostChanges(before: HostFacts, after: HostFacts, served: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  for (const [index, { name, mac, mtu }] of after.ports.entries()) {
    const old = before.ports[index];
    if (old.mac !== mac) lines.push(`${name}: Ethernet address ${old.mac || 'none'} -> ${mac || 'none'}`);
    if (old.mtu !== mtu) lines.push(`${name}: MTU ${old.mtu} -> ${mtu}`);
  }
  const towards = new Map<string, Set<string>>();
  const servers = new Set<string>(); // one may be of several services
  for (const [index, reach] of after.reach.entries())
    for (const [rip, { mtu, unreachable }] of Object.entries(reach)) {
      const old = before.reach[index][rip];
      if (old.unreachable !== unreachable)
        servers.add(`real server ${rip}${unreachable === '' ? ' can be reached' : `: ${unreachable}`}`);
      else if (old.mtu !== mtu) {
        const change = `${old.mtu} -> ${mtu}`;
        towards.set(change, (towards.get(change) ?? new Set()).add(rip));
      }
    }
  for (const [change, rips] of towards) lines.push(`MTU towards ${named([...rips])}: ${change}`);
  lines.push(...servers);
  for (const { ip, device } of after.missing) lines.push(`address ${ip} of ${device} was gone`);
  for (const [what, old, now] of [
    ['address', before.own, after.own],
    ['broadcast address', before.broadcasts, after.broadcasts],
  ] as const) {
    const count = lines.length;
    const [wasThere, isThere] = [new Set(old), new Set(now)];
    for (const ip of now) if (!served.has(ip) && !wasThere.has(ip)) lines.push(`${what} ${ip} added`);
    for (const ip of old) if (!served.has(ip) && !isThere.has(ip)) lines.push(`${what} ${ip} removed`);
    if (lines.length > count) break; // broadcasts follow from addresses
  }
  return lines;
}

/** There may be thousands. */
const NAMED_MAX = 20;

function named(all: readonly string[]): string {
  const more = all.length - NAMED_MAX;
  return more > 0 ? `${all.slice(0, NAMED_MAX).join(', ')} and ${more} more` : all.join(', ');
}
