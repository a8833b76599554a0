// Programs of this host that are bound to an address and port of the proxy: they would get nothing any more
// without a word. Those of root and of the proxy's own user are in the way. Anybody else may bind any port
// from 1024 on, and shall not keep the proxy from starting by that: he is told of. (Other proxies:
// claims.ts.)
import { readFile } from 'node:fs/promises';
import { IoError } from '../sys/io-error.ts';
import { ADDRESS_WORDS, formatAddress, formatEndpoint, V4_MAPPED } from '../wire/address.ts';
import type { LipPorts, VipPort } from './port-ranges.ts';

export interface BoundSocket {
  ip: string;
  port: number;
  uid: number;
}

/**
 * Resolves with what is to be said of sockets that will get nothing. Throws an IoError that names a VIP:vport
 * in use.
 */
export async function checkBoundSockets(
  vips: readonly VipPort[],
  lips: readonly LipPorts[],
): Promise<string[]> {
  // A host without IPv6 has no udp6.
  const tables = [
    await readFile('/proc/net/udp', 'utf8'),
    await readFile('/proc/net/udp6', 'utf8').catch(() => ''),
  ];
  return judgeBound(tables.flatMap(boundSockets), vips, lips);
}

function judgeBound(
  bound: readonly BoundSocket[],
  vips: readonly VipPort[],
  lips: readonly LipPorts[],
): string[] {
  const endpoints = new Set(vips.map(({ ip, port }) => formatEndpoint(ip, port)));
  const lportsOf = new Map<string, LipPorts[]>();
  for (const lip of lips) lportsOf.set(lip.ip, [...(lportsOf.get(lip.ip) ?? []), lip]);
  return bound.flatMap(({ ip, port, uid }) => {
    const endpoint = formatEndpoint(ip, port);
    const isVip = endpoints.has(endpoint);
    if (isVip && (uid === 0 || uid === process.getuid?.()))
      throw new IoError(
        `a program on this host is bound to UDP ${endpoint}, which would get nothing any more`,
        `ss -lunp 'sport = :${port}' tells which; stop it, or bind it to another address, as ${ip.includes(':') ? '::1' : '127.0.0.1'}`,
      );
    const isLip = lportsOf.get(ip)?.some(({ first, last }) => port >= first && port <= last) ?? false;
    if (!isVip && !isLip) return [];
    return [
      `a program of user ${uid} is bound to UDP ${endpoint}, which is the proxy's: it gets nothing there`,
    ];
  });
}

/**
 * What /proc/net/udp or udp6 lists. A program bound to 0.0.0.0 or :: is no conflict: it may be the sidecar's
 * server, which gets its datagrams on 127.0.0.1 or ::1. An IPv6 socket may be bound to an IPv4 address.
 */
export function boundSockets(procNetUdp: string): BoundSocket[] {
  const bound: BoundSocket[] = [];
  for (const line of procNetUdp.split('\n').slice(1)) {
    const match = /^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) 0+:0000 \S+ \S+ \S+ \S+ +(\d+) /.exec(
      line,
    );
    if (match === null) continue;
    bound.push({
      ip: addressOf(match[1]),
      port: Number.parseInt(match[2], 16),
      uid: Number(match[3]),
    });
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
