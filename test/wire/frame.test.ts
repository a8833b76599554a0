// Copies of bytes between frames: which are copied, and that no others change.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyBytes, Frame } from '../../src/wire/frame.ts';

const SIZE = 4096;

test('a copy of any length, from and to any place, is what stood there, and nothing beside it changes', () => {
  // Views of a larger buffer: an offset into it must not be taken for one of the frame.
  const room = new Uint8Array(SIZE + 24).map((_, at) => (at * 7 + (at >> 8)) & 0xff);
  const from = new Frame(room.subarray(24));
  for (const [at, off] of [
    [0, 0],
    [14, 90],
    [93, 41],
  ] as const) {
    for (const len of [...Array(300).keys(), 1200, 1399, 1500, 3001]) {
      const to = new Frame(Buffer.from(new ArrayBuffer(SIZE)).fill(0xa5));
      copyBytes(to, at, from, off, len);
      const expected = new Uint8Array(SIZE).fill(0xa5);
      for (let i = 0; i < len; i++) expected[at + i] = room[24 + off + i];
      assert.deepEqual(Buffer.compare(to.bytes, expected), 0, `${len} bytes from ${off} to ${at}`);
    }
  }
});
