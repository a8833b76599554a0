// Who serves VIP:vport in this network namespace: this process, and nobody else. Two proxies would answer each datagram
// twice, and a program bound to the address would get nothing any more without a word. The claim is a listening socket
// in the abstract namespace of unix(7), which belongs to the network namespace and vanishes with the process.
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { ADDRESS_WORDS, formatAddress, formatEndpoint, V4_MAPPED } from '../wire/address.ts';
import { IoError } from './io-error.ts';
import type { VipPort } from './port-ranges.ts';

export interface Claim {
  /** Of all, or of those that are no longer needed. */
  release(vips?: readonly VipPort[]): Promise<void>;
}

/** Claims every VIP:vport; throws an IoError that names the first one that is taken, with none claimed. */
export async function claimPorts(vips: readonly VipPort[]): Promise<Claim> {
  // A host without IPv6 has no udp6.
  const tables = [
    await readFile('/proc/net/udp', 'utf8'),
    await readFile('/proc/net/udp6', 'utf8').catch(() => ''),
  ];
  const bound = new Set(tables.flatMap((table) => [...boundSockets(table)]));
  const servers = new Map<string, Server>();
  const release = async (released?: readonly VipPort[]) => {
    const endpoints = released?.map(({ ip, port }) => formatEndpoint(ip, port)) ?? [...servers.keys()];
    for (const endpoint of endpoints) {
      const server = servers.get(endpoint);
      servers.delete(endpoint);
      if (server !== undefined) await new Promise((resolve) => server.close(resolve));
    }
  };
  try {
    for (const { ip, port } of vips) {
      const endpoint = formatEndpoint(ip, port);
      if (bound.has(endpoint)) {
        throw new IoError(
          `a program on this host is bound to UDP ${endpoint}, which would get nothing any more`,
          `ss -lunp 'sport = :${port}' tells which; stop it, or bind it to another address, as ${ip.includes(':') ? '::1' : '127.0.0.1'}`,
        );
      }
      servers.set(endpoint, await claim(endpoint));
    }
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

/**
 * The addresses and ports in /proc/net/udp or udp6. A program bound to 0.0.0.0 or :: is no conflict: it may be the
 * sidecar's server, which gets its datagrams on 127.0.0.1 or ::1. An IPv6 socket may be bound to an IPv4 address.
 */
export function boundSockets(procNetUdp: string): Set<string> {
  const bound = new Set<string>();
  for (const line of procNetUdp.split('\n').slice(1)) {
    const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) 0+:0000 /.exec(line);
    if (match === null) continue;
    bound.add(formatEndpoint(addressOf(match[1]!), Number.parseInt(match[2]!, 16)));
  }
  return bound;
}

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The kernel prints an address as one or four numbers of the host's byte order. */
function addressOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (isLittleEndian) bytes.swap32();
  const words = Int32Array.of(0, 0, V4_MAPPED, bytes.readInt32BE(0));
  if (bytes.length > 4) for (let i = 0; i < ADDRESS_WORDS; i++) words[i] = bytes.readInt32BE(4 * i);
  return formatAddress(words, 0);
}

function claim(endpoint: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new IoError(
              `another uoa-proxy serves UDP ${endpoint} in this network namespace`,
              'stop it first: two would answer each datagram twice',
            )
          : error,
      );
    });
    server.listen(`\0uoa-proxy ${endpoint}`, () => resolve(server));
  });
}
