// The clients that the programs know, in the maps: read for who asks, aged, and the sources that are trusted.
import {
  deleteFromMap,
  entriesOfMap,
  keysOfMap,
  lookUpInMap,
  type MapEntries,
  updateMap,
} from '../sys/libbpf.ts';
import { addressWords, familyOf, formatEndpoint } from '../wire/address.ts';
import {
  ADDRESS_LEN,
  addressAt,
  CROSSED,
  LEARNED,
  LEARNED_LEN,
  PREFIX_LEN,
  TICK_MS,
  TUPLE,
  TUPLE_LEN,
  tickAt,
  WAY,
  WAY_LEN,
} from './layout.ts';
import type { PinnedFds } from './maps.ts';

const BY_LIP = { keyLen: TUPLE_LEN, valueLen: LEARNED_LEN };
const BY_CLIENT = { keyLen: TUPLE_LEN, valueLen: WAY_LEN };

export interface KnownClient {
  client: string;
  lip: string;
  rs: string;
  /** '': the UOA did not tell. */
  vip: string;
  /** Since a program last received from it or sent to it, or the proxy told of it. */
  idleSeconds: number;
  /** False: it is of another family than the LIP, so that sockets see the LIP. */
  isSeen: boolean;
}

type Known = Pick<PinnedFds, 'by_lip' | 'by_client'>;

/** Each step is some thousand. Throws a BpfError. */
export function* knownClients(fds: Known, nowTick: number): Generator<KnownClient[], void> {
  for (const { keys, values, count } of entriesOfMap(fds.by_lip, BY_LIP)) {
    const some: KnownClient[] = [];
    for (let index = 0; index < count; index++)
      some.push(describe(at(keys, index, TUPLE_LEN), at(values, index, LEARNED_LEN), nowTick));
    yield some;
  }
}

function describe(key: Buffer, value: Buffer, nowTick: number): KnownClient {
  const endpoint = (bytes: Buffer, off: number, port: number) =>
    formatEndpoint(addressAt(bytes, off), bytes.readUInt16BE(port));
  const vport = value.readUInt16BE(LEARNED.vport);
  return {
    client: endpoint(value, LEARNED.client, LEARNED.cport),
    lip: endpoint(key, TUPLE.peer, TUPLE.peerPort),
    rs: formatEndpoint(addressAt(value, LEARNED.rip), key.readUInt16BE(TUPLE.port)),
    vip: vport === 0 ? '' : endpoint(value, LEARNED.vip, LEARNED.vport),
    idleSeconds: Math.round((Math.max(0, nowTick - tickAt(value, LEARNED.used)) * TICK_MS) / 1000),
    isSeen: (value.readUInt32LE(LEARNED.flags) & CROSSED) === 0,
  };
}

/** Throws a BpfError. */
export function countClients(fds: Known): number {
  let sum = 0;
  for (const { count } of entriesOfMap(fds.by_lip, BY_LIP)) sum += count;
  return sum;
}

/**
 * Forgets clients that no program received from or sent to, and of which the proxy told nothing, for so many
 * ticks. A step looks at some thousand, and says how many it forgot. Throws a BpfError.
 */
export function* forgetUnused(fds: Known, nowTick: number, idleTicks: number): Generator<number, void> {
  const isOld = (value: Buffer | undefined, used: number) =>
    value === undefined || nowTick - tickAt(value, used) > idleTicks;
  for (const entries of entriesOfMap(fds.by_lip, BY_LIP)) {
    let forgotten = 0;
    for (const { key, value } of each(entries, BY_LIP)) {
      if (!isOld(value, LEARNED.used)) continue;
      const wayKey = keyOf(value, LEARNED.client, LEARNED.cport, key);
      const way = lookUpInMap(fds.by_client, wayKey, WAY_LEN);
      const isItsWay = way !== undefined && isEndpoint(way, WAY.lip, WAY.lport, key);
      if (isItsWay && !isOld(way, WAY.used)) continue;
      // First this one: who sees a client must be able to answer to it.
      if (deleteFromMap(fds.by_lip, key)) forgotten++;
      if (isItsWay) deleteFromMap(fds.by_client, wayKey);
    }
    yield forgotten;
  }
  for (const entries of entriesOfMap(fds.by_client, BY_CLIENT)) {
    for (const { key, value } of each(entries, BY_CLIENT)) {
      if (!isOld(value, WAY.used)) continue;
      const learned = lookUpInMap(fds.by_lip, keyOf(value, WAY.lip, WAY.lport, key), LEARNED_LEN);
      const isItsClient = learned !== undefined && isEndpoint(learned, LEARNED.client, LEARNED.cport, key);
      if (isItsClient && !isOld(learned, LEARNED.used)) continue;
      deleteFromMap(fds.by_client, key);
    }
    yield 0;
  }
}

