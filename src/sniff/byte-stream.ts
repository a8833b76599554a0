// Bytes that come in chunks of any size, taken in the sizes that a format has.

export class ByteStream {
  readonly #chunks: AsyncIterator<Buffer>;
  #pending: Buffer = Buffer.alloc(0);
  #ended = false;
  /** How many bytes were taken. */
  position = 0;

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `length` bytes; fewer at the end, and none behind it. Valid for good. */
  async take(length: number): Promise<Buffer> {
    if (this.#pending.length < length) await this.#fill(length);
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(taken.length);
    this.position += taken.length;
    return taken;
  }

  async #fill(length: number): Promise<void> {
    const parts = [this.#pending];
    for (let have = this.#pending.length; have < length && !this.#ended; ) {
      const { done, value } = await this.#chunks.next();
      if (done) this.#ended = true;
      else have += parts[parts.push(value) - 1].length;
    }
    this.#pending = Buffer.concat(parts);
  }
}
