// One sighting as a line: for a person, in columns that are as wide as the widest that came so far, or as
// JSON.
import type { Kind, Sighting } from './sighting.ts';
import { type Endpoint, endpointName } from './uoa-option.ts';

export type Colour = 'dim' | 'red' | 'green' | 'yellow' | 'cyan';
export type Paint = (colour: Colour, text: string) => string;

const COLOURS: Readonly<Record<Kind, Colour>> = {
  inserted: 'green',
  carrier: 'cyan',
  ack: 'yellow',
  malformed: 'red',
};
const WORDS: Readonly<Record<Kind, string>> = {
  inserted: 'inserted',
  carrier: 'carrier',
  ack: 'echo ACK',
  malformed: 'malformed',
};
const TIME_LEN = 15;
const KIND_LEN = 9;
const DIALECT_LEN = 7;
const CLIENT_HEADING = 'client (to VIP)';
const PATH_HEADING = 'packet from -> to';

export class LinePrinter {
  readonly #paint: Paint;
  /** Where the sightings come from several interfaces. */
  readonly #withDevice: boolean;
  #deviceLen = 2;
  #clientLen = CLIENT_HEADING.length;
  #pathLen = PATH_HEADING.length;

  constructor(paint: Paint, withDevice: boolean) {
    this.#paint = paint;
    this.#withDevice = withDevice;
  }

  /** What stands above the first line. */
  heading(): string {
    return this.#row('time', 'if', ['dim', 'UOA'], 'dialect', [CLIENT_HEADING, PATH_HEADING, 'payload']);
  }

  line(sighting: Sighting): string {
    const { kind, device, timeUs } = sighting;
    const client = clientText(sighting);
    const path = `${endText(sighting.src)} -> ${endText(sighting.dst)}`;
    this.#deviceLen = Math.max(this.#deviceLen, device.length);
    this.#clientLen = Math.max(this.#clientLen, client.length);
    this.#pathLen = Math.max(this.#pathLen, path.length);
    return this.#row(timeOfDay(timeUs), device, [COLOURS[kind], WORDS[kind]], dialectText(sighting), [
      client.padEnd(this.#clientLen),
      path.padEnd(this.#pathLen),
      ending(sighting),
    ]);
  }

  /** The narrow columns stand close together, so that a line of IPv6 addresses fits into 120 columns. */
  #row(
    time: string,
    device: string,
    [colour, word]: [Colour, string],
    dialect: string,
    wide: string[],
  ): string {
    const narrow = [
      this.#paint('dim', time.padEnd(TIME_LEN)),
      ...(this.#withDevice ? [device.padEnd(this.#deviceLen)] : []),
      this.#paint(colour, word.padEnd(KIND_LEN)),
      dialect.padEnd(DIALECT_LEN),
    ];
    return `${narrow.join(' ')} ${wide.join('  ')}`;
  }
}

/**
 * Names as in the answer of /sessions; `src` and `dst` are the packet's own, and null is what it does not
 * tell.
 */
export function jsonLine(sighting: Sighting): string {
  const { device, timeUs, kind, dialect, optionType, client, virtual, src, dst, isFragment, fault } =
    sighting;
  const sides = kind === 'malformed' ? [] : kind === 'ack' ? [dst, src] : [src, dst];
  return JSON.stringify({
    time: isoTime(timeUs),
    interface: device || null,
    kind,
    dialect: dialect ?? null,
    optionType: optionType ?? null,
    client: client?.ip ?? null,
    clientPort: client?.port ?? null,
    vip: virtual?.ip ?? null,
    vport: virtual?.port ?? null,
    src: src.ip,
    sport: src.port,
    dst: dst.ip,
    dport: dst.port,
    lip: sides[0]?.ip ?? null,
    lport: sides[0]?.port ?? null,
    rs: sides[1]?.ip ?? null,
    rsPort: sides[1]?.port ?? null,
    payloadLength: sighting.payloadLen ?? null,
    fragment: isFragment,
    malformed: fault ?? null,
  });
}

function clientText({ client, virtual }: Sighting): string {
  if (client === undefined) return '?';
  return endpointName(client) + (virtual === undefined ? '' : ` to ${endpointName(virtual)}`);
}

/** In DIALECT_LEN characters. A unified UOA of type 30 is for other receivers than one of 31. */
function dialectText({ dialect, optionType }: Sighting): string {
  if (dialect === 'proxy-v2') return 'proxyv2';
  return dialect === 'unified' && optionType === 30 ? 'unif/30' : (dialect ?? '?');
}

function endText(end: Endpoint): string {
  return end.port === 0 ? end.ip : endpointName(end);
}

function ending({ fault, payloadLen, isFragment }: Sighting): string {
  if (fault !== undefined) return fault;
  return `${payloadLen} B${isFragment ? ', in fragments' : ''}`;
}

/** Local time, as tcpdump prints it. */
function timeOfDay(timeUs: number): string {
  const date = new Date(timeUs / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${time}.${String(timeUs % 1e6).padStart(6, '0')}`;
}

function isoTime(timeUs: number): string {
  const seconds = new Date(Math.floor(timeUs / 1e6) * 1000).toISOString().slice(0, -5);
  return `${seconds}.${String(timeUs % 1e6).padStart(6, '0')}Z`;
}
