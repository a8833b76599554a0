// Who serves VIP:vport in this network namespace: this process, and nobody else. Two proxies would answer each datagram
// twice, and a program bound to the address would get nothing any more without a word. The claim is a listening socket
// in the abstract namespace of unix(7), which belongs to the network namespace and vanishes with the process.
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { IoError } from './io-error.ts';
import type { VipPort } from './port-ranges.ts';

export interface Claim {
  release(): Promise<void>;
}

/** Claims every VIP:vport; throws an IoError that names the first one that is taken, with none claimed. */
export async function claimPorts(vips: readonly VipPort[]): Promise<Claim> {
  const bound = boundSockets(await readFile('/proc/net/udp', 'utf8'));
  const servers: Server[] = [];
  const release = async () => {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };
  try {
    for (const { ip, port } of vips) {
      if (bound.has(`${ip}:${port}`)) {
        throw new IoError(
          `a program on this host is bound to UDP ${ip}:${port}, which would get nothing any more`,
          `ss -lunp 'sport = :${port}' tells which; stop it, or bind it to another address, as 127.0.0.1`,
        );
      }
      servers.push(await claim(ip, port));
    }
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
}

/**
 * The addresses and ports in /proc/net/udp. A program bound to 0.0.0.0 is no conflict: it may be the sidecar's server,
 * which gets its datagrams on 127.0.0.1.
 */
export function boundSockets(procNetUdp: string): Set<string> {
  const bound = new Set<string>();
  for (const line of procNetUdp.split('\n').slice(1)) {
    const match = /^\s*\d+: ([0-9A-F]{8}):([0-9A-F]{4}) 00000000:0000 /.exec(line);
    if (match === null) continue;
    // The kernel prints the address as a number of the host's byte order.
    const bytes = Buffer.from(match[1]!, 'hex');
    if (isLittleEndian) bytes.reverse();
    bound.add(`${bytes.join('.')}:${Number.parseInt(match[2]!, 16)}`);
  }
  return bound;
}

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

function claim(ip: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new IoError(
              `another uoa-proxy serves UDP ${ip}:${port} in this network namespace`,
              'stop it first: two would answer each datagram twice',
            )
          : error,
      );
    });
    server.listen(`\0uoa-proxy ${ip}:${port}`, () => resolve(server));
  });
}
