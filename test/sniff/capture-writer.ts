// Writes capture files as tcpdump and Wireshark do, in every variant that a reader must know. Imports nothing
// of src/.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { concat } from '../packets/bytes.ts';

export interface Written {
  isLittle?: boolean;
  isNano?: boolean;
  linkType?: number;
  /** Longer than what is there: the capture was cut. */
  wireLen?: number;
}

export const RAW = 101;
export const ETHERNET = 1;
/** When the first packet came; each later one a second and a microsecond after the one before. */
export const START_US = 1_700_000_000_000_001;

const folder = mkdtempSync(join(tmpdir(), 'uoa-sniff-test-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

/** Writes a file that goes away with the test; returns its path. */
export function save(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.pcap`);
  writeFileSync(path, bytes);
  return path;
}

export function pcap(frames: readonly Uint8Array[], how: Written = {}): Uint8Array {
  const { isLittle = true, isNano = false, linkType = RAW } = how;
  const word = words(isLittle);
  const half = (value: number) => (isLittle ? word(value).subarray(0, 2) : word(value).subarray(2));
  const magic = word(isNano ? 0xa1b23c4d : 0xa1b2c3d4);
  const header = concat(magic, half(2), half(4), word(0), word(0), word(0x40000), word(linkType));
  const records = frames.map((frame, index) => {
    const { seconds, micros } = timeOf(index);
    const lengths = concat(word(frame.length), word(how.wireLen ?? frame.length));
    return concat(word(seconds), word(isNano ? micros * 1000 : micros), lengths, frame);
  });
  return concat(header, ...records);
}

/**
 * One section and one interface, with nanoseconds if asked for; a statistics block between, to be skipped.
 */
export function pcapng(frames: readonly Uint8Array[], how: Written = {}): Uint8Array {
  const { isLittle = true, isNano = false, linkType = RAW } = how;
  const word = words(isLittle);
  const pair = (first: number, second: number) =>
    isLittle ? word(first + second * 0x10000) : word(first * 0x10000 + second);
  const block = (type: number, ...parts: Uint8Array[]) => {
    const body = concat(...parts);
    const padded = concat(body, new Uint8Array(-body.length & 3));
    return concat(word(type), word(padded.length + 12), padded, word(padded.length + 12));
  };
  const name = concat(pair(2, 4), new TextEncoder().encode('eth7'));
  const resolution = isNano ? concat(pair(9, 1), Uint8Array.of(9, 0, 0, 0)) : new Uint8Array(0);
  const section = block(0x0a0d0d0a, word(0x1a2b3c4d), pair(1, 0), word(0xffffffff), word(0xffffffff));
  const description = block(1, pair(linkType, 0), word(0x40000), name, resolution, pair(0, 0));
  const statistics = block(5, word(0), word(0), word(0));
  const packets = frames.map((frame, index) => {
    const { seconds, micros } = timeOf(index);
    const units = BigInt(seconds * 1e6 + micros) * (isNano ? 1000n : 1n);
    const time = concat(word(Number(units >> 32n)), word(Number(units & 0xffff_ffffn)));
    return block(6, word(0), time, word(frame.length), word(how.wireLen ?? frame.length), frame);
  });
  return concat(section, description, statistics, ...packets);
}

/** The packet behind an Ethernet header with these VLAN tags. */
export function ethernet(packet: Uint8Array, ...tags: number[]): Uint8Array {
  const types = [
    ...tags.flatMap((type, index) => [type >> 8, type & 255, 0, index + 1]),
    ...etherType(packet),
  ];
  return concat(new Uint8Array(12).fill(2), Uint8Array.from(types), packet);
}

/** The packet as `linkType` carries it. */
export function framed(linkType: number, packet: Uint8Array): Uint8Array {
  const type = Uint8Array.from(etherType(packet));
  switch (linkType) {
    case ETHERNET:
      return ethernet(packet);
    case 113: // Linux cooked
      return concat(new Uint8Array(14), type, packet);
    case 276: // Linux cooked, version 2
      return concat(type, new Uint8Array(18), packet);
    case 0: // address family, little endian
      return concat(Uint8Array.of(packet[0] >> 4 === 4 ? 2 : 24, 0, 0, 0), packet);
    case 108:
      return concat(Uint8Array.of(0, 0, 0, packet[0] >> 4 === 4 ? 2 : 24), packet);
    default:
      return packet;
  }
}

const etherType = (packet: Uint8Array): number[] => (packet[0] >> 4 === 4 ? [0x08, 0x00] : [0x86, 0xdd]);

const words =
  (isLittle: boolean) =>
  (value: number): Uint8Array => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, isLittle);
    return bytes;
  };

function timeOf(index: number): { seconds: number; micros: number } {
  const first = { seconds: Math.floor(START_US / 1e6), micros: START_US % 1e6 };
  return { seconds: first.seconds + index, micros: first.micros + index };
}
