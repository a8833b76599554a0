// Addresses as they stand in a config (the only importer of ipaddr.js). IPv6 is recognized only to say that it cannot be
// used yet, except for the admin listener, which is no part of the packet path.
import ipaddr from 'ipaddr.js';
import type { Reader } from './reader.ts';

export interface Listen {
  /** IP address without brackets. */
  host: string;
  /** 0: any free port. */
  port: number;
}

/** An IPv4 address that one machine can have: not 0/8, multicast, 240/4 or broadcast. Loopback is allowed. */
export function unicastAddress(): Reader<string> {
  return {
    allowed: 'unicast IPv4 address',
    read: (raw) => (isIpv4(raw) && notUnicast(raw) === undefined ? raw : undefined),
    reason: (raw) => {
      if (isIpv4(raw)) return notUnicast(raw);
      return isIpv6(raw) ? 'IPv6 is not supported yet' : undefined;
    },
  };
}

/** `127.0.0.1:9464` or `[::1]:9464`. Names are refused: what they stand for can change under a running proxy. */
export function listenAddress(): Reader<Listen> {
  return {
    allowed: 'IP address and port 0..65535, as 127.0.0.1:9464 or [::1]:9464',
    read: (raw) => {
      const match = typeof raw === 'string' ? /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(raw) : null;
      if (!match) return undefined;
      const [, v6, v4, portText] = match;
      const port = Number(portText);
      const host = v6 ?? v4!;
      const valid = v6 === undefined ? isIpv4(host) : isIpv6(host);
      return valid && port <= 65535 ? { host, port } : undefined;
    },
  };
}

/** True when only programs on this host can reach `host`. */
export function isLoopback(host: string): boolean {
  return ipaddr.process(host).range() === 'loopback';
}

function notUnicast(address: string): string | undefined {
  const [a, b, c, d] = ipaddr.IPv4.parse(address).toByteArray();
  if (a === 0) return 'the network 0.0.0.0/8 is no address of a machine';
  if (a === 255 && b === 255 && c === 255 && d === 255) return 'a broadcast address cannot be used';
  if (a! >= 240) return 'the network 240.0.0.0/4 is reserved';
  if (a! >= 224) return 'a multicast address cannot be used';
  return undefined;
}

/** Four decimal octets without leading zeros (which some programs read as octal). */
function isIpv4(raw: unknown): raw is string {
  return (
    typeof raw === 'string' &&
    ipaddr.IPv4.isValidFourPartDecimal(raw) &&
    ipaddr.IPv4.parse(raw).toString() === raw
  );
}

function isIpv6(raw: unknown): boolean {
  return typeof raw === 'string' && ipaddr.IPv6.isValid(raw);
}
