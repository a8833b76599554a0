// Hashes without a key, for tables that nobody outside fills. Where clients choose what is hashed, there is a
// secret key (session/tuple-hash.ts, steer/steering.ts). They return int32, which V8 keeps without a heap
// object, and are small enough that it inlines them into the look-ups.

/**
 * Mixes a word, so that each bit of it changes half of the bits of the result, and those who take only the
 * upper or the lower ones get a good share: the finalizer of MurmurHash3 (Appleby, 2011). Of different words
 * it makes different ones.
 */
export function mix(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/**
 * Of an address in words[at..at+3] and a number that belongs to it (a port, an interface). Addresses of a
 * subnet differ in their ends, those of a provider's customers in their beginnings.
 */
export function hashAddress(words: Int32Array, at: number, number: number): number {
  const beginning = Math.imul(words[at], 0x85ebca6b) ^ Math.imul(words[at + 1], 0xc2b2ae35);
  const end = Math.imul(words[at + 2], 0x27d4eb2f) ^ words[at + 3];
  return mix(beginning ^ end ^ Math.imul(number, 0x9e3779b1));
}
