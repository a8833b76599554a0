// Addresses as they stand in a config (the only importer of ipaddr.js). What is read is canonical text (RFC
// 5952), so that two notations of one address are found to be the same.
import ipaddr from 'ipaddr.js';
import { familyOf, formatEndpoint } from '../wire/address.ts';
import { addressHint, endpointHint, prefixHint } from './hint.ts';
import { formatValue } from './problem.ts';
import type { Reader } from './reader.ts';

export interface Listen {
  /** IP address without brackets. */
  host: string;
  /** 0: any free port. */
  port: number;
}

/**
 * An address that one machine can have and that can be routed to: not 0/8, 240/4, broadcast, ::, link-local
 * IPv6 or multicast. Loopback is allowed.
 */
export function unicastAddress(): Reader<string> {
  return {
    allowed: 'unicast IPv4 or IPv6 address',
    read: (raw) => (refusalOf(raw) === undefined ? canonical(raw) : undefined),
    reason: (raw) => refusalOf(raw) ?? addressHint(raw, isAddress),
  };
}

/** One unicast address, or a list of at most one per family. */
export function addressPerFamily(): Reader<readonly string[]> {
  const one = unicastAddress();
  return {
    allowed: `${one.allowed}, or a list of one per family`,
    read: (raw) => {
      const addresses = asList(raw).map((element) => one.read(element));
      if (addresses.length === 0 || !addresses.every((address) => address !== undefined)) return undefined;
      return new Set(addresses.map(familyOf)).size === addresses.length ? addresses : undefined;
    },
    reason: (raw) => {
      if (!Array.isArray(raw)) return one.reason?.(raw);
      for (const element of raw as unknown[]) {
        if (one.read(element) !== undefined) continue;
        const hint = addressHint(element, isAddress);
        return (
          refusalOf(element) ??
          `${formatValue(element)} is no ${one.allowed}${hint === undefined ? '' : `: ${hint}`}`
        );
      }
      if (raw.length > 2) return 'more than two addresses';
      return raw.length === 2 ? `both are IPv${familyOf(canonical(raw[0])!)}` : undefined;
    },
  };
}

const asList = (raw: unknown): unknown[] => (Array.isArray(raw) ? raw : [raw]);

/**
 * `127.0.0.1:9464` or `[::1]:9464`. Names are refused: what they stand for can change under a running proxy.
 */
export function listenAddress(): Reader<Listen> {
  return {
    allowed: 'IP address and port 0..65535, as 127.0.0.1:9464 or [::1]:9464',
    read: (raw) => {
      const match = typeof raw === 'string' ? /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(raw) : null;
      if (!match) return undefined;
      const [, v6, v4, portText] = match;
      const port = Number(portText);
      const host = v6 ?? v4;
      const valid = v6 === undefined ? isIpv4(host) : isIpv6(host);
      return valid && port <= 65535 ? { host, port } : undefined;
    },
    reason: (raw) => endpointHint(raw, isAddress),
    format: ({ host, port }) => formatEndpoint(host, port),
  };
}

/** `10.2.0.9:6000` or `[fd00::9]:6000`, the address as unicastAddress takes it. */
export function endpoint(): Reader<{ ip: string; port: number }> {
  const listen = listenAddress();
  const address = unicastAddress();
  return {
    allowed: 'unicast address and port 1..65535, as 10.2.0.9:6000 or [fd00::9]:6000',
    read: (raw) => {
      const read = listen.read(raw);
      const ip = read && address.read(read.host);
      return ip !== undefined && read!.port > 0 ? { ip, port: read!.port } : undefined;
    },
    reason: (raw) => {
      const host = listen.read(raw)?.host;
      return host === undefined ? endpointHint(raw, isAddress) : refusalOf(host);
    },
    format: ({ ip, port }) => formatEndpoint(ip, port),
  };
}

/**
 * `198.51.100.0/24`, `2001:db8::/32`, or one address -> canonical text with its length. No bits may be set
 * behind it.
 */
export function prefix(): Reader<string> {
  return {
    allowed: 'prefix (198.51.100.0/24, 2001:db8::/32) or address',
    read: (raw) => {
      const parsed = parsePrefix(raw);
      if (parsed === undefined || refusalOfPrefix(parsed) !== undefined) return undefined;
      return `${parsed.address}/${parsed.length}`;
    },
    reason: (raw) => {
      const parsed = parsePrefix(raw);
      return parsed === undefined ? prefixHint(raw, isAddress) : refusalOfPrefix(parsed);
    },
  };
}