/** A key for the other map: an address and port of `value`, and the socket's of `key`. */
function keyOf(value: Buffer, address: number, port: number, key: Buffer): Buffer {
  const other = Buffer.from(new ArrayBuffer(TUPLE_LEN));
  key.copy(other);
  value.copy(other, TUPLE.peer, address, address + ADDRESS_LEN);
  value.copy(other, TUPLE.peerPort, port, port + 2);
  return other;
}

const isEndpoint = (value: Buffer, address: number, port: number, key: Buffer): boolean =>
  value.compare(key, TUPLE.peer, TUPLE.peer + ADDRESS_LEN, address, address + ADDRESS_LEN) === 0 &&
  value.readUInt16BE(port) === key.readUInt16BE(TUPLE.peerPort);

function* each(
  { keys, values, count }: MapEntries,
  { keyLen, valueLen }: { keyLen: number; valueLen: number },
): Generator<{ key: Buffer; value: Buffer }, void> {
  for (let index = 0; index < count; index++)
    yield { key: at(keys, index, keyLen), value: at(values, index, valueLen) };
}

/** A copy, because the kernel gets its address. */
function at(bytes: Buffer, index: number, length: number): Buffer {
  const copy = Buffer.from(new ArrayBuffer(length));
  bytes.copy(copy, 0, index * length, (index + 1) * length);
  return copy;
}

const V4_MAPPED_BITS = 96;

/** Makes the trusted sources these prefixes, as `10.2.0.0/24`. New ones come first. Throws a BpfError. */
export function trust({ trusted }: Pick<PinnedFds, 'trusted'>, prefixes: readonly string[]): void {
  const wanted = new Map(prefixes.map((prefix) => [prefix, prefixKey(prefix)]));
  for (const key of wanted.values()) updateMap(trusted, key, new Uint8Array(4));
  const stays = new Set([...wanted.values()].map((key) => key.toString('hex')));
  for (const key of keysOfMap(trusted, PREFIX_LEN))
    if (!stays.has(key.toString('hex'))) deleteFromMap(trusted, key);
}

function prefixKey(prefix: string): Buffer {
  const [address = '', length] = prefix.split('/');
  const key = Buffer.from(new ArrayBuffer(PREFIX_LEN));
  key.writeUInt32LE(Number(length) + (familyOf(address) === 4 ? V4_MAPPED_BITS : 0));
  for (const [index, word] of addressWords(address).entries()) key.writeInt32BE(word, 4 + 4 * index);
  return key;
}

/** Throws a BpfError. */
export function trustedPrefixes({ trusted }: Pick<PinnedFds, 'trusted'>): string[] {
  return keysOfMap(trusted, PREFIX_LEN)
    .map((key) => {
      const address = addressAt(key, 4);
      return `${address}/${key.readUInt32LE() - (familyOf(address) === 4 ? V4_MAPPED_BITS : 0)}`;
    })
    .sort();
}

/** Who sent a UOA and is not trusted, most first: of the last thousand or so. Throws a BpfError. */
export function ignoredSources({ ignored }: Pick<PinnedFds, 'ignored'>): { ip: string; count: number }[] {
  return keysOfMap(ignored, ADDRESS_LEN)
    .map((key) => ({
      ip: addressAt(key, 0),
      count: Number(lookUpInMap(ignored, key, 8)?.readBigUInt64LE() ?? 0),
    }))
    .sort((a, b) => b.count - a.count);
}
