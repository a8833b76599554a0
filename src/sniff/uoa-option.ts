// Reads the UOA of every dialect as a receiver does, and by no code of the proxy's, so that a mistake there
// shows here. What somebody meant to be a UOA and is none gets a reason in words. Layouts:
// docs/wire-formats.md. Everywhere cport, vport and addresses follow each other without padding.
import { formatEndpoint } from '../wire/address.ts';
import { addressText } from './endpoint.ts';

/**
 * A list of its own, not the table of uoa/dialect.ts: see above. `ipo` is what elb is over IPv4, too; `vni`
 * is option type 29 of ByteDance's receiver, which no dialect of ours sends.
 */
export const SEEN_DIALECTS = ['ipo', 'opp', 'elb', 'unified', 'vni', 'proxy-v2'] as const;
export type SeenDialect = (typeof SEEN_DIALECTS)[number];

export interface Endpoint {
  ip: string;
  port: number;
}

export interface Uoa {
  dialect: SeenDialect;
  /** Undefined for proxy-v2, which is no option. */
  optionType: number | undefined;
  /** How it travels, in words. */
  form: string;
  client: Endpoint;
  /** The virtual address that it sent to: only dialects unified and proxy-v2 tell. */
  virtual: Endpoint | undefined;
  /**
   * What an echo ACK repeats unchanged: the IP option, the destination options header, or the opp header; of
   * proxy-v2, which has none, the header.
   */
  bytes: Uint8Array;
}

/** What a header holds: the first UOA that is right, and what is wrong with the first that is not. */
export interface Reading {
  uoa: Uoa | undefined;
  fault: string | undefined;
}

const OPTION_END = 0;
const OPTION_NOP = 1;
const DESTINATION_PAD1 = 0;
const TYPE_ADDRESS = 31;
const TYPE_VNI = 29;
const TYPES = [TYPE_ADDRESS, 30, TYPE_VNI];
const PROTOCOL_UDP = 17;
/** A destination options header begins with the next header and its length; an opp header with four bytes. */
const DESTINATION_HEAD_LEN = 2;
const OPP_HEAD_LEN = 4;
const OPTION_HEAD_LEN = 2;
/**
 * An IPv4 option that has more than the address begins with the operation (0: IPv4 inside, 1: IPv6) and a
 * zero.
 */
const OPERATION_LEN = 2;

/**
 * The content of each kind of option behind what stands before it in IPv4, by its length, with the bytes of
 * an address.
 */
const ADDRESS_LENGTHS: Readonly<Record<number, number>> = { 6: 4, 18: 16 };
const UNIFIED_LENGTHS: Readonly<Record<number, number>> = { 12: 4, 36: 16 };
const VNI_LENGTHS: Readonly<Record<number, number>> = { 12: 4, 28: 16 };

/** `10.0.0.1:53`, `[fd00::1]:53`. */
export const endpointName = ({ ip, port }: Endpoint): string => formatEndpoint(ip, port);

/** Reads raw IPv4 options (without the fixed header): UOA of 8, 20, 16 or 40 bytes. */
export function findInIpOptions(options: Uint8Array): Reading {
  const found: Reading = { uoa: undefined, fault: undefined };
  for (let at = 0; at < options.length && options[at] !== OPTION_END; ) {
    const type = options[at];
    if (type === OPTION_NOP) {
      at++;
      continue;
    }
    const len = options[at + 1] ?? 0;
    const isCandidate = TYPES.includes(type);
    if (len < OPTION_HEAD_LEN || at + len > options.length) {
      if (isCandidate)
        note(found, `IP option ${type} of length ${len} where ${options.length - at} bytes are left`);
      return found;
    }
    if (isCandidate) note(found, readIpOption(options.slice(at, at + len)));
    at += len;
  }
  return found;
}

/** Reads an IPv6 destination options header: UOA with 6, 18, 12 or 36 bytes of content. */
export function findInDestinationOptions(header: Uint8Array): Reading {
  const found: Reading = { uoa: undefined, fault: undefined };
  for (let at = DESTINATION_HEAD_LEN; at < header.length; ) {
    const type = header[at];
    if (type === DESTINATION_PAD1) {
      at++;
      continue;
    }
    const len = header[at + 1] ?? 0;
    const end = at + OPTION_HEAD_LEN + len;
    const isCandidate = TYPES.includes(type);
    if (end > header.length) {
      const left = Math.max(0, header.length - at - OPTION_HEAD_LEN);
      if (isCandidate)
        note(found, `destination option ${type} of length ${len} where ${left} bytes are left`);
      return found;
    }
    const name = `destination option ${type}`;
    if (isCandidate)
      note(found, readContent(name, type, header.subarray(at + OPTION_HEAD_LEN, end), 'elb', header.slice()));
    at = end;
  }
  return found;
}

/** Reads an opp header (protocol 248): exactly one option of 8 or 20 bytes. */
export function readOppHeader(header: Uint8Array): Reading {
  const fault = (text: string): Reading => ({ uoa: undefined, fault: `protocol 248: ${text}` });
  const [first = 0, inner = 0, type = 0, len = 0] = [
    ...header.subarray(0, 2),
    ...header.subarray(OPP_HEAD_LEN),
  ];
  if (inner !== PROTOCOL_UDP) return fault(`protocol ${inner} inside, not UDP`);
  if (header.length !== 12 && header.length !== 24) return fault(`length ${header.length}, not 12 or 24`);
  const version = header.length === 24 ? 2 : 1;
  if (first !== version << 4) return fault(`version byte ${hex(first)} at length ${header.length}`);
  if (type !== TYPE_ADDRESS) return fault(`option type ${type}, not 31`);
  if (len !== header.length - OPP_HEAD_LEN)
    return fault(`option of length ${len} in ${header.length - OPP_HEAD_LEN} bytes`);
  const content = header.subarray(OPP_HEAD_LEN + OPTION_HEAD_LEN);
  const read = readContent('protocol 248', type, content, 'opp', header.slice());
  return typeof read === 'string' ? fault(read) : { uoa: read, fault: undefined };
}

