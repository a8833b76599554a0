// The UOA of every dialect, and the forms that no dialect of ours sends but a receiver reads
// (docs/wire-formats.md), in packets of either family. Imports nothing of src/.
import { type Ipv4Fields, ipv4, udp4 } from './builder.ts';
import { destOptions, type Extension, type Ipv6Fields, ipv6, udp6 } from './builder6.ts';
import { concat, type Family, familyOf, ip, u16, u32 } from './bytes.ts';
import { datagram, UDP, type UdpFields } from './udp.ts';

export const OPP = 248;

/** Whom a UOA names; the dialects without virtual address leave out VIP:vport. */
export interface Named {
  cip: string;
  cport: number;
  vip: string;
  vport: number;
}

/** `type30` is `unified` with another number, `type29` ByteDance's form with a VNI. */
export type Form = 'ipo' | 'opp' | 'elb' | 'unified' | 'type30' | 'type29';

export const DIALECTS = ['ipo', 'opp', 'elb', 'unified'] as const;
export const FORMS: readonly Form[] = [...DIALECTS, 'type30', 'type29'];

/**
 * Where a UOA stands in a packet: an IPv4 option, an IPv6 extension header, or what a protocol-248 header
 * holds.
 */
export type Uoa = { options: Uint8Array } | { extensions: readonly Extension[] } | OppHeader;

export interface OppHeader {
  /** What follows the four header bytes: normally one UOA option. */
  option: Uint8Array;
  /** Default 1 for an option of 8 bytes, 2 for one of 20: the client's family. */
  oppVersion?: number;
  /** Default 17. */
  inner?: number;
  /** Default 4 + option length. */
  oppLength?: number;
}

export type Opp4Fields = Ipv4Fields & UdpFields & OppHeader;
export type Opp6Fields = Ipv6Fields & UdpFields & OppHeader;

/** The UOA of a form in a packet of `family`; undefined where that form does not exist (ipo over IPv6). */
export function uoaOf(form: Form, family: Family, named: Named): Uoa | undefined {
  const { cip, cport } = named;
  if (form === 'opp') return { option: addressOption(cip, cport) };
  if (family === 4) {
    if (form === 'unified') return { options: unifiedOption(named) };
    if (form === 'type30') return { options: unifiedOption(named, 30) };
    if (form === 'type29') return { options: vniOption(cip, cport) };
    return { options: addressOption(cip, cport) };
  }
  if (form === 'unified') return { extensions: [unifiedHeader(named)] };
  if (form === 'type30') return { extensions: [unifiedHeader(named, 30)] };
  if (form === 'type29') return { extensions: [vniHeader(cip, cport)] };
  return form === 'elb' ? { extensions: [elbHeader(cip, cport)] } : undefined;
}

/** Fields of a UDP packet of either family; those of the other family are ignored. */
export type EitherFields = Ipv4Fields & Ipv6Fields & UdpFields;

/**
 * A UDP packet of the family of its addresses. `ttl` and `tos` serve both families; `uoa` stands in front of
 * other options and extension headers.
 */
export function udp(fields: EitherFields, uoa?: Uoa): Uint8Array {
  const v4 = familyOf(fields.src) === 4;
  const none = new Uint8Array(0);
  const options = concat(uoa && 'options' in uoa ? uoa.options : none, fields.options ?? none);
  const extensions = [...(uoa && 'extensions' in uoa ? uoa.extensions : []), ...(fields.extensions ?? [])];
  const fields6 = {
    ...fields,
    hopLimit: fields.hopLimit ?? fields.ttl ?? 64,
    trafficClass: fields.trafficClass ?? fields.tos ?? 0,
    extensions,
  };
  if (uoa && 'option' in uoa) return v4 ? opp4({ ...fields, ...uoa }) : opp6({ ...fields6, ...uoa });
  return v4 ? udp4({ ...fields, options }) : udp6(fields6);
}

/** UDP behind a protocol-248 header; its checksum knows nothing of that header. */
export function opp4(fields: Opp4Fields): Uint8Array {
  return ipv4(fields, OPP, concat(oppHeader(fields), datagram(fields)));
}

export function opp6(fields: Opp6Fields): Uint8Array {
  return ipv6(fields, OPP, concat(oppHeader(fields), datagram(fields)));
}

function oppHeader({ option, oppVersion, inner = UDP, oppLength }: OppHeader): Uint8Array {
  const version = oppVersion ?? (option.length === 20 ? 2 : 1);
  return concat(Uint8Array.of(version << 4, inner), u16(oppLength ?? 4 + option.length), option);
}

/** The address option of dialects ipo, opp and elb over IPv4, 8 or 20 bytes: type, length, cport, CIP. */
export function addressOption(cip: string, cport: number, type = 31): Uint8Array {
  const address = ip(cip);
  return concat(Uint8Array.of(type, 4 + address.length), u16(cport), address);
}

/** elb over IPv6: the length counts cport and CIP only; PadN fills up, 24 or 16 bytes in all. */
export function elbHeader(cip: string, cport: number, type = 31): Extension {
  const address = ip(cip);
  return destOptions(concat(Uint8Array.of(type, 2 + address.length), u16(cport), address));
}

/** unified over IPv4, 16 or 40 bytes: type, length, operation (1: IPv6 inside), 0, cport, vport, CIP, VIP. */
export function unifiedOption(named: Named, type = 31): Uint8Array {
  const content = pairOf(named);
  const operation = familyOf(named.cip) === 6 ? 1 : 0;
  return concat(Uint8Array.of(type, 4 + content.length, operation, 0), content);
}

/** unified over IPv6, 16 or 40 bytes: no operation, no padding. */
export function unifiedHeader(named: Named, type = 31): Extension {
  const content = pairOf(named);
  return destOptions(concat(Uint8Array.of(type, content.length), content));
}

/**
 * Type 29 over IPv4, 16 or 32 bytes: type, length, operation, 0, VNI, cport, 0, CIP, four zeros behind an
 * IPv6 one.
 */
export function vniOption(cip: string, cport: number, vni = 0x1092): Uint8Array {
  const content = vniContent(cip, cport, vni);
  return concat(Uint8Array.of(29, 4 + content.length, familyOf(cip) === 6 ? 1 : 0, 0), content);
}

export function vniHeader(cip: string, cport: number, vni = 0x1092): Extension {
  const content = vniContent(cip, cport, vni);
  return destOptions(concat(Uint8Array.of(29, content.length), content));
}

function pairOf({ cip, cport, vip, vport }: Named): Uint8Array {
  return concat(u16(cport), u16(vport), ip(cip), ip(vip));
}

function vniContent(cip: string, cport: number, vni: number): Uint8Array {
  return concat(u32(vni), u16(cport), u16(0), ip(cip), new Uint8Array(familyOf(cip) === 6 ? 4 : 0));
}

const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);

/** Dialect proxy-v2, before the payload: version 2 and PROXY, UDP over the client's family, length. */
export function proxyHeader({ cip, cport, vip, vport }: Named): Uint8Array {
  const content = concat(ip(cip), ip(vip), u16(cport), u16(vport));
  const over = familyOf(cip) === 4 ? 0x12 : 0x22;
  return concat(SIGNATURE, Uint8Array.of(0x21, over), u16(content.length), content);
}
