// ICMP errors between families as RFC 7915 says: section 4.2 with figure 3 from IPv4 to IPv6, 5.2 with figure
// 6 back.
export interface Message {
  type: number;
  code: number;
  /** The second word: next-hop MTU, pointer (IPv4: in its first byte), or unused. */
  rest: number;
}

/** A message and what it becomes; undefined: it has no equivalent. */
export type Entry = readonly [Message, Message | undefined];

type Short = readonly [type: number, code: number, rest?: number];

const message = ([type, code, rest = 0]: Short): Message => ({ type, code, rest });
const entry = (from: Short, to?: Short): Entry => [message(from), to && message(to)];

/** An IPv4 header's byte -> the IPv6 header's. */
const POINTERS_TO_6: readonly [number, number | undefined][] = [
  [0, 0], // version and header length -> version, traffic class
  [1, 1], // type of service -> traffic class, flow label
  [2, 4], // total length -> payload length
  [3, 4],
  [4, undefined], // identification
  [6, undefined], // flags and fragment offset
  [7, undefined],
  [8, 7], // TTL -> hop limit
  [9, 6], // protocol -> next header
  [10, undefined], // header checksum
  [11, undefined],
  ...[12, 13, 14, 15].map((byte): [number, number] => [byte, 8]), // source
  ...[16, 17, 18, 19].map((byte): [number, number] => [byte, 24]), // destination
  [20, undefined], // options
  [255, undefined],
];

const POINTERS_TO_4: readonly [number, number | undefined][] = [
  [0, 0],
  [1, 1],
  [2, undefined], // flow label
  [3, undefined],
  [4, 2],
  [5, 2],
  [6, 9],
  [7, 8],
  ...[8, 15, 23].map((byte): [number, number] => [byte, 12]),
  ...[24, 31, 39].map((byte): [number, number] => [byte, 16]),
  [40, undefined], // behind the fixed header
  [0xffffffff, undefined],
];

/** An IPv4 pointer stands in the first byte of its word. */
export const FIRST_BYTE = 0x1000000;

const TO_6: readonly Entry[] = [
  ...[0, 1, 5, 6, 7, 8, 11, 12].map((code) => entry([3, code], [1, 0])),
  ...[9, 10, 13, 15].map((code) => entry([3, code], [1, 1])),
  entry([3, 2], [4, 1, 6]),
  entry([3, 3], [1, 4]),
  entry([3, 4, 1400], [2, 0, 1420]),
  entry([3, 4, 1261], [2, 0, 1281]),
  entry([3, 4, 1259], [2, 0, 1280]),
  entry([3, 4, 0], [2, 0, 1280]), // an old router's: it tells none (RFC 1191, 4)
  ...[14, 16, 255].map((code) => entry([3, code])),
  entry([11, 0], [3, 0]),
  entry([11, 1], [3, 1]),
  ...[0, 2].flatMap((code) =>
    POINTERS_TO_6.map(([pointer, to]) =>
      entry([12, code, pointer * FIRST_BYTE], to === undefined ? undefined : [4, 0, to]),
    ),
  ),
  entry([12, 1]),
  entry([12, 3]),
];

const TO_4: readonly Entry[] = [
  ...[0, 2, 3].map((code) => entry([1, code], [3, 1])),
  entry([1, 1], [3, 10]),
  entry([1, 4], [3, 3]),
  ...[5, 6, 7, 255].map((code) => entry([1, code])),
  entry([2, 0, 1400], [3, 4, 1380]),
  entry([2, 0, 1280], [3, 4, 1260]),
  entry([2, 0, 100], [3, 4, 1260]),
  entry([3, 0], [11, 0]),
  entry([3, 1], [11, 1]),
  entry([4, 1, 6], [3, 2]),
  entry([4, 2, 40]),
  entry([4, 3]),
  ...POINTERS_TO_4.map(([pointer, to]) =>
    entry([4, 0, pointer], to === undefined ? undefined : [12, 0, to * FIRST_BYTE]),
  ),
];

/** What an error about a packet of `family` becomes in the other family. */
export const TRANSLATIONS: Record<4 | 6, readonly Entry[]> = { 4: TO_6, 6: TO_4 };