const PROXY_SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const PROXY_HEAD_LEN = 16;
const PROXY_COMMANDS = { local: 0x20, proxy: 0x21 };
/** UDP over IPv4 and IPv6, with the bytes of an address. */
const PROXY_FAMILIES: Readonly<Record<number, number>> = { 18: 4, 34: 16 };

/**
 * Reads the header of PROXY protocol v2 that a payload begins with; undefined where it begins with none, or
 * with one that tells of no client (LOCAL). Addresses may have TLVs behind them.
 */
export function readProxyHeader(payload: Uint8Array): Reading | undefined {
  if (PROXY_SIGNATURE.some((byte, at) => payload[at] !== byte)) return undefined;
  const fault = (text: string): Reading => ({ uoa: undefined, fault: `PROXY protocol: ${text}` });
  if (payload.length < PROXY_HEAD_LEN) return fault(`a header of ${payload.length} bytes`);
  const [command, over] = payload.subarray(PROXY_SIGNATURE.length);
  const word = (at: number) => (payload[at] << 8) | payload[at + 1];
  const length = word(PROXY_HEAD_LEN - 2);
  if (command === PROXY_COMMANDS.local) return undefined;
  if (command !== PROXY_COMMANDS.proxy) return fault(`version and command ${hex(command)}`);
  const len = PROXY_FAMILIES[over];
  if (len === undefined) return fault(`family ${hex(over)}, not UDP over IPv4 or IPv6`);
  const end = PROXY_HEAD_LEN + length;
  if (end > payload.length)
    return fault(`length ${length} where ${payload.length - PROXY_HEAD_LEN} bytes are left`);
  if (length < 2 * len + 4) return fault(`length ${length} for family ${hex(over)}`);
  const portsAt = PROXY_HEAD_LEN + 2 * len;
  const endpoint = (at: number, portAt: number): Endpoint => ({
    ip: addressText(payload.subarray(at, at + len)),
    port: word(portAt),
  });
  const uoa: Uoa = {
    dialect: 'proxy-v2',
    optionType: undefined,
    form: 'PROXY protocol v2',
    client: endpoint(PROXY_HEAD_LEN, portsAt),
    virtual: endpoint(PROXY_HEAD_LEN + len, portsAt + 2),
    bytes: payload.slice(0, end),
  };
  return { uoa, fault: undefined };
}

function readIpOption(bytes: Uint8Array): Uoa | string {
  const type = bytes[0];
  const name = `IP option ${type}`;
  const content = bytes.subarray(OPTION_HEAD_LEN);
  if (type === TYPE_ADDRESS && ADDRESS_LENGTHS[content.length] !== undefined) {
    return readContent(name, type, content, 'ipo', bytes);
  }
  const read = readContent(name, type, content.subarray(OPERATION_LEN), 'ipo', bytes);
  if (typeof read === 'string' || read.dialect === 'ipo')
    return `${name} of length ${bytes.length}, which no UOA has`;
  const operation = read.client.ip.includes(':') ? 1 : 0;
  if (content[0] !== operation || content[1] !== 0) {
    return `${name} of length ${bytes.length} with operation ${hex(content[0])} ${hex(content[1])}`;
  }
  return read;
}

/** `plain` is what the form without virtual address is called where it stands. */
function readContent(
  name: string,
  optionType: number,
  content: Uint8Array,
  plain: SeenDialect,
  bytes: Uint8Array,
): Uoa | string {
  const { length } = content;
  const port = (at: number) => (content[at] << 8) | content[at + 1];
  const endpoint = (at: number, len: number, portAt: number): Endpoint => ({
    ip: addressText(content.subarray(at, at + len)),
    port: port(portAt),
  });
  const make = (dialect: SeenDialect, form: string, client: Endpoint, virtual?: Endpoint): Uoa => ({
    dialect,
    optionType,
    form,
    client,
    virtual,
    bytes,
  });
  if (optionType === TYPE_VNI) {
    const len = VNI_LENGTHS[length];
    if (len !== undefined)
      return make('vni', `${name}, VNI ${port(0) * 0x10000 + port(2)}`, endpoint(8, len, 4));
    return `${name} of length ${length}, which no UOA has`;
  }
  const addressLen = optionType === TYPE_ADDRESS ? ADDRESS_LENGTHS[length] : undefined;
  if (addressLen !== undefined) return make(plain, name, endpoint(2, addressLen, 0));
  const pairLen = UNIFIED_LENGTHS[length];
  if (pairLen === undefined) return `${name} of length ${length}, which no UOA has`;
  return make('unified', name, endpoint(4, pairLen, 0), endpoint(4 + pairLen, pairLen, 2));
}

function note(found: Reading, read: Uoa | string): void {
  if (typeof read === 'string') found.fault ??= read;
  else if (found.uoa !== undefined) found.fault ??= 'more than one UOA';
  else found.uoa = read;
}

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`;
