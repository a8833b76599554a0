// Which datapath a client is with: entries that stay as long as the session, and no longer.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Loans, NOBODY } from '../../src/datapath/loans.ts';
import { parseAddressInto } from '../../src/wire/address.ts';

const WORKERS = 2;
const SERVER = 7;

function addressOf(text: string): Int32Array {
  const words = new Int32Array(4);
  parseAddressInto(words, 0, text);
  return words;
}
const A = addressOf('192.0.2.1');
const B = addressOf('2001:db8::1');

/** What two datapaths share, and the view of each. */
function shared() {
  const words = new Int32Array(Loans.words(WORKERS, 1000));
  const start = (self: number) => new Loans(words, [1, 2], self);
  return { words, start, loans: [start(0), start(1)] as const };
}

describe('a loan', () => {
  test('is known to all, by address, port and service, until its session ends', () => {
    const { loans } = shared();
    const [first, second] = loans;
    assert.equal(first.isEmpty, true);
    assert.equal(first.lend(A, 0, 5000, 3, 1, SERVER, 0), true);
    assert.equal(first.lend(B, 0, 5000, 3, 1, SERVER, 0), true);
    for (const one of loans) {
      assert.equal(one.isEmpty, false);
      assert.deepEqual(
        [A, B].map((client) => one.holderOf(client, 0, 5000, 3)),
        [1, 1],
      );
      assert.deepEqual([one.holderOf(A, 0, 5001, 3), one.holderOf(A, 0, 5000, 2)], [NOBODY, NOBODY]);
    }
    first.end(A, 0, 5000, 3);
    assert.equal(first.holderOf(A, 0, 5000, 3), 1, 'its holder ends it');
    second.end(A, 0, 5000, 3);
    second.end(B, 0, 5000, 3);
    assert.deepEqual([first.holderOf(A, 0, 5000, 3), first.isEmpty], [NOBODY, true]);
  });

  test('tells its real server until the session is opened', () => {
    const [first, second] = shared().loans;
    first.lend(A, 0, 5000, 3, 1, SERVER, 0);
    const look = () => {
      second.holderOf(A, 0, 5000, 3);
      return second.chosenServer;
    };
    assert.deepEqual([look(), look()], [SERVER, SERVER]);
    second.opened(A, 0, 5000, 3);
    assert.equal(look(), -1);
    second.holderOf(B, 0, 5000, 3);
    assert.equal(second.chosenServer, -1, 'that of nobody');
  });

  test('is given up by whoever could not pass the packet on', () => {
    const [first] = shared().loans;
    first.lend(A, 0, 5000, 3, 1, SERVER, 0);
    first.end(A, 0, 5000, 3, 1);
    assert.equal(first.isEmpty, true);
  });

  test('whose packet was lost goes after ten seconds, one that was opened does not', () => {
    const [first, second] = shared().loans;
    first.lend(A, 0, 5000, 3, 1, SERVER, 1000);
    first.lend(B, 0, 5000, 3, 1, SERVER, 1000);
    second.opened(B, 0, 5000, 3);
    for (let n = 0; n < 128; n++) first.sweep(10_000);
    assert.equal(first.holderOf(A, 0, 5000, 3), 1);
    for (let n = 0; n < 128; n++) first.sweep(12_000);
    assert.deepEqual([first.holderOf(A, 0, 5000, 3), first.holderOf(B, 0, 5000, 3)], [NOBODY, 1]);
  });

  test('finds no room where thousands are, and room again when they are over', () => {
    const [first, second] = shared().loans;
    let lent = 0;
    const ports: number[] = [];
    for (let port = 0; port < 60_000; port++) {
      if (!first.lend(A, 0, port, 3, 1, SERVER, 0)) continue;
      ports.push(port);
      lent++;
    }
    assert.ok(lent > 12_000 && lent <= 16_384, `${lent}`);
    for (const port of ports) second.end(A, 0, port, 3);
    assert.equal(first.isEmpty, true);
  });

  test('of a datapath that ended goes on where its successor affirms it, and is over otherwise', () => {
    const { start, loans } = shared();
    loans[0].lend(A, 0, 5000, 3, 1, SERVER, 0);
    loans[0].lend(B, 0, 5000, 3, 1, SERVER, 0);
    const successor = start(1);
    assert.equal(loans[0].holderOf(B, 0, 5000, 3), 1, 'until it is known what goes on');
    successor.affirm(A, 0, 5000, 3);
    successor.affirmed();
    assert.deepEqual([loans[0].holderOf(A, 0, 5000, 3), loans[0].holderOf(B, 0, 5000, 3)], [1, NOBODY]);
  });

  test('that a datapath had begun to write when it ended takes no room', () => {
    const { words, start } = shared();
    words.fill(-1, 16);
    words[0] = (words.length - 16) / 8;
    const before = start(1);
    assert.equal(before.lend(A, 0, 5000, 3, 1, SERVER, 0), false, 'the other one may be writing');
    start(0);
    assert.equal(words[0], 0);
    assert.equal(before.lend(A, 0, 5000, 3, 1, SERVER, 0), true);
  });
});