interface Prefix {
  /** Canonical. */
  address: string;
  /** Four or sixteen. */
  bytes: readonly number[];
  length: number;
  /** Why the address is none that a prefix can have. */
  refusal: string | undefined;
}

function parsePrefix(raw: unknown): Prefix | undefined {
  const match = typeof raw === 'string' ? /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(raw) : null;
  const text = match?.[1];
  if (isIpv4(text)) {
    const bytes = text.split('.').map(Number);
    return { address: text, bytes, length: Number(match![2] ?? 32), refusal: undefined };
  }
  if (!isIpv6(text)) return undefined;
  const parsed = ipaddr.IPv6.parse(text);
  const refusal =
    parsed.zoneId !== undefined
      ? 'a prefix has no zone id'
      : isMapped(parsed.parts)
        ? `IPv4-mapped addresses are IPv4, which is written ${parsed.toIPv4Address().toString()}`
        : undefined;
  const length = Number(match![2] ?? 128);
  return { address: parsed.toRFC5952String(), bytes: parsed.toByteArray(), length, refusal };
}

/** ::ffff:0:0/96. */
function isMapped(groups: readonly number[]): boolean {
  return groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0);
}

function refusalOfPrefix({ bytes, length, refusal }: Prefix): string | undefined {
  const bits = 8 * bytes.length;
  if (length > bits) return `an IPv${bits === 32 ? 4 : 6} address has ${bits} bits`;
  if (refusal !== undefined) return refusal;
  const network = bytes.map((byte, i) => byte & ~(0xff >> Math.min(8, Math.max(0, length - 8 * i))));
  if (network.every((byte, i) => byte === bytes[i])) return undefined;
  const start = ipaddr.fromByteArray(network);
  const text = start instanceof ipaddr.IPv6 ? start.toRFC5952String() : start.toString();
  return `it has bits behind its length: ${text}/${length}`;
}

/** True when only programs on this host can reach `host`. */
export function isLoopback(host: string): boolean {
  return ipaddr.process(host).range() === 'loopback';
}

/** Undefined when `raw` is no address. */
function canonical(raw: unknown): string | undefined {
  if (isIpv4(raw)) return raw;
  return isIpv6(raw) ? ipaddr.IPv6.parse(raw).toRFC5952String() : undefined;
}

/** Why an address cannot be used; undefined when it can, or is none. */
function refusalOf(raw: unknown): string | undefined {
  if (isIpv4(raw)) return refusalOfIpv4(raw);
  if (isIpv6(raw)) return refusalOfIpv6(raw);
  return typeof raw === 'string' && /^\[.*\]$/.test(raw) && isIpv6(raw.slice(1, -1))
    ? 'brackets are for an address with a port'
    : undefined;
}

function refusalOfIpv4(address: string): string | undefined {
  const [a, b, c, d] = ipaddr.IPv4.parse(address).toByteArray();
  if (a === 0) return 'the network 0.0.0.0/8 is no address of a machine';
  if (a === 255 && b === 255 && c === 255 && d === 255) return 'a broadcast address cannot be used';
  if (a >= 240) return 'the network 240.0.0.0/4 is reserved';
  if (a >= 224) return 'a multicast address cannot be used';
  return undefined;
}

function refusalOfIpv6(address: string): string | undefined {
  const parsed = ipaddr.IPv6.parse(address);
  if (parsed.zoneId !== undefined) return 'an address with a zone id cannot be used';
  switch (parsed.range()) {
    case 'unspecified':
      return ':: is no address of a machine';
    case 'multicast':
      return 'a multicast address cannot be used';
    case 'linkLocal':
      return 'a link-local address cannot be used, because it is not routed';
    case 'ipv4Mapped':
      return `an IPv4-mapped address is IPv4, which is written ${parsed.toIPv4Address().toString()}`;
    default:
      return undefined;
  }
}

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);

/** Four decimal octets without leading zeros (which some programs read as octal). */
function isIpv4(raw: unknown): raw is string {
  return typeof raw === 'string' && IPV4.test(raw);
}

const isAddress = (text: string): boolean => isIpv4(text) || isIpv6(text);

function isIpv6(raw: unknown): raw is string {
  return typeof raw === 'string' && ipaddr.IPv6.isValid(raw);
}
