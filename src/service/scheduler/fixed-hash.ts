// The hash of sh and mh: the same in every process and proxy, so that all choose alike. HalfSipHash-1-3 with
// a fixed, public key, which spreads addresses evenly but keeps nobody from choosing some that meet: who
// knows the config can aim at one real server, as with any scheduler by client address that several proxies
// share.
import { hashTuple } from '../../session/tuple-hash.ts';
import { ADDRESS_WORDS } from '../../wire/address.ts';

/** "uoa-proxy" and its beginning in reverse; any would do, but a change moves clients. */
const KEY0 = 0x756f612d;
const KEY1 = 0x2d616f75;

const WORDS = 8;
const words = new Int32Array(WORDS);

/** Hash of an address at words 0 to 3 as int32: that of the four words followed by five of 0. About 45 ns. */
export function hashAddress(address: Int32Array): number {
  for (let i = 0; i < ADDRESS_WORDS; i++) words[i] = address[i];
  words.fill(0, ADDRESS_WORDS);
  return hashTuple(KEY0, KEY1, words, 6, 0);
}

/**
 * Hash of a text as int32; another one for each `variant`. Its UTF-16 code units, eight at a time and filled
 * up with 0, each block keyed with the hash of the one before.
 */
export function hashText(text: string, variant: number): number {
  let hash = KEY0;
  for (let at = 0; at < text.length; at += WORDS) {
    for (let i = 0; i < WORDS; i++) words[i] = at + i < text.length ? text.charCodeAt(at + i) : 0;
    hash = hashTuple(hash, KEY1 ^ variant, words, 6, text.length);
  }
  return hash;
}
