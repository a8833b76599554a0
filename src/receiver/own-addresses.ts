// Addresses of this host that prefixes hold: `from` is for the proxies' only.
import { BlockList } from 'node:net';
import { networkInterfaces } from 'node:os';

/** Those of the network namespace of this process, but for loopback; `prefixes` are as `10.2.0.0/24`. */
export function ownAddressesIn(prefixes: readonly string[]): string[] {
  const held = new BlockList();
  for (const prefix of prefixes) {
    const [address = '', length] = prefix.split('/');
    held.addSubnet(address, Number(length), address.includes(':') ? 'ipv6' : 'ipv4');
  }
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(
      ({ internal, address, family }) =>
        !internal && held.check(address, family === 'IPv6' ? 'ipv6' : 'ipv4'),
    )
    .map(({ address }) => address);
}
