// What the host's interfaces and addresses are, asked of iproute2 (`ip -j`), and changed through it.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { IoError } from '../sys/io-error.ts';
import { type Family, familyOf } from '../wire/address.ts';
import { childFailure } from './child-failure.ts';

const run = promisify(execFile);

export interface Link {
  index: number;
  name: string;
  mtu: number;
  /** Ethernet address; '' for a device without one. */
  mac: string;
  up: boolean;
  loopback: boolean;
  /** The bridge or bond that it is a port of; '' for none. */
  master: string;
  /** Of both families, but for IPv6 link-local ones. */
  addresses: LinkAddress[];
}

export interface LinkAddress {
  ip: string;
  prefixLen: number;
  /** Whether IPv6 duplicate address detection is still going on, or has found another host with the address. */
  state: 'usable' | 'tentative' | 'duplicate';
}

interface IpAddress {
  ifindex: number;
  ifname: string;
  flags: string[];
  mtu: number;
  link_type: string;
  master?: string;
  address?: string;
  addr_info: IpAddressInfo[];
}
interface IpAddressInfo {
  family: string;
  local: string;
  prefixlen: number;
  scope: string;
  tentative?: boolean;
  dadfailed?: boolean;
}
interface IpRoute {
  dev?: string;
  nexthops?: { dev?: string }[];
}

/** All interfaces of this network namespace with their addresses. */
export async function listLinks(): Promise<Link[]> {
  const rows = JSON.parse(await ip('-j', 'address', 'show')) as IpAddress[];
  return rows.map((row) => ({
    index: row.ifindex,
    name: row.ifname,
    mtu: row.mtu,
    mac: row.link_type === 'ether' || row.link_type === 'loopback' ? (row.address ?? '') : '',
    up: row.flags.includes('UP'),
    loopback: row.flags.includes('LOOPBACK'),
    master: row.master ?? '',
    addresses: row.addr_info
      .filter(({ family, scope }) => family === 'inet' || (family === 'inet6' && scope !== 'link'))
      .map((info) => ({ ip: info.local, prefixLen: info.prefixlen, state: stateOf(info) })),
  }));
}

function stateOf({ tentative, dadfailed }: IpAddressInfo): LinkAddress['state'] {
  if (dadfailed) return 'duplicate';
  return tentative ? 'tentative' : 'usable';
}

/** The device of a family's default route; undefined when there is none. */
export async function defaultDevice(family: Family): Promise<string | undefined> {
  const rows = JSON.parse(await ip('-j', `-${family}`, 'route', 'show', 'default')) as IpRoute[];
  return rows[0]?.dev ?? rows[0]?.nexthops?.[0]?.dev;
}

export async function addAddress(address: string, device: string): Promise<void> {
  await ip(...addAddressArguments(address, device));
}

/** The command that `addAddress` runs, for a person. */
export function addAddressCommand(address: string, device: string): string {
  return `ip ${addAddressArguments(address, device).join(' ')}`;
}

function addAddressArguments(address: string, device: string): string[] {
  // The address is said to be free; while the kernel looks for another host with it, it does not answer for it.
  const options = familyOf(address) === 6 ? ['nodad'] : [];
  return ['address', 'add', asHost(address), 'dev', device, ...options];
}

/** Removes an address; one that is not there any more, or whose device is gone, is no error. */
export async function removeAddress(address: string, device: string): Promise<void> {
  try {
    await ip('address', 'delete', asHost(address), 'dev', device);
  } catch (error) {
    if (!/Cannot assign requested address|address not found|Cannot find device/i.test(String(error)))
      throw error;
  }
}

/** The address as the subnet that has no other: `10.0.0.1/32`, `fd00::1/128`. */
export function asHost(address: string): string {
  return `${address}/${familyOf(address) === 6 ? 128 : 32}`;
}

async function ip(...args: string[]): Promise<string> {
  try {
    // A session of its own: Ctrl-C in the terminal is for the proxy, which may be in the middle of restoring the host.
    const options = { maxBuffer: 64 << 20, detached: true };
    return (await run('ip', args, options)).stdout;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') {
      throw new IoError('the command ip was not found', 'install the Debian package iproute2', error);
    }
    const { cause, hint } = childFailure(error);
    const device = args[args.indexOf('dev') + 1];
    throw new IoError(
      `ip ${args.join(' ')} failed: ${cause}`,
      hint ??
        (/not permitted/.test(cause)
          ? 'changing addresses needs CAP_NET_ADMIN: run as root, or add the addresses yourself'
          : /Permission denied|IPv6 is disabled/.test(cause)
            ? `IPv6 is turned off on the interface; to turn it on: sysctl net.ipv6.conf.${device}.disable_ipv6=0`
            : 'see the message of ip'),
      error,
    );
  }
}
