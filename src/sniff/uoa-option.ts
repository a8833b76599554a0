// Reads the UOA of every dialect as a receiver does, and by no code of the proxy's, so that a mistake there shows here.
// Layouts: docs/wire-formats.md. Everywhere cport, vport and addresses follow each other without padding.
import { endpointText } from './endpoint.ts';

export interface Uoa {
  /** How it travels, in words. */
  form: string;
  /** The client, as ip:port. */
  client: string;
  /** The virtual address that it sent to, as ip:port: only dialect unified tells. */
  virtual: string | undefined;
  /** What an echo ACK repeats unchanged: the IP option, the destination options header, or the opp header. */
  bytes: Uint8Array;
}

const OPTION_END = 0;
const OPTION_NOP = 1;
const DESTINATION_PAD1 = 0;
const TYPES = [31, 30];
/** A destination options header begins with the next header and its length; an opp header with four bytes. */
const DESTINATION_HEAD_LEN = 2;
const OPP_HEAD_LEN = 4;
const OPTION_HEAD_LEN = 2;

/** Content behind type and length -> client and virtual address; undefined when the length is no UOA's. */
function readContent(content: Uint8Array): Pick<Uoa, 'client' | 'virtual'> | undefined {
  const port = (at: number) => (content[at]! << 8) | content[at + 1]!;
  switch (content.length) {
    case 6:
    case 18:
      return { client: endpointText(content.subarray(2), port(0)), virtual: undefined };
    case 12:
    case 36: {
      const addressLen = (content.length - 4) / 2;
      return {
        client: endpointText(content.subarray(4, 4 + addressLen), port(0)),
        virtual: endpointText(content.subarray(4 + addressLen), port(2)),
      };
    }
    default:
      return undefined;
  }
}

/** The first UOA among raw IPv4 options (without the fixed header): 8, 20, 16 or 40 bytes. */
export function findInIpOptions(options: Uint8Array): Uoa | undefined {
  for (let at = 0; at < options.length && options[at] !== OPTION_END; ) {
    const type = options[at]!;
    if (type === OPTION_NOP) {
      at++;
      continue;
    }
    const len = options[at + 1] ?? 0;
    if (len < OPTION_HEAD_LEN || at + len > options.length) return undefined;
    const bytes = options.slice(at, at + len);
    // Those with the virtual address have two bytes more: the operation (0: IPv4 inside, 1: IPv6) and a zero.
    const isUnified = len === 16 || len === 40;
    const content = readContent(bytes.subarray(isUnified ? 4 : OPTION_HEAD_LEN));
    const isRight = !isUnified || (bytes[2] === (len === 40 ? 1 : 0) && bytes[3] === 0);
    if (TYPES.includes(type) && content !== undefined && isRight) {
      return { form: `IP option ${type}`, ...content, bytes };
    }
    at += len;
  }
  return undefined;
}

/** The first UOA in an IPv6 destination options header: 6, 18, 12 or 36 bytes of content. */
export function findInDestinationOptions(header: Uint8Array): Uoa | undefined {
  for (let at = DESTINATION_HEAD_LEN; at < header.length; ) {
    const type = header[at]!;
    if (type === DESTINATION_PAD1) {
      at++;
      continue;
    }
    const end = at + OPTION_HEAD_LEN + (header[at + 1] ?? 0);
    if (end > header.length) return undefined;
    const content = readContent(header.subarray(at + OPTION_HEAD_LEN, end));
    if (TYPES.includes(type) && content !== undefined) {
      return { form: `destination option ${type}`, ...content, bytes: header.slice() };
    }
    at = end;
  }
  return undefined;
}

/** The UOA in an opp header (protocol 248): exactly one option of 8 or 20 bytes. */
export function readOppHeader(header: Uint8Array): Uoa | undefined {
  const option = findInIpOptions(header.subarray(OPP_HEAD_LEN));
  if (option === undefined || option.bytes.length !== header.length - OPP_HEAD_LEN) return undefined;
  const isVersion6 = header[0] === 0x20;
  const hasIpv6 = option.bytes.length === 20;
  if (option.virtual !== undefined || isVersion6 !== hasIpv6) return undefined;
  return { ...option, form: 'protocol 248', bytes: header.slice() };
}
